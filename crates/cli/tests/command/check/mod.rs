//! `typha-tls check` of planned changes: who would be cut off, which CAs go and come, and whether we fit in.

mod against;
mod ca_files;
mod cannot_judge;
mod folder;
mod identities;
mod lists;
mod our_chain;
mod site;
mod text;
mod times;

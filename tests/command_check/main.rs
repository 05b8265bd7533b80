//! `typha-tls check` of planned changes: who would be cut off, which CAs go and come, and whether we fit in.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test may fail this way")]

mod ca_files;
mod cannot_judge;
#[path = "../common_lists/mod.rs"]
mod common_lists;
mod folder;
mod identities;
mod lists;
mod our_chain;
mod site;
mod times;

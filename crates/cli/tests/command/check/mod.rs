//! `typha-tls check`: of planned changes (who would be cut off, which CAs go and come, and whether we fit in), and of
//! other servers than Typha.

mod against;
mod apiservice;
mod ca_files;
mod cannot_judge;
mod etcd;
mod folder;
mod identities;
mod lists;
mod manager;
mod our_chain;
mod real_etcd;
mod server;
mod site;
mod text;
mod times;

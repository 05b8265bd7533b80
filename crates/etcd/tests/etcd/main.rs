//! Tests of the connections to etcd.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod connecting;
mod oslo;
mod parameters;
mod real;
mod rpc;
mod server;
mod site;
#[path = "../../../../tests/common/subscribers.rs"]
mod subscribers;

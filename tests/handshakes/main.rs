//! The two handshakes and the streams that they yield: among good peers, broken ones and hostile ones.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod cancellation;
mod events;
mod first_message;
#[path = "../common/hostile/mod.rs"]
mod hostile;
mod hostile_peers;
mod replaced_configurations;
mod resumption;
mod stream_io;
#[allow(unreachable_pub, reason = "other test files use it, too")]
#[path = "../common/subscribers.rs"]
mod subscribers;
mod truncation_and_timeouts;

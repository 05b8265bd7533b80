//! `typha-tls-bench`: what it reports, and its workers. Nothing here depends on speed.

#![cfg(target_os = "linux")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod forward;
mod report;
mod workers;

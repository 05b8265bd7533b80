//! Typha and Felix on two hosts, which are network namespaces: over a bad link, and over one that breaks.
//!
//! Each test runs itself again in namespaces of its own, which end with it; the machine's network is not touched. Where
//! that is not allowed, or a tool is missing, the test says so and is skipped; with `TYPHA_TLS_REQUIRE_NAMESPACES=1`
//! that is a failure.

#![cfg(target_os = "linux")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod bad_link;
#[path = "../common/hostile/mod.rs"]
mod hostile;
mod hosts;
mod inside;
mod partitions;

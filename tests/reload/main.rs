//! `Reloader` and its sources: what is put in force, when, and what is said of the rest.

#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod asking;
mod bad_sources;
mod configuration;
mod dropped_lists;
mod expiry;
mod files;
mod hints;
#[cfg(target_os = "linux")]
#[path = "../common/hostile/mod.rs"]
mod hostile;
mod looking;
mod metrics_facade;
mod migrations;
mod proof;
mod revocation_lists;
mod rig;
#[allow(unreachable_pub, reason = "other test files use it, too")]
#[path = "../common/subscribers.rs"]
mod subscribers;
mod swaps;
mod torn_files;
mod unreadable_files;
mod validation;

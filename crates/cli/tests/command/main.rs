//! The command `typha-tls`, as processes of its own: what it prints, and its exit codes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod check;
mod ends;
#[cfg(unix)]
#[allow(dead_code, reason = "the migrations of the library use the rest")]
#[path = "../../../../tests/reload/migrations/files.rs"]
mod files;
mod how_to;
#[path = "../../../../tests/common/lists.rs"]
mod lists;
#[cfg(unix)]
mod migrations;
#[allow(dead_code, reason = "the migrations of the library use the rest")]
#[path = "../../../../tests/reload/migrations/names.rs"]
mod names;
#[cfg(unix)]
mod reload;
mod revocation;
#[cfg(target_os = "linux")]
mod storm;
#[cfg(target_os = "linux")]
mod storms;

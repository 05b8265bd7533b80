//! The command `typha-tls`, as processes of its own: what it prints, and its exit codes.

#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod check;
mod ends;
#[allow(dead_code, reason = "the migrations of the library use the rest")]
#[path = "../../../../tests/reload/migrations/files.rs"]
mod files;
mod how_to;
#[path = "../../../../tests/common/lists.rs"]
mod lists;
mod migrations;
#[allow(dead_code, reason = "the migrations of the library use the rest")]
#[path = "../../../../tests/reload/migrations/names.rs"]
mod names;
mod reload;
mod revocation;
mod storm;
mod storms;

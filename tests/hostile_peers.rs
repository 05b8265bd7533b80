//! Peers that break off, inject, scramble, stall, or are not who they should be: every handshake ends in bounded time, with
//! the reason in its type, and without a panic.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod hostile;

#[path = "hostile/acceptance.rs"]
mod acceptance;
#[path = "hostile/every_byte.rs"]
mod every_byte;
#[path = "hostile/garbage.rs"]
mod garbage;
#[path = "hostile/refusals.rs"]
mod refusals;

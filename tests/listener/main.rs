//! `TyphaListener`: what it yields, counts, sheds and drops, seen from both ends.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod accepting;
mod binding;
mod dropping;
mod metrics_facade;
mod queueing;
mod rig;
mod shutting_down;

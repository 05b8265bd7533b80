//! Servers that are verified for the host that was dialled: the host rule, and the connector that applies it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod hosts;
mod mismatches;

//! Servers that are verified for the host that was dialled: the host rule, and the connector that applies it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod acceptance;
mod dialing;
mod following;
mod hosts;
mod mismatches;
mod negotiating;
mod refusals;
mod site;

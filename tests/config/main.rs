//! Calico's parameters.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod felix;
#[path = "../common/material.rs"]
mod material;
mod sources;
mod typha;
mod warnings;

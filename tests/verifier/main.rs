//! Whom the verifier accepts, whom it refuses and why: by itself, and as both ends of a handshake see it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod alerts;
mod alpn;
mod chain_cache;
#[path = "../common/counting.rs"]
mod counting;
mod hostile_chains;
mod identity_matrix;
mod labels;
#[path = "../common/lists.rs"]
mod lists;
#[path = "../common/material.rs"]
mod material;
mod negotiation;
mod pins;
mod rejections;
mod revocation;
#[allow(unreachable_pub, reason = "other test files use it, too")]
#[path = "../common/subscribers.rs"]
mod subscribers;
mod verdict;

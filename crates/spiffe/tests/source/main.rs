//! Configurations from the SPIFFE Workload API, asked of an agent in the test over gRPC and a Unix socket.

#![cfg(unix)]
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test may fail this way")]

mod agent;
mod away;
mod choosing;
mod connecting;
mod domain;
mod endpoints;
mod federation;
mod following;
mod messages;
#[allow(unreachable_pub, reason = "other test files use it, too")]
#[path = "../../../../tests/common/secret.rs"]
mod secret;
#[path = "../../../../tests/common/subscribers.rs"]
mod subscribers;
mod unusable;

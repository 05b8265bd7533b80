//! The Typhas of a Kubernetes service, asked of an API server over TLS as a Felix does.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test may fail this way")]

mod api_server;
mod calico;
mod credentials;
mod environment;
mod failures;
mod following;
mod listing;
mod names;
mod setup;
mod unusable;

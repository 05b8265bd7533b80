//! `typha-tls typha --forward` and `typha-tls felix --listen`, as processes between programs that speak without TLS.

#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod backends;
mod bytes;
mod closing;
mod deploy;
mod endings;
mod go;
mod metrics;
mod plain_side;
mod rig;
mod tls_side;

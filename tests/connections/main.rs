//! The listener and the dialer, and what becomes of their connections when trust is taken away.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

#[path = "../common/counting.rs"]
mod counting;
mod dialer;
mod dialer_run;
mod dialing;
#[cfg(target_os = "linux")]
#[path = "../common/hostile/mod.rs"]
mod hostile;
mod listener;
mod listener_faults;
#[path = "../common/lists.rs"]
mod lists;
mod live_revocation;
mod live_trust;

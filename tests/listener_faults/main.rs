//! A listener among peers, owners and systems that fail: nobody else is held up, everything is counted, and all is given back.

#![cfg(target_os = "linux")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod dropping;
mod hello_floods;
#[path = "../hostile/mod.rs"]
mod hostile;
mod low_descriptors;
mod other_process;
mod overload;
mod owners;
mod resets;
mod site;
mod slow_peers;

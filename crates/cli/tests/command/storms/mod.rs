//! A Typha under storms, as processes of their own: who gets in, how fast, and what it costs Typha.
//!
//! Each storm has a small form, which `cargo test` runs, and one of the real size: `cargo test --release --test storms
//! -- --ignored --test-threads 1 --nocapture` runs those, and prints what it measured.

#![cfg(target_os = "linux")]

mod churn;
mod failover;
mod rig;
mod storm;

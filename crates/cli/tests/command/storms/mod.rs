//! A Typha under storms, as processes of their own: who gets in, how fast, and what it costs Typha.
//!
//! Each storm has a small form, which `cargo test` runs, and one of the real size, which
//! `cargo test --release -p typha-tls-cli --test command storms -- --ignored --test-threads 1 --nocapture` runs. It
//! prints what it measured.

mod attack;
mod churn;
mod failover;
mod rig;
mod storm;

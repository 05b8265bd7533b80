//! `typha-tls storm`: its line, for Typhas of every kind, and its exit codes.

#![cfg(target_os = "linux")]
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test may fail this way")]

mod certificates;
mod endings;
mod held;
mod pace;
mod storm;
mod typhas;

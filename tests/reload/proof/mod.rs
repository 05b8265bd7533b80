//! That reloading is a non-event: storms of handshakes across it, peers that try to carry trust over it, short-lived
//! certificates, clocks that jump, processes that are killed in it.
//!
//! The storms have a small form, which `cargo test` runs, and one of the real size, which
//! `cargo test --release --test reload proof -- --ignored --test-threads 1 --nocapture` runs. It prints its
//! counts.

#![cfg(target_os = "linux")]

mod by_turns;
mod changes;
mod clock_of_connections;
mod clock_of_handshakes;
mod felix_reloads;
mod half_open;
mod held;
mod in_files;
mod kept_sessions;
mod killed;
mod recorded;
mod short_lived;
mod short_lives;
mod typha_reloads;
mod validities;
mod whereabouts;

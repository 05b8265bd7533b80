//! `typha-tls storm`: its line, for Typhas of every kind, and its exit codes.

#![cfg(target_os = "linux")]

mod certificates;
mod endings;
mod held;
mod pace;
mod running;
mod typhas;

//! `typha-tls storm`: its line, for Typhas of every kind, and its exit codes.

mod certificates;
mod endings;
mod held;
mod pace;
mod running;
mod typhas;

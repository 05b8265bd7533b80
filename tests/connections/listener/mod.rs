//! `TyphaListener`: what it yields, counts, sheds and drops, seen from both ends.

mod accepting;
mod binding;
mod dropping;
mod first_message;
mod metrics_facade;
mod queueing;
mod rig;
mod shutting_down;

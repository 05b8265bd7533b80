//! HTTP/2 between the ends, by the example and by what other programs use.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may fail this way")]

mod frameworks;
mod programs;

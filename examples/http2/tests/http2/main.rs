//! HTTP/2 between both ends, with the example and with other frameworks; and HTTP over the connector to other servers.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may fail this way")]

mod frameworks;
mod https;
mod programs;

//! Peers that break off, inject, scramble, stall, or are not who they should be: every handshake ends in bounded time,
//! with the reason in its type, and without a panic.

mod acceptance;
mod every_byte;
mod garbage;
mod refusals;

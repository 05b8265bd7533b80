//! How long a connection lives: what becomes of it when its peer is trusted no longer, expires, or has been connected
//! for long.
//!
//! A [`TyphaListener`](crate::TyphaListener) and a [`FelixDialer`](crate::FelixDialer) judge the peers of their live
//! connections again, by [`PeerVerifier::verify`](crate::verifier::PeerVerifier::verify), whenever another
//! configuration is in force, and when a certificate of the peer's chain expires.

mod endable_stream;
mod ending;
mod policy;
mod standing;
#[cfg(test)]
mod standing_tests;

pub(crate) use endable_stream::EndableStream;
pub use ending::DropReason;
pub(crate) use ending::Ending;
pub(crate) use policy::LOOK_INTERVAL;
pub use policy::{ConnectionLifetime, ExpiryPolicy, LostTrustPolicy};
pub(crate) use standing::{Judgement, Loss, Standing};

//! What a listener reports to its program.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::HandshakeError;
use crate::verifier::{Rejection, VerifiedPeer};

/// A handshake that did not lead to a connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedHandshake {
    /// Where the peer connected from.
    pub peer_address: SocketAddr,
    /// Why there is no connection.
    pub error: HandshakeError,
    /// Time from `accept()` to the end.
    pub took: Duration,
}

/// Who is told of failed handshakes.
pub(super) type Observer = Box<dyn Fn(FailedHandshake) + Send + Sync>;

/// A live connection whose peer would not be accepted any more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LostTrust {
    /// Where the peer connected from.
    pub peer_address: SocketAddr,
    /// Who it is, as it was accepted.
    pub peer: VerifiedPeer,
    /// Why it would not be accepted now.
    pub rejection: Rejection,
    /// The [generation](crate::TyphaAcceptor::replace) of the configuration that says so.
    pub generation: u64,
    /// Whether the connection is to be [closed](crate::lifetime::ConnectionLifetime) for it.
    pub closes: bool,
}

/// Who is told of lost trust.
pub(super) type TrustObserver = Box<dyn Fn(LostTrust) + Send + Sync>;

/// What came of a graceful shutdown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Connections that were told to go. The others had gone by themselves.
    pub dropped: usize,
    /// Connections whose owners still had them when the time was over; reading and writing fails for them.
    pub left: usize,
}

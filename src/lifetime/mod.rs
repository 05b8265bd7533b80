//! The lifetime of a connection: what happens when its peer is no longer trusted, when a certificate expires, or when
//! the connection gets too old.
//!
//! A [`TyphaListener`](crate::TyphaListener), a [`FelixDialer`](crate::FelixDialer) and a
//! [`HostConnector`](crate::HostConnector::dial) verify the peers of their live connections again, by the same function
//! as in the handshake. They do so when another
//! configuration comes into force, and when a certificate of the peer's chain expires.

mod connections;
mod in_service;
mod review;
#[cfg(test)]
mod review_tests;
mod trust;
#[cfg(test)]
mod trust_tests;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::time::FAR;
use crate::verifier::{Rejection, VerifiedPeer};

pub(crate) use connections::{Connections, Entry, Observer};
pub(crate) use in_service::InService;
pub(crate) use review::review;
pub(crate) use trust::TrustState;

/// What happens to a live connection whose peer would no longer be accepted, and the maximum age of a connection.
///
/// Calico never closes a connection for these reasons. Here a removed CA, a revoked certificate and a changed required
/// identity also affect peers that are already connected.
///
/// ```
/// use std::time::Duration;
/// use typha_tls::lifetime::{ClosePolicy, ConnectionLifetime};
///
/// let mut lifetime = ConnectionLifetime::default();
/// lifetime.on_expiry = ClosePolicy::CloseWithin(Duration::from_secs(60));
/// lifetime.max_age = Some(Duration::from_secs(24 * 3600));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ConnectionLifetime {
    /// Policy for a peer that a new configuration does not accept: its CA was removed, its certificate was revoked, or
    /// another identity is required. Default: closed within 60 s, so that the peers do not all reconnect at the same
    /// time.
    pub on_lost_trust: ClosePolicy,
    /// Policy for a peer whose chain has expired since it connected, if nothing else is wrong. Default: only reported.
    /// The peer was trusted when it connected, and a late renewal must not interrupt a cluster's networking.
    pub on_expiry: ClosePolicy,
    /// Maximum age of a connection. The connection is closed at this age or, at random, up to a tenth earlier. So
    /// connections of the same age do not end together. Default: no limit. A limit bounds how long keys are used, and
    /// spreads Felixes over Typhas that were added later.
    pub max_age: Option<Duration>,
}

/// What happens to a live connection whose peer would no longer be accepted. It is always reported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClosePolicy {
    /// Closed within this time; zero closes at once. A listener spreads its connections evenly over the time and closes
    /// the first at once. A dialer picks a random moment in it. A peer that is trusted again before its turn stays
    /// connected. Expiry is noticed within 5 s.
    CloseWithin(Duration),
    /// Never closed, as in Calico. The peer is refused when it connects again.
    ReportOnly,
}

impl Default for ConnectionLifetime {
    fn default() -> Self {
        Self {
            on_lost_trust: ClosePolicy::CloseWithin(Duration::from_secs(60)),
            on_expiry: ClosePolicy::ReportOnly,
            max_age: None,
        }
    }
}

impl ConnectionLifetime {
    /// The maximum age of a connection that begins now.
    fn age_limit(&self) -> Option<Duration> {
        self.max_age.map(|limit| limit.min(FAR).mul_f64(1.0 - fastrand::f64() / 10.0))
    }
}

/// Why the listener or the dialer asks the owner of a connection to close it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// A certificate of the peer's chain has expired, and [`ConnectionLifetime::on_expiry`] requires closing. Label:
    /// `expired`.
    Expired,
    /// The peer is no longer trusted, and [`ConnectionLifetime::on_lost_trust`] requires closing. Label: `lost_trust`.
    LostTrust,
    /// The connection has reached its [maximum age](ConnectionLifetime::max_age). Label: `max_age`.
    MaxAge,
    /// The listener has more connections than its [target](crate::listener::ListenerHandle::rebalance). Label:
    /// `rebalance`.
    Rebalance,
    /// [`drop_random`](crate::listener::ListenerHandle::drop_random) was called. Label: `requested`.
    Requested,
    /// The listener shuts down. Label: `shutdown`.
    Shutdown,
}

impl CloseReason {
    /// The stable label for logs and metrics, such as `rebalance`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::LostTrust => "lost_trust",
            Self::MaxAge => "max_age",
            Self::Rebalance => "rebalance",
            Self::Requested => "requested",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A live connection whose peer would no longer be accepted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LostTrust {
    /// The peer's address.
    pub peer_address: SocketAddr,
    /// The peer, as it was last accepted.
    pub peer: VerifiedPeer,
    /// Why the peer would not be accepted now.
    pub rejection: Rejection,
    /// The generation of the configuration that does not accept it.
    pub generation: u64,
    /// Whether the connection will be [closed](ConnectionLifetime) for this reason.
    pub closes: bool,
}

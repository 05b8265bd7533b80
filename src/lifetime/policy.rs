//! What becomes of live connections.

use std::time::Duration;

use super::{DropReason, Loss};
use crate::time::FAR;

/// How often it is looked for what has expired. The look itself costs 20 ns for each connection.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What becomes of live connections whose peer would not be accepted any more, and how old they may get.
///
/// Calico never ends a connection for any of this. Here a CA that is removed, a certificate that is revoked, a required
/// identity that is changed also count for those who are connected already.
///
/// ```
/// use std::time::Duration;
/// use typha_tls::lifetime::{ConnectionLifetime, ExpiryPolicy};
///
/// let mut lifetime = ConnectionLifetime::default();
/// lifetime.on_expiry = ExpiryPolicy::CloseAtExpiry;
/// lifetime.max_age = Some(Duration::from_secs(24 * 3600));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ConnectionLifetime {
    /// For a peer that a new configuration does not accept: its CA was removed, it was revoked, another identity is
    /// required. Default: closed, [spread](LostTrustPolicy::CloseSpread) over 60 s.
    pub on_lost_trust: LostTrustPolicy,
    /// For a peer of whose chain something has expired since it connected, and nothing else is wrong. Default: only
    /// reported, since the peer was good when it came, and a renewal that is late must not take a cluster's networking
    /// down.
    pub on_expiry: ExpiryPolicy,
    /// Closes a connection at this age, or up to a tenth earlier, at random, so that those that came together do not
    /// leave together. Default: no limit. It bounds for how long keys are used, and spreads Felixes over Typhas that
    /// were added later.
    pub max_age: Option<Duration>,
}

/// What becomes of a live connection whose peer has lost our trust. It is reported in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LostTrustPolicy {
    /// Closed at once.
    CloseAtOnce,
    /// Closed within this time: a listener spreads its connections evenly, the first at once; a dialer takes a moment
    /// at random. So not everybody comes back at the same time. What is trusted again before its turn stays.
    CloseSpread(Duration),
    /// Never closed, as in Calico.
    ReportOnly,
}

/// What becomes of a live connection when a certificate of the peer's chain expires. It is reported in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ExpiryPolicy {
    /// Closed once it is noticed, within 5 s; of several at a time, spread over the time of a
    /// [`LostTrustPolicy::CloseSpread`] in [`ConnectionLifetime::on_lost_trust`], of which a dialer takes a moment at
    /// random. With any other policy there all are closed at once, which for a CA that expires can be every connection.
    CloseAtExpiry,
    /// Never closed, as in Calico. A reconnection will be refused.
    ReportOnly,
}

impl Default for ConnectionLifetime {
    fn default() -> Self {
        Self {
            on_lost_trust: LostTrustPolicy::CloseSpread(Duration::from_secs(60)),
            on_expiry: ExpiryPolicy::ReportOnly,
            max_age: None,
        }
    }
}

impl ConnectionLifetime {
    /// As what a connection is closed whose peer is lost for this reason, if it is.
    pub(crate) fn closing(&self, loss: &Loss) -> Option<DropReason> {
        match loss {
            Loss::Trust(_) => {
                (self.on_lost_trust != LostTrustPolicy::ReportOnly).then_some(DropReason::LostTrust)
            }
            Loss::Expired(_) => {
                (self.on_expiry == ExpiryPolicy::CloseAtExpiry).then_some(DropReason::Expired)
            }
            // Clocks that go wrong come right again.
            Loss::NotYetValid(_) => None,
        }
    }

    /// Over how much time closings are spread.
    pub(crate) fn spread(&self) -> Duration {
        match self.on_lost_trust {
            LostTrustPolicy::CloseSpread(spread) => spread.min(FAR),
            LostTrustPolicy::CloseAtOnce | LostTrustPolicy::ReportOnly => Duration::ZERO,
        }
    }

    /// How old a connection may get that begins now.
    pub(crate) fn age_limit(&self) -> Option<Duration> {
        self.max_age.map(|limit| limit.min(FAR).mul_f64(1.0 - fastrand::f64() / 10.0))
    }
}

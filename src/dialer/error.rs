//! Why the dialer could not connect to any Typha.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use thiserror::Error;

use super::endpoint::{DiscoveryError, TyphaEndpoint};
use crate::error::HandshakeError;
use crate::identity::PeerIdentity;
use crate::text::WithCauses;
use crate::time::Timestamp;

/// Why the dialer could not connect to any Typha. The text contains the last reason for each Typha that was tried;
/// [`attempts`](Self::attempts) returns every attempt.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// No Typha is known, because the search found none. Label: `no_endpoints`.
    #[error("no Typha is known{}", Tried(attempts))]
    NoEndpoints {
        /// Why none was found.
        source: DiscoveryError,
        /// Attempts on Typhas that were forgotten later.
        attempts: Vec<FailedAttempt>,
    },
    /// A Typha refused us, and our own certificate is not valid by our own clock. Other Typhas would refuse us too.
    /// Label: `own_certificate`.
    #[error(
        "Typha refused us, and our own certificate ({certificate}) is valid only from {} to {}: renew it, or set the \
         clock{}",
        Timestamp(*not_before), Timestamp(*not_after), Tried(attempts)
    )]
    OwnCertificate {
        /// The names in our certificate.
        certificate: Box<PeerIdentity>,
        /// When it becomes valid.
        not_before: UnixTime,
        /// When it expires.
        not_after: UnixTime,
        /// All attempts; the last is the refusal.
        attempts: Vec<FailedAttempt>,
    },
    /// The [`connect_timeout`](super::DialerLimits::connect_timeout) is over. Label: `timed_out`.
    #[error("could not connect to any Typha within {after:?}{}{}", Tried(attempts), Unfound(discovery.as_ref()))]
    TimedOut {
        /// The bound that was exceeded.
        after: Duration,
        /// All attempts.
        attempts: Vec<FailedAttempt>,
        /// Why the last search for Typhas failed, if it did.
        discovery: Option<DiscoveryError>,
    },
    /// All tries are used up. Label: `tries_used_up`.
    #[error("could not connect to any Typha{}{}", Tried(attempts), Unfound(discovery.as_ref()))]
    TriesUsedUp {
        /// All attempts.
        attempts: Vec<FailedAttempt>,
        /// Why the last search for Typhas failed, if it did.
        discovery: Option<DiscoveryError>,
    },
}

impl DialError {
    /// A stable label for logs and metrics: `no_endpoints`, `own_certificate`, `timed_out` or
    /// `tries_used_up`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoEndpoints { .. } => "no_endpoints",
            Self::OwnCertificate { .. } => "own_certificate",
            Self::TimedOut { .. } => "timed_out",
            Self::TriesUsedUp { .. } => "tries_used_up",
        }
    }

    /// Every attempt, in the order in which they ended. A dial that was ended because another Typha answered first is
    /// not an attempt.
    pub fn attempts(&self) -> &[FailedAttempt] {
        match self {
            Self::NoEndpoints { attempts, .. }
            | Self::OwnCertificate { attempts, .. }
            | Self::TimedOut { attempts, .. }
            | Self::TriesUsedUp { attempts, .. } => attempts,
        }
    }

    /// Whether the reason is on our end. Then neither another Typha nor another try helps.
    pub fn is_own_fault(&self) -> bool {
        matches!(self, Self::OwnCertificate { .. })
    }
}

/// An attempt to connect to one Typha. Cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// The Typha.
    pub endpoint: TyphaEndpoint,
    /// Why it failed.
    pub error: Arc<AttemptError>,
    /// How long it took, from the start of the dial.
    pub took: Duration,
}

/// Why an attempt to connect to one Typha failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The TCP connection failed. Label: `dial`.
    #[error("no TCP connection")]
    Dial(#[source] io::Error),
    /// There was no TCP connection in time. Label: `dial_timed_out`.
    #[error("no TCP connection within {after:?}")]
    DialTimedOut {
        /// The bound that was exceeded.
        after: Duration,
    },
    /// The handshake failed after the TCP connection was established. Label: that of the [`HandshakeError`].
    #[error(transparent)]
    Handshake(HandshakeError),
}

impl AttemptError {
    /// A stable label for logs and metrics: `dial`, `dial_timed_out`, or the [`HandshakeError::label`].
    pub fn label(&self) -> &'static str {
        match self {
            Self::Dial(_) => "dial",
            Self::DialTimedOut { .. } => "dial_timed_out",
            Self::Handshake(error) => error.label(),
        }
    }

    /// Whether the attempt timed out.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::DialTimedOut { .. } | Self::Handshake(HandshakeError::TimedOut { .. }))
    }
}

/// Shows every Typha that was tried with its last reason, including the causes, because a list has no `source`.
struct Tried<'a>(&'a [FailedAttempt]);

/// The number of Typhas that are shown.
const SHOWN: usize = 10;

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_last = |&(index, attempt): &(usize, &FailedAttempt)| {
            !self.0.iter().skip(index + 1).any(|later| later.endpoint.address == attempt.endpoint.address)
        };
        let mut last = self.0.iter().enumerate().filter(is_last);
        for (index, (_, attempt)) in last.by_ref().take(SHOWN).enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            write!(f, "{separator}{}: {}", attempt.endpoint, WithCauses(&attempt.error))?;
        }
        match last.count() {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Shows that the search failed: there may be Typhas that were not tried.
struct Unfound<'a>(Option<&'a DiscoveryError>);

impl fmt::Display for Unfound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(error) => write!(f, "; the last search for Typhas failed too: {}", WithCauses(error)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn refused(port: u16, problem: &str) -> FailedAttempt {
        let address = SocketAddr::from(([192, 0, 2, 1], port));
        let error = AttemptError::Dial(io::Error::other(problem.to_owned()));
        FailedAttempt { endpoint: address.into(), error: Arc::new(error), took: Duration::ZERO }
    }

    #[test]
    fn the_text_has_the_last_reason_of_each() {
        let attempts = vec![refused(1, "first"), refused(2, "second"), refused(1, "third")];
        let error = DialError::TriesUsedUp { attempts, discovery: None };
        let text = "could not connect to any Typha: 192.0.2.1:2: no TCP connection: second; 192.0.2.1:1: no TCP \
                    connection: third";
        assert_eq!(WithCauses(&error).to_string(), text);
        assert_eq!(error.attempts().len(), 3);
    }

    #[test]
    fn the_text_is_bounded() {
        let attempts = (0..500).map(|port| refused(port, "x")).collect();
        let discovery = Some(DiscoveryError::new("no answer").with_source("a cause"));
        let text = DialError::TimedOut { after: Duration::from_secs(2), attempts, discovery }.to_string();
        let listed: Vec<_> = (0..10).map(|port| format!("192.0.2.1:{port}: no TCP connection: x")).collect();
        let expected = format!(
            "could not connect to any Typha within 2s: {}; and 490 more; the last search for Typhas failed too: no \
             answer: a cause",
            listed.join("; ")
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_search_that_found_nothing_is_the_cause() {
        let source = DiscoveryError::new("no answer").with_source("a cause");
        let error = DialError::NoEndpoints { source, attempts: Vec::new() };
        assert_eq!(WithCauses(&error).to_string(), "no Typha is known: no answer: a cause");
    }
}

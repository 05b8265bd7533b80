//! Why there is no connection to a host.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::dialer::AttemptError;
use crate::error::HandshakeError;
use crate::identity::ServerHost;
use crate::text::WithCauses;

/// Why [`HostConnector::dial`](super::HostConnector::dial) could not connect. The text contains every attempt.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum HostDialError {
    /// Every address of the host was tried. Label: that of the last attempt.
    #[error("could not connect to {}{}", Target(host, *port), Tried(host, attempts))]
    AllFailed {
        /// The host that was dialled.
        host: ServerHost,
        /// The port.
        port: u16,
        /// All attempts, in the order in which they ended.
        attempts: Vec<AddressAttempt>,
    },
    /// The time limit is over. Label: `timed_out`.
    #[error("could not connect to {} within {after:?}{}", Target(host, *port), Tried(host, attempts))]
    TimedOut {
        /// The host that was dialled.
        host: ServerHost,
        /// The port.
        port: u16,
        /// The time limit.
        after: Duration,
        /// The attempts that had ended by then.
        attempts: Vec<AddressAttempt>,
    },
    /// The name of the host has no address. Label: `unresolved`.
    #[error("the name {host} can not be resolved")]
    Unresolved {
        /// The host that was dialled.
        host: ServerHost,
        /// The error of the resolver.
        source: Arc<io::Error>,
    },
}

impl HostDialError {
    /// A stable label for logs and metrics: `unresolved`, `timed_out`, or that of the last attempt
    /// ([`AttemptError::label`]).
    pub fn label(&self) -> &'static str {
        match self {
            Self::AllFailed { attempts, .. } => {
                attempts.last().map_or("dial", |attempt| attempt.error.label())
            }
            Self::TimedOut { .. } => "timed_out",
            Self::Unresolved { .. } => "unresolved",
        }
    }

    /// Every attempt, in the order in which they ended.
    pub fn attempts(&self) -> &[AddressAttempt] {
        match self {
            Self::AllFailed { attempts, .. } | Self::TimedOut { attempts, .. } => attempts,
            Self::Unresolved { .. } => &[],
        }
    }

    /// The handshake that failed last, if one did. It has the reason why we refused the server, or the alert by which
    /// the server refused us.
    pub fn handshake(&self) -> Option<&HandshakeError> {
        self.attempts().iter().rev().find_map(|attempt| match &*attempt.error {
            AttemptError::Handshake(error) => Some(error),
            _ => None,
        })
    }
}

/// An attempt to connect to one address. Cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AddressAttempt {
    /// The address.
    pub address: SocketAddr,
    /// Why it failed.
    pub error: Arc<AttemptError>,
    /// How long it took, from the start of the dial.
    pub took: Duration,
}

/// The address, the error and its causes.
impl fmt::Display for AddressAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, WithCauses(&self.error))
    }
}

struct Target<'a>(&'a ServerHost, u16);

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip_address() {
            Some(address) => SocketAddr::from((address, self.1)).fmt(f),
            None => write!(f, "{}:{}", self.0, self.1),
        }
    }
}

/// Shows each attempt, including the causes, because a list has no `source`. If the host is an address, the attempts do
/// not repeat it.
struct Tried<'a>(&'a ServerHost, &'a [AddressAttempt]);

/// The number of attempts that are shown.
const SHOWN: usize = 10;

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attempt) in self.1.iter().take(SHOWN).enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            f.write_str(separator)?;
            match self.0.ip_address() {
                Some(_) => WithCauses(&attempt.error).fmt(f)?,
                None => attempt.fmt(f)?,
            }
        }
        match self.1.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

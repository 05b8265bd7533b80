//! Why there is no connection to etcd.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use typha_tls::error::{HandshakeError, WithCauses, alert_name};
use typha_tls::host::HostDialError;

use crate::endpoint::EtcdEndpoint;
use crate::refusal::explanation;

/// Why there is no connection to etcd. The text contains every attempt.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// Every endpoint was tried. Label: that of the last attempt.
    #[error("could not connect to etcd{}", Tried(attempts))]
    AllFailed {
        /// All attempts, in the order in which they ended.
        attempts: Vec<EndpointAttempt>,
    },
    /// The time limit is over. Label: `timed_out`.
    #[error("could not connect to etcd within {after:?}{}", Tried(attempts))]
    TimedOut {
        /// The time limit.
        after: Duration,
        /// The attempts that had ended by then.
        attempts: Vec<EndpointAttempt>,
    },
}

impl EtcdError {
    /// Finds the error of a connector among the sources of another error, such as a `tonic::Status`.
    pub fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// A stable label for logs and metrics: `timed_out`, or that of the last attempt ([`HostDialError::label`]).
    pub fn label(&self) -> &'static str {
        match self {
            Self::AllFailed { attempts } => attempts.last().map_or("dial", |attempt| attempt.error.label()),
            Self::TimedOut { .. } => "timed_out",
        }
    }

    /// Every attempt, in the order in which they ended.
    pub fn attempts(&self) -> &[EndpointAttempt] {
        match self {
            Self::AllFailed { attempts } | Self::TimedOut { attempts, .. } => attempts,
        }
    }
}

/// An attempt to connect to one endpoint. Its text has the reason, and what it means if the server is etcd.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointAttempt {
    /// The endpoint.
    pub endpoint: EtcdEndpoint,
    /// Why it failed.
    pub error: Arc<HostDialError>,
    /// Whether we have a certificate of our own.
    pub has_certificate: bool,
    /// Why every server refuses that certificate, if etcd refused us: it has expired, is not valid yet, or lacks
    /// clientAuth.
    pub unusable_certificate: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for EndpointAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.endpoint)?;
        let explained = self.error.handshake().and_then(|handshake| match &self.unusable_certificate {
            Some(reason) => Some((handshake, &**reason)),
            None => Some((handshake, explanation(handshake, self.has_certificate)?)),
        });
        match (explained, &*self.error) {
            (Some((HandshakeError::RefusedByPeer { alert }, explanation)), _) => {
                write!(f, "etcd refused us with the alert {}: {explanation}", alert_name(*alert))
            }
            (Some((_, explanation)), _) => f.write_str(explanation),
            (None, HostDialError::AllFailed { host, attempts, .. }) => match (&**attempts, host.ip_address())
            {
                // The endpoint has the address.
                ([only], Some(_)) => WithCauses(&only.error).fmt(f),
                ([only], None) => only.fmt(f),
                _ => WithCauses(&self.error).fmt(f),
            },
            (None, _) => WithCauses(&self.error).fmt(f),
        }
    }
}

struct Tried<'a>(&'a [EndpointAttempt]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attempt) in self.0.iter().enumerate() {
            write!(f, "{}{attempt}", if index == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

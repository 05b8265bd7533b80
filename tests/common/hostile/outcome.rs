//! What became of a handshake, in a form that tables can compare.

use std::io;

use rustls::AlertDescription;
use typha_tls::error::HandshakePhase;
use typha_tls::stream::Acceptance;
use typha_tls::{AuthenticatedStream, HandshakeError};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Accepted(Acceptance),
    Closed(HandshakePhase),
    Io(io::ErrorKind),
    MessageTooLarge(usize),
    NotTls(String),
    RefusedByPeer(AlertDescription),
    Rejected(&'static str),
    TimedOut(HandshakePhase),
    Tls(rustls::Error),
}

impl Outcome {
    pub(crate) const ACCEPTED: Self = Self::Accepted(Acceptance::Confirmed);

    pub(crate) fn of<IO>(result: Result<AuthenticatedStream<IO>, HandshakeError>) -> Self {
        match result {
            Ok(stream) => Self::Accepted(stream.acceptance()),
            Err(HandshakeError::Closed { phase }) => Self::Closed(phase),
            Err(HandshakeError::Io(error)) => Self::Io(error.kind()),
            Err(HandshakeError::MessageTooLarge { limit }) => Self::MessageTooLarge(limit),
            Err(HandshakeError::NotTls { start }) => Self::NotTls(start),
            Err(HandshakeError::RefusedByPeer { alert }) => Self::RefusedByPeer(alert),
            Err(HandshakeError::Rejected(rejection)) => Self::Rejected(rejection.label()),
            Err(HandshakeError::TimedOut { phase, .. }) => Self::TimedOut(phase),
            Err(HandshakeError::Tls(error)) => Self::Tls(error),
            Err(error) => panic!("a new kind of error: {error:?}"),
        }
    }

    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }
}

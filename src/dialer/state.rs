//! The state of a running dialer.

use std::error::Error;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use super::endpoint::TyphaEndpoint;
use super::error::{AttemptError, DialError, FailedAttempt};
use crate::identity::PeerIdentity;

/// The state of [`FelixDialer::run`](super::FelixDialer::run).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DialerState {
    /// The current phase.
    pub phase: DialerPhase,
    /// When the phase began.
    pub since: Instant,
    /// The latest error: each failed attempt, then the `connect` as a whole, then the error of the handler, unless
    /// it only reports that Typha has ended the connection. A later connection does not clear it.
    pub last_error: Option<Arc<DialerError>>,
}

/// A phase of a dialer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DialerPhase {
    /// The dialer waits before it tries again.
    BackingOff {
        /// The end of the wait.
        until: Instant,
    },
    /// The handler has a connection.
    Connected {
        /// The Typha that it is connected to.
        endpoint: TyphaEndpoint,
        /// The identity of Typha that the verifier accepted.
        peer: PeerIdentity,
    },
    /// The dialer tries to connect.
    Connecting {
        /// The Typha that is being tried; `None` while none is known.
        endpoint: Option<TyphaEndpoint>,
    },
    /// The dialer does not run yet.
    Idle,
    /// The dialer no longer runs.
    Stopped,
}

/// Why a running dialer is not connected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialerError {
    /// One Typha could not be connected to. Others may still be tried.
    #[error("the attempt to connect to {endpoint} failed")]
    Attempt {
        /// The Typha.
        endpoint: TyphaEndpoint,
        /// Why it failed.
        source: Arc<AttemptError>,
    },
    /// The dialer could not connect to any Typha.
    #[error(transparent)]
    Dial(DialError),
    /// The handler of a connection returned an error.
    #[error("the connection to {endpoint} failed")]
    Handler {
        /// The Typha that it was connected to.
        endpoint: TyphaEndpoint,
        /// What the handler returned.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl DialerState {
    pub(super) fn idle() -> Self {
        Self { phase: DialerPhase::Idle, since: Instant::now(), last_error: None }
    }

    /// Whether the handler has a connection. Suitable for a readiness probe.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, DialerPhase::Connected { .. })
    }
}

/// Writes the state. When dropped, it writes [`Stopped`](DialerPhase::Stopped).
pub(super) struct Reporter<'a>(pub(super) &'a watch::Sender<DialerState>);

impl Reporter<'_> {
    pub(super) fn phase(&self, phase: DialerPhase) {
        debug!(?phase, "state of the dialer");
        self.0.send_if_modified(|state| {
            let is_new = state.phase != phase;
            if is_new {
                (state.phase, state.since) = (phase, Instant::now());
            }
            is_new
        });
    }

    /// Records a failed attempt. The phase stays the same.
    pub(super) fn attempt_failed(&self, attempt: FailedAttempt) {
        let error = DialerError::Attempt { endpoint: attempt.endpoint, source: attempt.error };
        self.0.send_modify(|state| state.last_error = Some(Arc::new(error)));
    }

    /// Records an error together with the phase that follows it.
    pub(super) fn failed(&self, error: DialerError, phase: DialerPhase) {
        let last_error = Some(Arc::new(error));
        self.0.send_replace(DialerState { phase, since: Instant::now(), last_error });
    }
}

impl Drop for Reporter<'_> {
    fn drop(&mut self) {
        self.phase(DialerPhase::Stopped);
    }
}

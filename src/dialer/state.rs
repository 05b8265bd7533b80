//! What a dialer that runs is doing.

use std::error::Error;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use super::endpoint::TyphaEndpoint;
use super::error::{AttemptError, DialError, FailedAttempt};
use crate::identity::PeerIdentity;

/// What [`FelixDialer::run`](super::FelixDialer::run) is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DialerState {
    /// What it does now.
    pub phase: DialerPhase,
    /// Since when it does that.
    pub since: Instant,
    /// What went wrong last: each failed attempt, then the `connect` as a whole, then what the handler returned. It is
    /// kept when a connection comes about after it.
    pub last_error: Option<Arc<DialerError>>,
}

/// What a dialer does.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DialerPhase {
    /// It waits before it tries again.
    BackingOff {
        /// Until when.
        until: Instant,
    },
    /// The handler has a connection.
    Connected {
        /// To this Typha.
        endpoint: TyphaEndpoint,
        /// Who Typha is, as the verifier accepted it.
        peer: PeerIdentity,
    },
    /// It tries to connect.
    Connecting {
        /// The Typha that is being tried; `None` while none is known.
        endpoint: Option<TyphaEndpoint>,
    },
    /// It does not run yet.
    Idle,
    /// It runs no more.
    Stopped,
}

/// What keeps a dialer that runs from being connected.
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
    /// No Typha could be connected to.
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

    /// Whether the handler has a connection: what a readiness probe asks.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, DialerPhase::Connected { .. })
    }
}

/// Writes the state, and leaves [`Stopped`](DialerPhase::Stopped) behind however it ends.
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

    /// What it does stays the same.
    pub(super) fn attempt_failed(&self, attempt: FailedAttempt) {
        let error = DialerError::Attempt { endpoint: attempt.endpoint, source: attempt.error };
        self.0.send_modify(|state| state.last_error = Some(Arc::new(error)));
    }

    /// The error arrives together with the phase that it leads to.
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

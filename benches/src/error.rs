//! Why a run ends before its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

/// Why the bench ended without its report.
#[derive(Debug, Error)]
pub(crate) enum BenchError {
    /// A handshake or a connection of a measurement did not succeed.
    #[error("{worker}: {failed} failed in {during}; the first: {first}")]
    Failed { worker: String, during: String, failed: u64, first: String },
    #[error("interrupted")]
    Interrupted,
    #[error("{doing}")]
    Machine {
        doing: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What the command line asks for can not be done here.
    #[error("{0}")]
    Unusable(String),
    #[error("the worker {worker} {what}{}", said(.stderr))]
    Worker { worker: String, what: String, stderr: String },
}

fn said(stderr: &str) -> String {
    match stderr.trim() {
        "" => ", and said nothing on stderr".to_owned(),
        text => format!("; on stderr it said: {text}"),
    }
}

impl BenchError {
    /// For `map_err`.
    pub(crate) fn machine<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        doing: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |cause| Self::Machine { doing, cause: cause.into() }
    }
}

/// How often whatever waits looks whether it is to stop.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// Says that the run is to end; looked at by whatever waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn now(&self) {
        self.0.store(true, Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), BenchError> {
        if self.0.load(Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
    }

    /// Sleeps, unless the run is to end.
    pub(crate) fn pause(&self, length: Duration) -> Result<(), BenchError> {
        let until = Instant::now() + length;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(LOOK));
        }
    }
}

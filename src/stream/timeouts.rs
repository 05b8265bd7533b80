//! Timeouts for reads and writes that make no progress.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::time::deadline_in;

/// How long a read and a write may make no progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) read: Option<Duration>,
    pub(crate) write: Option<Duration>,
}

impl Timeouts {
    /// Calico's defaults on Typha's end. A Felix may be silent for long.
    pub(crate) const TYPHA: Self = Self { read: None, write: Some(Duration::from_secs(120)) };
    /// Calico's defaults on Felix's end. A Typha is never silent for so long.
    pub(crate) const FELIX: Self =
        Self { read: Some(Duration::from_secs(30)), write: Some(Duration::from_secs(10)) };
}

/// A timeout that runs while an operation is pending. The timer is created for the first one and then reused.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    limit: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Watchdog {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { limit, timer: None, running: false }
    }

    /// Called when the operation is pending. Starts the timer, or returns `Ready` if it has expired.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limit else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.running {
            timer.as_mut().reset(deadline_in(limit));
            self.running = true;
        }
        timer.as_mut().poll(cx)
    }

    pub(super) fn progress(&mut self) {
        self.running = false;
    }
}

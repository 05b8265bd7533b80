//! Bounds for reads and writes that make no progress.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::time::deadline_in;

/// Bounds for reads and writes that make no progress.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct StreamTimeouts {
    /// A read that receives no byte for this long, counted from the first poll that found none (also one of an earlier
    /// read that was cancelled), fails with [`TimedOut`](std::io::ErrorKind::TimedOut). Calico's `TyphaReadTimeout`.
    pub read: Option<Duration>,
    /// A write, flush or shutdown of which the peer takes no byte for this long fails with
    /// [`TimedOut`](std::io::ErrorKind::TimedOut), and so does every later one: what was sent is incomplete. Calico's
    /// `ServerWriteTimeoutSecs`, `TyphaWriteTimeout`.
    pub write: Option<Duration>,
}

impl StreamTimeouts {
    /// Calico's defaults on Typha's end: 120 s for a write, no bound for a read, since a Felix may be silent for long.
    pub const TYPHA: Self = Self { read: None, write: Some(Duration::from_secs(120)) };
    /// Calico's defaults on Felix's end: 30 s for a read, since a Typha is never silent for so long, and 10 s for a
    /// write.
    pub const FELIX: Self =
        Self { read: Some(Duration::from_secs(30)), write: Some(Duration::from_secs(10)) };

    /// These bounds; `None` for no bound.
    pub fn new(read: Option<Duration>, write: Option<Duration>) -> Self {
        Self { read, write }
    }
}

/// Runs while an operation is pending. The timer is made on the first one and used again, since most never expire.
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

    /// Called when the operation is pending: starts the clock, or finds that it has run out.
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

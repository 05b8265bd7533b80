//! The end of a connection that its owner is asked for.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use tokio_util::sync::CancellationToken;

/// Why the end of a connection is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum DropReason {
    /// A certificate of the peer's chain has expired, and [`ExpiryPolicy`](super::ExpiryPolicy) says to close.
    Expired,
    /// The peer is trusted no longer, and [`LostTrustPolicy`](super::LostTrustPolicy) says to close.
    LostTrust,
    /// The connection has reached its [maximum age](super::ConnectionLifetime::max_age).
    MaxAge,
    /// Some other Typha is to serve it.
    Rebalance,
    /// [`drop_random`](crate::listener::ListenerHandle::drop_random) was called.
    Requested,
    /// The listener shuts down.
    Shutdown,
}

impl DropReason {
    /// A stable label for logs and metrics, such as `rebalance`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::LostTrust => "lost_trust",
            Self::MaxAge => "max_age",
            Self::Rebalance => "rebalance",
            Self::Requested => "requested",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a connection is to end, and whether it may still be used.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    told: CancellationToken,
    reason: OnceLock<DropReason>,
    cut: AtomicBool,
    pub(super) reader: AtomicWaker,
    pub(super) writer: AtomicWaker,
}

impl Ending {
    /// Cancelled when the owner is asked for the end.
    pub(crate) fn told(&self) -> &CancellationToken {
        &self.told
    }

    pub(crate) fn reason(&self) -> Option<DropReason> {
        self.reason.get().copied()
    }

    /// Asks the owner for the end. The first reason stays.
    pub(crate) fn tell(&self, reason: DropReason) {
        let _ = self.reason.set(reason);
        self.told.cancel();
    }

    /// Ends the use: whoever reads or writes is woken to learn of it.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    /// Whether it may not be used any longer.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Remembers who waits; `true` if that came too late.
    pub(super) fn is_cut_now(&self, waiting: &AtomicWaker, waker: &Waker) -> bool {
        waiting.register(waker);
        self.is_cut()
    }
}

//! Why a connection was given up without a verdict.

use std::fmt;

/// Why the listener gave a connection up before it was judged.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum ShedCause {
    /// As many connections are in service as may be.
    ConnectionLimit,
    /// The process had no descriptors left, and it was among those that had been silent for longest.
    OutOfDescriptors,
    /// It was ready for its handshake, but too many others were before it for it to end within its bound.
    Overload,
    /// The queue was full: it was the one that had been silent for longest, the last of the longest line of one
    /// address, or came when there was neither.
    QueueFull,
    /// The share of the queue that its address has was full: it was the one of them that had been silent for longest,
    /// or came when none had been for 100 ms.
    ShareFull,
    /// The listener was shut down before it was handed over.
    ShuttingDown,
    /// Others waited for a handshake, and in its own it had kept us waiting for longer than any.
    Stalled,
}

impl ShedCause {
    /// A stable label for logs and metrics, such as `queue_full`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionLimit => "connection_limit",
            Self::OutOfDescriptors => "out_of_descriptors",
            Self::Overload => "overload",
            Self::QueueFull => "queue_full",
            Self::ShareFull => "share_full",
            Self::ShuttingDown => "shutting_down",
            Self::Stalled => "stalled",
        }
    }
}

impl fmt::Display for ShedCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! How much a listener takes on.

use std::fmt;
use std::time::Duration;

/// How much a [`TyphaListener`](crate::TyphaListener) takes on, and at what pace it lets go. A number below 1 counts as
/// 1.
///
/// The process needs a descriptor for each connection, queued or in service: raise `RLIMIT_NOFILE` beyond
/// the sum of `connections` and `queue`. Where it has too few, silent connections are shed for new ones, and what can
/// not be accepted waits in the system's queue.
///
/// ```
/// let mut limits = typha_tls::listener::ListenerLimits::default();
/// limits.handshakes = 64;
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ListenerLimits {
    /// Handshakes under way at a time. Default 256: enough to keep the processor busy while peers 20 ms away answer,
    /// and few enough that each still ends within its bound on a machine that does 50 a second.
    pub handshakes: usize,
    /// Of them, those from one address. Default 64, a quarter of all, so that no single peer can hold up the others;
    /// many Felixes behind one address are served all the same, one after the other.
    pub handshakes_per_address: usize,
    /// Connections that wait for their handshake: their first message has not arrived yet, or no handshake is free for
    /// them. Default 4096, what the system keeps at most in the queue before this one.
    pub queue: usize,
    /// Of them, those from one address. Default 1024, a quarter of all.
    pub queue_per_address: usize,
    /// Connections in service, at most; beyond it new ones are shed. Calico's `MaxConnectionsUpperLimit`; default
    /// 10,000, as there.
    pub connections: usize,
    /// Rebalancing never goes below this. Calico's `MaxConnectionsLowerLimit`; default 400, as there.
    pub connections_lower: usize,
    /// The pace at which rebalancing drops connections; up to a tenth is added at random. Calico's
    /// `ConnectionDropIntervalSecs`; default 1 s, as there.
    pub drop_interval: Duration,
    /// For how long a connection that is to be dropped still works, so that its owner can end it in order. Default 1 s:
    /// time to finish a message. A peer that has [lost our trust](crate::lifetime) has as long, and is not judged again
    /// in it: keep it short.
    pub drop_grace: Duration,
    /// How long a graceful shutdown may take. Calico's `ShutdownTimeoutSecs`; default 300 s, as there.
    pub shutdown_timeout: Duration,
    /// The slowest pace at which a graceful shutdown drops connections. Calico's
    /// `ShutdownConnectionDropIntervalMaxSecs`; default 1 s, as there.
    pub shutdown_drop_interval_max: Duration,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            handshakes: 256,
            handshakes_per_address: 64,
            queue: 4096,
            queue_per_address: 1024,
            connections: 10_000,
            connections_lower: 400,
            drop_interval: Duration::from_secs(1),
            drop_grace: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(300),
            shutdown_drop_interval_max: Duration::from_secs(1),
        }
    }
}

impl ListenerLimits {
    pub(super) fn at_least_one(mut self) -> Self {
        for number in [
            &mut self.handshakes,
            &mut self.handshakes_per_address,
            &mut self.queue,
            &mut self.queue_per_address,
            &mut self.connections,
            &mut self.connections_lower,
        ] {
            *number = (*number).max(1);
        }
        self
    }
}

/// Why the listener gave up a connection before its peer was judged.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum ShedCause {
    /// As many connections are in service as [`ListenerLimits::connections`] allows.
    ConnectionLimit,
    /// The process had no descriptors left. The connections that had been silent for longest were shed.
    OutOfDescriptors,
    /// The connection was ready for its handshake, but too many others were before it: it would have timed out.
    Overload,
    /// The [queue](ListenerLimits::queue) is full. Shed first: the connection that has been silent for longest; else
    /// the newest of the address with the most connections in line; else the new arrival.
    QueueFull,
    /// The [share](ListenerLimits::queue_per_address) of its address is full. Shed first: the connection of this
    /// address that has been silent for longest, and for at least 100 ms; else the new arrival.
    ShareFull,
    /// The listener shuts down.
    ShuttingDown,
    /// Other connections waited for a handshake, and this one's peer had kept its own waiting for longest.
    Stalled,
}

impl ShedCause {
    /// A stable label for logs and metrics, such as `queue_full`.
    pub fn label(self) -> &'static str {
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
        f.write_str(self.label())
    }
}

//! The limits of a listener.

use std::fmt;
use std::time::Duration;

/// The limits of a [`TyphaListener`](crate::TyphaListener): how many connections it accepts, and how fast it drops
/// them. Numbers below 1 count as 1.
///
/// The process needs one file descriptor for each connection, queued or in service, and for each
/// [unreleased](super::ListenerStats::unreleased) one. Set `RLIMIT_NOFILE` above the sum
/// of `connections` and `queue`. If descriptors run out, the listener sheds silent connections to make room.
/// Connections that it can not accept yet wait in the system's queue.
///
/// ```
/// let mut limits = typha_tls::listener::ListenerLimits::default();
/// limits.handshakes = 64;
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ListenerLimits {
    /// Concurrent handshakes. Default 256: enough to keep the processor busy while peers 20 ms away answer. Few enough
    /// that each handshake ends within its timeout on a machine that does 50 handshakes a second.
    pub handshakes: usize,
    /// Concurrent handshakes from one address. Default 64, a quarter of all, so that no single peer holds up the
    /// others. Many Felixes behind one address are all served, one after the other.
    pub handshakes_per_address: usize,
    /// Connections that wait for their handshake: either their first message has not arrived, or no handshake is free.
    /// Default 4096, the most that the system keeps in its own queue. Each takes up to 16 KiB of memory while its first
    /// message is incomplete: 64 MiB in all at worst.
    pub queue: usize,
    /// Waiting connections from one address. Default 1024, a quarter of all.
    pub queue_per_address: usize,
    /// Maximum number of connections in service; the listener sheds new ones beyond it. Default 10,000, as Calico's
    /// `MaxConnectionsUpperLimit`.
    pub connections: usize,
    /// Maximum number of connections in service from one address. `None`, the default, is half of
    /// [`connections`](Self::connections): one address can not take every place, and thousands of Felixes behind a NAT
    /// still fit. Set it to `connections` if all Felixes come from one address.
    pub connections_per_address: Option<usize>,
    /// Rebalancing never goes below this number of connections. Default 400, as Calico's `MaxConnectionsLowerLimit`.
    pub connections_lower: usize,
    /// Time between two connections that rebalancing drops; up to a tenth is added at random. Default 1 s, as Calico's
    /// `ConnectionDropIntervalSecs`.
    pub drop_interval: Duration,
    /// How long a connection still works after its owner was asked to close it, so that the owner can close it in
    /// order. Default 1 s, time to finish a message. It also holds for a peer that has [lost our
    /// trust](crate::lifetime), and that peer is not judged again meanwhile: keep it short. A shutdown gives at most a
    /// 25th of [`shutdown_timeout`](Self::shutdown_timeout).
    pub drop_grace: Duration,
    /// Maximum duration of a graceful shutdown. Default 300 s, as Calico's `ShutdownTimeoutSecs`.
    pub shutdown_timeout: Duration,
    /// Maximum time between two connections that a graceful shutdown drops. Default 1 s, as Calico's
    /// `ShutdownConnectionDropIntervalMaxSecs`.
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
            connections_per_address: None,
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

    /// Maximum number of connections in service from one address.
    pub(super) fn per_address(&self) -> usize {
        self.connections_per_address.unwrap_or(self.connections / 2).max(1)
    }
}

/// Why the listener shed a connection before it judged the peer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum ShedCause {
    /// The address has its share of the connections in service
    /// ([`connections_per_address`](ListenerLimits::connections_per_address)). Label: `address_limit`.
    AddressLimit,
    /// [`ListenerLimits::connections`] connections are in service. Label: `connection_limit`.
    ConnectionLimit,
    /// The process had no file descriptors left. The longest-silent connections were shed. Label: `out_of_descriptors`.
    OutOfDescriptors,
    /// The connection was ready for its handshake, but too many others were ahead of it: it would have timed out.
    /// Label: `overload`.
    Overload,
    /// The [queue](ListenerLimits::queue) is full. Shed first: the longest-silent connection; else one from an address
    /// whose latest handshake failed; else the newest from the address with the most waiting; else the new arrival.
    /// Label: `queue_full`.
    QueueFull,
    /// The [share](ListenerLimits::queue_per_address) of the address is full. Shed first: its longest-silent
    /// connection, if it has been silent for at least 100 ms; else the new arrival. Label: `share_full`.
    ShareFull,
    /// The listener shuts down. This includes connections whose peer was accepted and that could not be handed out any
    /// more. Label: `shutting_down`.
    ShuttingDown,
    /// Other connections waited for a handshake, and this peer had kept its own handshake waiting for longest. It did
    /// so for at least 1 s in all. The limit is 500 ms if the latest handshake of its address failed, or if more
    /// addresses wait than there are handshakes. Label: `stalled`.
    Stalled,
}

impl ShedCause {
    /// The stable label for logs and metrics, such as `queue_full`.
    pub fn label(self) -> &'static str {
        match self {
            Self::AddressLimit => "address_limit",
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

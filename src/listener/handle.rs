//! What can be done with a listener from elsewhere: read its counts, rebalance it and shut it down.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::info;

use super::entrance::Entrance;
use super::limits::ListenerLimits;
use super::stats::ListenerStats;
use crate::lifetime::{CloseReason, Connections};
use crate::time::{FAR, deadline_in};

/// A listener seen from elsewhere: its counts, rebalancing and shutdown. Cheap to clone; it does not keep the listener
/// alive.
#[derive(Clone)]
pub struct ListenerHandle(Arc<Inner>);

struct Inner {
    local_addr: SocketAddr,
    limits: ListenerLimits,
    entrance: Arc<Entrance>,
    connections: Arc<Connections>,
    /// How many connections rebalancing leaves.
    target: watch::Sender<usize>,
    shutdown: OnceLock<Shared<BoxFuture<'static, ShutdownReport>>>,
    /// The listener's own: a handle may be used outside of any.
    runtime: Handle,
}

/// What a graceful shutdown did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Connections whose owner was asked to close them. The others had ended by themselves.
    pub dropped: usize,
    /// Connections whose owner still had them when the time was over; reading and writing fails for them.
    pub left: usize,
}

impl ListenerHandle {
    pub(super) fn new(
        local_addr: SocketAddr,
        limits: ListenerLimits,
        entrance: Arc<Entrance>,
        connections: Arc<Connections>,
    ) -> Self {
        Self(Arc::new(Inner {
            local_addr,
            target: watch::Sender::new(limits.connections),
            limits,
            entrance,
            connections,
            shutdown: OnceLock::new(),
            runtime: Handle::current(),
        }))
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr
    }

    /// What it has counted.
    pub fn stats(&self) -> ListenerStats {
        self.0.entrance.counters.read(self.active(), self.0.entrance.admission.occupancy())
    }

    /// The number of connections in service.
    pub fn active(&self) -> usize {
        self.0.connections.count()
    }

    /// The number of connections in service by the [CA](crate::verifier::VerifiedChain::ca) that accepted their peer,
    /// at the handshake or at a later review. Connections whose owner was asked to close them do not count. While a CA
    /// is among them, removing it ends connections.
    pub fn active_by_ca(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.0.connections.staying() {
            *counts.entry(entry.trust.peer().ca().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Asks the owners of so many connections, chosen at random, to close them, all at once; for more than a few,
    /// spread the calls. Each owner has the [`drop_grace`](ListenerLimits::drop_grace) to close in order; the reason is
    /// [`CloseReason::Requested`]. Returns how many were asked.
    pub fn drop_random(&self, count: usize) -> usize {
        self.0.connections.close_random(count, CloseReason::Requested, self.0.limits.drop_grace)
    }

    /// Brings the number of connections down to a target: every [`drop_interval`](ListenerLimits::drop_interval) the
    /// owner of one, chosen at random, is asked to close it, while there are more. The target holds until the next
    /// call, also for later connections. A target below [`connections_lower`](ListenerLimits::connections_lower) or
    /// above [`connections`](ListenerLimits::connections) counts as that bound. Returns the target that counts.
    ///
    /// Calico's Typha computes it from the number of its instances and nodes.
    pub fn rebalance(&self, target: usize) -> usize {
        let limits = &self.0.limits;
        let bounded = target.max(limits.connections_lower).min(limits.connections);
        if bounded != target {
            info!(target, bounded, "the target of rebalancing is outside of the limits of connections");
        }
        self.0.target.send_replace(bounded);
        bounded
    }

    /// Shuts down gracefully: stops listening, gives up the handshakes in progress, and asks the owners of the
    /// connections to close them one by one, spread over 95 % of the
    /// [`shutdown_timeout`](ListenerLimits::shutdown_timeout) but never slower than
    /// [`shutdown_drop_interval_max`](ListenerLimits::shutdown_drop_interval_max), so that not all Felixes look for
    /// another Typha at once. Ends when the last connection has ended, and at the timeout at the latest, whatever peers
    /// and owners do.
    ///
    /// It goes on if the future is dropped; a second call waits for the same shutdown. It also ends when the listener's
    /// runtime ends.
    pub async fn shutdown(&self) -> ShutdownReport {
        let shutdown = self.0.shutdown.get_or_init(|| {
            let task = self.0.runtime.spawn(self.clone().shut_down());
            let connections = self.0.connections.clone();
            let report = move |report: Result<_, _>| {
                report.unwrap_or_else(|_| ShutdownReport { dropped: 0, left: connections.count() })
            };
            task.map(report).boxed().shared()
        });
        shutdown.clone().await
    }

    pub(super) async fn shut_down(self) -> ShutdownReport {
        let Inner { limits, entrance, connections, .. } = &*self.0;
        entrance.stop();
        let timeout = limits.shutdown_timeout.min(FAR);
        let (began, deadline) = (Instant::now(), deadline_in(timeout));
        // The tasks that accept and perform handshakes end at once. Only then are no more connections added.
        entrance.tasks.close();
        let _ = timeout_at(began + timeout / 100, entrance.tasks.wait()).await;
        let count = connections.staying_count();
        let interval = drop_interval(timeout, limits.shutdown_drop_interval_max, count);
        // The time that is left after the owner of the last one was asked.
        let grace = limits.drop_grace.min(timeout / 25);
        info!(connections = count, ?timeout, ?interval, "shutting down");
        let mut dropped = 0;
        let dropping = async {
            while connections.staying_count() > 0 {
                let all = dropped + connections.staying_count();
                let due = due(began.elapsed(), interval, all).saturating_sub(dropped);
                dropped += connections.close_random(due, CloseReason::Shutdown, grace);
                let after = interval.saturating_mul(u32::try_from(dropped).unwrap_or(u32::MAX));
                tokio::select! {
                    () = sleep_until(began + after.min(FAR)) => {}
                    () = connections.emptied() => {}
                }
            }
            // Nobody can close a connection that nobody has taken.
            tokio::select! {
                () = sleep(grace) => entrance.drop_untaken(),
                () = connections.emptied() => {}
            }
            connections.emptied().await;
        };
        // The last ones send their alert before the time is over.
        let last_call = began + timeout.mul_f64(0.99);
        if timeout_at(last_call, dropping).await.is_err() {
            dropped += connections.close_random(usize::MAX, CloseReason::Shutdown, Duration::ZERO);
            connections.force_close_all();
            entrance.drop_untaken();
            let _ = timeout_at(deadline, connections.emptied()).await;
        }
        let _ = timeout_at(deadline, entrance.tasks.wait()).await;
        entrance.drop_untaken();
        let report = ShutdownReport { dropped, left: connections.count() };
        info!(dropped = report.dropped, left = report.left, "shut down");
        report
    }

    /// Closes one connection every now and then while there are more than the target, until the listener is stopped.
    pub(super) async fn keep_balanced(self) {
        let Inner { limits, connections, .. } = &*self.0;
        let balancing = async {
            let mut targets = self.0.target.subscribe();
            loop {
                // There are never more connections than the limit: only a lower target needs looking after.
                if *targets.borrow_and_update() >= limits.connections {
                    if targets.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                // Up to a tenth longer, so that several Typhas do not drop in step.
                sleep(limits.drop_interval.min(FAR).mul_f64(1.0 + fastrand::f64() / 10.0)).await;
                let target = *targets.borrow_and_update();
                if connections.staying_count() > target {
                    connections.close_random(1, CloseReason::Rebalance, limits.drop_grace);
                    let active = connections.staying_count();
                    info!(target, active, "dropped a connection to balance the load");
                }
            }
        };
        tokio::select! {
            () = self.0.entrance.stop.cancelled() => {}
            () = balancing => {}
        }
    }
}

/// Spread over 95 % of the timeout, but not slower than `at_most`.
fn drop_interval(timeout: Duration, at_most: Duration, connections: usize) -> Duration {
    let connections = u32::try_from(connections.max(1)).unwrap_or(u32::MAX);
    (timeout.mul_f64(0.95) / connections).min(at_most)
}

/// How many owners are to be asked after so long; the first one at once.
fn due(elapsed: Duration, interval: Duration, count: usize) -> usize {
    match elapsed.as_nanos().checked_div(interval.as_nanos()) {
        Some(intervals) => usize::try_from(intervals).unwrap_or(usize::MAX).saturating_add(1).min(count),
        None => count,
    }
}

impl fmt::Debug for ListenerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerHandle").field("local_addr", &self.0.local_addr).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn connections_are_dropped_within_most_of_the_timeout() {
        assert_eq!(drop_interval(300 * SECOND, SECOND, 10_000), Duration::from_micros(28_500));
        assert_eq!(drop_interval(300 * SECOND, SECOND, 285), SECOND);
        assert_eq!(drop_interval(300 * SECOND, SECOND, 10), SECOND);
        assert_eq!(drop_interval(300 * SECOND, SECOND, 0), SECOND);
        assert_eq!(drop_interval(Duration::ZERO, SECOND, 5), Duration::ZERO);
    }

    #[test]
    fn those_that_are_due_include_the_first() {
        assert_eq!(due(Duration::ZERO, SECOND, 10), 1);
        assert_eq!(due(SECOND, SECOND, 10), 2);
        assert_eq!(due(SECOND * 100, SECOND, 10), 10);
        assert_eq!(due(Duration::ZERO, Duration::ZERO, 10), 10);
    }
}

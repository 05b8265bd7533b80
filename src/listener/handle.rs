//! The handle of a listener: reads its counts, rebalances it and shuts it down.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, join};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::info;

use super::entrance::Entrance;
use super::limits::ListenerLimits;
use super::stats::ListenerStats;
use crate::lifetime::{CloseReason, Connections};
use crate::time::{FAR, deadline_in};

/// Handle of a listener: its counts, rebalancing and shutdown. Cheap to clone. It does not keep the listener alive.
#[derive(Clone)]
pub struct ListenerHandle(Arc<Inner>);

struct Inner {
    local_addr: SocketAddr,
    limits: ListenerLimits,
    entrance: Arc<Entrance>,
    connections: Arc<Connections>,
    /// The number of connections that rebalancing leaves.
    target: watch::Sender<usize>,
    shutdown: OnceLock<Shared<BoxFuture<'static, ShutdownReport>>>,
    /// The runtime of the listener: a handle may be used outside of a runtime.
    runtime: Handle,
}

/// The outcome of a graceful shutdown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Connections whose owner was asked to close them. The others had already ended.
    pub dropped: usize,
    /// Connections whose owner still held them at the end. Their sockets are shut down: reading and writing fails.
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

    /// The address that the listener listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr
    }

    /// The counts of the listener.
    pub fn stats(&self) -> ListenerStats {
        let connections = &self.0.connections;
        let numbers = (connections.count(), connections.unreleased_count());
        self.0.entrance.counters.read(numbers, self.0.entrance.admission.occupancy())
    }

    /// The number of connections in service.
    pub fn active(&self) -> usize {
        self.0.connections.count()
    }

    /// The number of connections in service for each [CA](crate::verifier::VerifiedChain::ca) that accepted their
    /// peers, at the handshake or at a later review. Connections whose owner was asked to close them do not count.
    /// While a CA is listed here, removing it ends connections.
    pub fn active_by_ca(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.0.connections.staying() {
            *counts.entry(entry.trust.peer().ca().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Asks the owners of `count` connections, chosen at random, to close them, all at once. To drop many, spread the
    /// calls. Each owner has [`drop_grace`](ListenerLimits::drop_grace) to close in order. The reason is
    /// [`CloseReason::Requested`]. Returns the number of owners that were asked.
    pub fn drop_random(&self, count: usize) -> usize {
        self.0.connections.close_random(count, CloseReason::Requested, self.0.limits.drop_grace)
    }

    /// Reduces the number of connections to a target. Every [`drop_interval`](ListenerLimits::drop_interval), while
    /// there are more, the listener asks the owner of one connection to close it; the connection is chosen at random.
    /// The target stays in effect until the next call, also for later connections. It is limited to the range from
    /// [`connections_lower`](ListenerLimits::connections_lower) to [`connections`](ListenerLimits::connections).
    /// Returns the target in effect.
    ///
    /// Calico's Typha computes the target from the number of its instances and nodes.
    pub fn rebalance(&self, target: usize) -> usize {
        let limits = &self.0.limits;
        let bounded = target.max(limits.connections_lower).min(limits.connections);
        if bounded != target {
            info!(target, bounded, "the target of rebalancing is outside of the limits of connections");
        }
        self.0.target.send_replace(bounded);
        bounded
    }

    /// Shuts down gracefully. The listener stops listening, ends the handshakes in progress, and asks the owners of the
    /// connections, one by one, to close them. These requests are spread over 95 % of the
    /// [`shutdown_timeout`](ListenerLimits::shutdown_timeout), with at most
    /// [`shutdown_drop_interval_max`](ListenerLimits::shutdown_drop_interval_max) between two. So not all Felixes
    /// search for another Typha at once. The shutdown ends when the last connection has ended, and at the timeout at
    /// the latest.
    ///
    /// The shutdown continues if the future is dropped; a second call waits for the same shutdown. It also ends when
    /// the listener's runtime ends.
    pub async fn shutdown(&self) -> ShutdownReport {
        let shutdown = self.0.shutdown.get_or_init(|| {
            let task = self.0.runtime.spawn(self.clone().shut_down());
            let connections = self.0.connections.clone();
            let report = move |report: Result<_, _>| {
                report.unwrap_or_else(|_| ShutdownReport {
                    dropped: 0,
                    left: connections.count() + connections.unreleased_count(),
                })
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
        // The tasks that accept and perform handshakes end at once. After that, no connection is added.
        entrance.tasks.close();
        let _ = timeout_at(began + timeout / 100, entrance.tasks.wait()).await;
        let count = connections.staying_count();
        let interval = drop_interval(timeout, limits.shutdown_drop_interval_max, count);
        // The time that remains after the last owner was asked.
        let grace = limits.drop_grace.min(timeout / 25);
        info!(connections = count, ?timeout, ?interval, "shutting down");
        let dropped = AtomicUsize::new(0);
        let asked = |owners| dropped.fetch_add(owners, Relaxed);
        let dropping = async {
            while connections.staying_count() > 0 {
                let all = dropped.load(Relaxed) + connections.staying_count();
                let due = due(began.elapsed(), interval, all).saturating_sub(dropped.load(Relaxed));
                asked(connections.close_random(due, CloseReason::Shutdown, grace));
                let after = u32::try_from(dropped.load(Relaxed)).unwrap_or(u32::MAX);
                let after = interval.saturating_mul(after);
                tokio::select! {
                    () = sleep_until(began + after.min(FAR)) => {}
                    () = connections.emptied() => {}
                }
            }
            connections.emptied().await;
        };
        // Nobody can close a connection that nobody has taken. It ends before any socket is shut down.
        let end_untaken = || {
            let untaken = entrance.end_untaken();
            let entries = untaken.iter().map(|connection| connection.entry().clone()).collect();
            asked(connections.close_these(entries, CloseReason::Shutdown));
        };
        let ending_untaken = async {
            tokio::select! {
                () = sleep(grace) => end_untaken(),
                () = connections.emptied() => {}
            }
        };
        // The last connections send their alert before the timeout.
        let last_call = began + timeout.mul_f64(0.99);
        if timeout_at(last_call, join(dropping, ending_untaken)).await.is_err() {
            end_untaken();
            asked(connections.close_random(usize::MAX, CloseReason::Shutdown, Duration::ZERO));
            connections.force_close_all();
            let _ = timeout_at(deadline, connections.emptied()).await;
            connections.shut_down_all();
        }
        let _ = timeout_at(deadline, entrance.tasks.wait()).await;
        end_untaken();
        let report = ShutdownReport {
            dropped: dropped.into_inner(),
            left: connections.count() + connections.unreleased_count(),
        };
        info!(dropped = report.dropped, left = report.left, "shut down");
        report
    }

    /// Closes one connection every `drop_interval` while there are more than the target, until the listener is stopped.
    pub(super) async fn keep_balanced(self) {
        let Inner { limits, connections, .. } = &*self.0;
        let balancing = async {
            let mut targets = self.0.target.subscribe();
            loop {
                // There are never more connections than the limit, so only a lower target needs work.
                if *targets.borrow_and_update() >= limits.connections {
                    if targets.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                // Up to a tenth longer, so that several Typhas do not drop connections at the same moments.
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

/// The time between two requests to close: spread over 95 % of the timeout, but at most `at_most`.
fn drop_interval(timeout: Duration, at_most: Duration, connections: usize) -> Duration {
    let connections = u32::try_from(connections.max(1)).unwrap_or(u32::MAX);
    (timeout.mul_f64(0.95) / connections).min(at_most)
}

/// How many owners should have been asked after `elapsed`. The first is asked at once.
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

//! What can be done with a listener from elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::reports::ShutdownReport;
use super::shared::Shared;
use super::shutdown::shut_down;
use super::stats::ListenerStats;
use crate::lifetime::DropReason;

/// A listener seen from elsewhere: its counts, and its reins. Cheap to clone; it does not keep the listener alive.
#[derive(Clone)]
pub struct ListenerHandle {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
}

impl ListenerHandle {
    pub(super) fn new(shared: Arc<Shared>, local_addr: SocketAddr) -> Self {
        Self { shared, local_addr }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What it has counted.
    pub fn stats(&self) -> ListenerStats {
        self.shared.stats()
    }

    /// How many connections are in service.
    pub fn active(&self) -> usize {
        self.shared.roll.count()
    }

    /// How many connections are in service by the [CA](crate::verifier::VerifiedPeer::ca) that their peer was accepted
    /// by, at the handshake or when it was judged again. Those that were told to go are not counted. While a CA is
    /// among them, removing it ends connections.
    pub fn active_by_ca(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.shared.roll.staying_entries() {
            *counts.entry(entry.standing.peer().ca().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Tells so many connections, chosen at random, to go, all at once: over more than a few, spread the calls. Each
    /// has the [`drop_grace`](super::ListenerLimits::drop_grace) to end in order, for the reason
    /// [`DropReason::Requested`]. Returns how many there were to be told.
    pub fn drop_random(&self, count: usize) -> usize {
        self.shared.drop_random(count, DropReason::Requested, self.shared.limits.drop_grace)
    }

    /// Brings the number of connections down to a target: every [`drop_interval`](super::ListenerLimits::drop_interval)
    /// one is told to go, chosen at random, while there are more. The target holds until the next call, also for
    /// connections that come later. One below [`connections_lower`](super::ListenerLimits::connections_lower) or above
    /// [`connections`](super::ListenerLimits::connections) counts as that bound; what counts is returned.
    ///
    /// Calico's Typha computes it from the number of its instances and nodes.
    pub fn rebalance(&self, target: usize) -> usize {
        let limits = &self.shared.limits;
        let target = target.max(limits.connections_lower).min(limits.connections);
        self.shared.target.send_replace(target);
        target
    }

    /// Shuts down gracefully: stops listening, gives up the handshakes under way, and tells the connections to go one
    /// by one, spread over 95 % of the [`shutdown_timeout`](super::ListenerLimits::shutdown_timeout) but never slower
    /// than [`shutdown_drop_interval_max`](super::ListenerLimits::shutdown_drop_interval_max), so that not all Felixes
    /// seek another Typha at once. Ends when the last connection is gone, and at the timeout at the latest, whatever
    /// peers and owners do.
    ///
    /// Goes on if the future is dropped; a second call waits for the same shutdown. It is over, too, when the
    /// listener's runtime is.
    pub async fn shutdown(&self) -> ShutdownReport {
        let mut outcome = self.shared.shutdown.subscribe();
        if self.shared.begin_shutdown() {
            let answer = Answer(self.shared.clone());
            self.shared.runtime.spawn(async move {
                let report = shut_down(answer.0.clone()).await;
                answer.0.shutdown.send_replace(Some(report));
            });
        }
        let report = match outcome.wait_for(Option::is_some).await {
            Ok(report) => *report,
            // The sender is in `shared`.
            Err(_) => None,
        };
        report.unwrap_or(ShutdownReport { dropped: 0, left: self.active() })
    }
}

/// Sees to it that those who wait for the shutdown get an answer, even if its task is dropped with its runtime.
struct Answer(Arc<Shared>);

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.stop();
        self.0.shutdown.send_if_modified(|report| {
            let is_missing = report.is_none();
            report.get_or_insert(ShutdownReport { dropped: 0, left: self.0.roll.count() });
            is_missing
        });
    }
}

impl fmt::Debug for ListenerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerHandle").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

//! What the parts of a listener share.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::limits::ListenerLimits;
use super::reports::{FailedHandshake, LostTrust, Observer, ShutdownReport, TrustObserver};
use super::roll::{Entry, Roll};
use super::stats::{Counters, ListenerStats};
use crate::TyphaAcceptor;
use crate::error::HandshakeError;
use crate::lifetime::{ConnectionLifetime, DropReason};

pub(super) struct Shared {
    pub(super) acceptor: TyphaAcceptor,
    pub(super) limits: ListenerLimits,
    pub(super) lifetime: ConnectionLifetime,
    pub(super) observer: Option<Observer>,
    pub(super) trust_observer: Option<TrustObserver>,
    pub(super) admission: Arc<Admission>,
    pub(super) roll: Roll,
    pub(super) counters: Counters,
    gauging: Mutex<()>,
    /// The listener's own: a handle may be used outside of any.
    pub(super) runtime: Handle,
    /// What accepts, performs handshakes and rebalances; all end at once after `stop`.
    pub(super) tasks: TaskTracker,
    /// No connection is accepted any more.
    pub(super) stop: CancellationToken,
    /// A connection has come that was judged by a configuration that is not in force any more.
    pub(super) late: Notify,
    /// How many connections rebalancing leaves.
    pub(super) target: watch::Sender<usize>,
    shutdown_began: AtomicBool,
    /// What came of the shutdown.
    pub(super) shutdown: watch::Sender<Option<ShutdownReport>>,
}

impl Shared {
    pub(super) fn new(
        acceptor: TyphaAcceptor,
        limits: ListenerLimits,
        lifetime: ConnectionLifetime,
        observer: Option<Observer>,
        trust_observer: Option<TrustObserver>,
    ) -> Self {
        let limits = limits.at_least_one();
        let roll = Roll::default();
        Self {
            acceptor,
            admission: Arc::new(Admission::new(limits.clone(), roll.active().clone())),
            roll,
            counters: Counters::new(),
            gauging: Mutex::default(),
            runtime: Handle::current(),
            lifetime,
            observer,
            trust_observer,
            late: Notify::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            target: watch::Sender::new(limits.connections),
            shutdown_began: AtomicBool::new(false),
            shutdown: watch::Sender::new(None),
            limits,
        }
    }

    /// Those in line get ahead, until the listener is stopped.
    pub(super) async fn keep_moving(self: Arc<Self>) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.admission.keep_moving() => {}
        }
    }

    /// Ends everything but the connections in service.
    pub(super) fn stop(&self) {
        self.stop.cancel();
        self.admission.close();
    }

    /// Whether it had not begun before.
    pub(super) fn begin_shutdown(&self) -> bool {
        !self.shutdown_began.swap(true, Ordering::AcqRel)
    }

    /// A connection comes into service.
    pub(super) fn enter(&self, entry: &Arc<Entry>) {
        self.roll.add(entry);
        // If it is replaced after this, the review finds the connection in the roll.
        let generation = self.acceptor.in_force.current().generation;
        if entry.standing.generation() != generation {
            self.late.notify_one();
        }
    }

    /// Tells so many connections to go, and ends their use when the grace is over. Returns how many there were.
    pub(super) fn drop_random(&self, count: usize, reason: DropReason, grace: Duration) -> usize {
        let told = self.roll.tell(count, reason);
        self.dropping(told, reason, grace)
    }

    /// Tells these to go if they are still there, and ends their use when the grace is over. Returns how many there
    /// were.
    pub(super) fn drop_these(&self, mut entries: Vec<Arc<Entry>>, reason: DropReason) -> usize {
        self.roll.tell_these(&mut entries, reason);
        self.dropping(entries, reason, self.limits.drop_grace)
    }

    fn dropping(&self, told: Vec<Arc<Entry>>, reason: DropReason, grace: Duration) -> usize {
        let number = told.len();
        if number > 0 {
            self.counters.dropped(reason, number);
            self.runtime.spawn(async move {
                sleep(grace).await;
                told.iter().for_each(|entry| entry.ending.cut());
            });
        }
        number
    }

    /// The peer of a connection has lost our trust.
    pub(super) fn lost(&self, lost: LostTrust) {
        let (peer_address, reason) = (lost.peer_address, lost.rejection.reason());
        let (detail, generation, closes) = (&lost.rejection, lost.generation, lost.closes);
        tracing::debug!(%peer_address, reason, %detail, generation, closes, "trusted no longer");
        self.counters.lost_trust(reason);
        if let Some(observer) = &self.trust_observer
            && catch_unwind(AssertUnwindSafe(|| observer(lost))).is_err()
        {
            tracing::error!(%peer_address, "the observer of lost trust panicked");
        }
    }

    pub(super) fn failed(&self, peer_address: SocketAddr, error: HandshakeError, since: Instant) {
        self.counters.not_accepted(&error);
        if let Some(observer) = &self.observer {
            let failure = FailedHandshake { peer_address, error, took: since.elapsed() };
            // Its panic must not end the task early, in which the address pauses after a failure.
            if catch_unwind(AssertUnwindSafe(|| observer(failure))).is_err() {
                tracing::error!(%peer_address, "the observer of failed handshakes panicked");
            }
        }
    }

    pub(super) fn stats(&self) -> ListenerStats {
        let occupancy = self.admission.occupancy();
        self.counters.snapshot(self.roll.count(), occupancy.queued, occupancy.handshakes)
    }

    /// Sends the current numbers to the recorder of the `metrics` crate.
    pub(super) fn gauge(&self) {
        // Of two at a time, the one that looked first must not have the last word.
        let _one_at_a_time = self.gauging.lock().unwrap_or_else(PoisonError::into_inner);
        let occupancy = self.admission.occupancy();
        self.counters.gauge(self.roll.count(), occupancy.queued, occupancy.handshakes);
    }
}

//! The counts of a listener, for its program and for the recorder of the `metrics` crate.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};

use super::admission::Occupancy;
use super::limits::ShedCause;
use crate::error::HandshakeError;
use crate::identity::MatchedBy;
use crate::lifetime::CloseReason;

/// The counts of a listener since it started, and the current numbers of connections and handshakes.
///
/// The recorder of the `metrics` crate that is installed when the listener starts gets the same counts. Each field
/// names its metric.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Connections whose peer was accepted. `typha_connections_accepted`, as in Calico, which counts them before TLS.
    pub accepted: u64,
    /// Connections in service. `typha_connections_active`, as in Calico.
    pub active: usize,
    /// Connections that were force-closed and that their owners still hold. They no longer count as connections in
    /// service, but each takes a descriptor. More than a few mean that owners are stuck.
    /// `typha_connections_unreleased`.
    pub unreleased: usize,
    /// Connections whose owner was asked to close them, by [reason](CloseReason::label).
    /// `typha_connections_dropped{reason}`, as in Calico, which has no reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Live connections whose peer would no longer be accepted, by [reason](crate::verifier::Rejection::label),
    /// whether or not they are [closed](crate::lifetime::ConnectionLifetime). `typha_connections_lost_trust{reason}`.
    pub lost_trust: BTreeMap<&'static str, u64>,
    /// Accepted connections by what matched: `common_name`, `uri_san` or `both`. A migration from Common Name to URI
    /// SAN is complete when `common_name` no longer grows. `typha_connections_matched{by}`.
    pub matched: BTreeMap<&'static str, u64>,
    /// Peers that we refused, by [reason](crate::verifier::Rejection::label). `typha_handshakes_refused{reason}`.
    pub refused: BTreeMap<&'static str, u64>,
    /// Handshakes that failed for another reason, by [reason](HandshakeError::label).
    /// `typha_handshakes_failed{reason}`.
    pub failed: BTreeMap<&'static str, u64>,
    /// Handshakes that timed out, by [phase](crate::error::HandshakePhase::label).
    /// `typha_handshakes_timed_out{phase}`.
    pub timed_out: BTreeMap<&'static str, u64>,
    /// Connections that were shed before their peer was judged, by [cause](ShedCause::label).
    /// `typha_connections_shed{cause}`.
    pub shed: BTreeMap<&'static str, u64>,
    /// Connections that ended before the peer sent a byte, such as probes. `typha_connections_probed`.
    pub probed: u64,
    /// Errors of `accept()`. `typha_accept_errors`.
    pub accept_errors: u64,
    /// Connections that wait for their handshake. `typha_handshakes_queued`.
    pub queued: usize,
    /// Handshakes in progress. `typha_handshakes_in_progress`.
    pub in_handshake: usize,
    /// Time from `accept()` to the accepted connection, including the queue. `typha_handshake_seconds`.
    pub handshake_seconds: DurationHistogram,
}

impl ListenerStats {
    /// The number of connections that were refused, failed or timed out.
    pub fn not_accepted(&self) -> u64 {
        [&self.refused, &self.failed, &self.timed_out].into_iter().flat_map(BTreeMap::values).sum()
    }
}

/// A histogram of durations.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DurationHistogram {
    /// For each upper bound in seconds, the number of durations up to it, as in Prometheus. The last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all durations.
    pub sum: Duration,
}

impl DurationHistogram {
    /// The upper bounds of the buckets in seconds, without the infinite one: from a handshake on the same machine to
    /// Calico's timeout. A recorder of the `metrics` crate that has the same bounds gets the same histogram.
    pub const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }
}

/// Counts each event once, for [`ListenerStats`] and for the recorder.
pub(super) struct Counters {
    accepted: Count,
    probed: Count,
    accept_errors: Count,
    dropped: LabelledCount,
    lost_trust: LabelledCount,
    matched: LabelledCount,
    refused: LabelledCount,
    failed: LabelledCount,
    timed_out: LabelledCount,
    shed: LabelledCount,
    handshake_seconds: Durations,
    active: Level,
    unreleased: Level,
    queued: Level,
    in_handshake: Level,
}

impl Counters {
    pub(super) fn new() -> Self {
        describe_counter!("typha_connections_accepted", "connections that were authenticated");
        describe_counter!("typha_connections_probed", "connections that ended without having sent a byte");
        describe_counter!("typha_accept_errors", "errors of accept()");
        describe_gauge!("typha_connections_active", "connections in service");
        describe_gauge!(
            "typha_connections_unreleased",
            "force-closed connections that their owners still hold"
        );
        describe_gauge!("typha_handshakes_queued", "connections that wait for their handshake");
        describe_gauge!("typha_handshakes_in_progress", "handshakes in progress");
        describe_histogram!("typha_handshake_seconds", Unit::Seconds, "from accept() to the connection");
        let dropped = "connections whose owner was asked to close them, by reason";
        let lost_trust = "live connections whose peer is no longer trusted, by reason";
        let shed = "connections given up before their peer was judged, by cause";
        Self {
            accepted: Count::new(counter!("typha_connections_accepted")),
            probed: Count::new(counter!("typha_connections_probed")),
            accept_errors: Count::new(counter!("typha_accept_errors")),
            dropped: LabelledCount::new("typha_connections_dropped", "reason", dropped),
            lost_trust: LabelledCount::new("typha_connections_lost_trust", "reason", lost_trust),
            matched: LabelledCount::new(
                "typha_connections_matched",
                "by",
                "accepted connections, by what matched",
            ),
            refused: LabelledCount::new(
                "typha_handshakes_refused",
                "reason",
                "peers that were refused, by reason",
            ),
            failed: LabelledCount::new(
                "typha_handshakes_failed",
                "reason",
                "handshakes that failed, by reason",
            ),
            timed_out: LabelledCount::new(
                "typha_handshakes_timed_out",
                "phase",
                "handshakes that timed out, by phase",
            ),
            shed: LabelledCount::new("typha_connections_shed", "cause", shed),
            handshake_seconds: Durations::new(histogram!("typha_handshake_seconds")),
            active: Level::new(gauge!("typha_connections_active")),
            unreleased: Level::new(gauge!("typha_connections_unreleased")),
            queued: Level::new(gauge!("typha_handshakes_queued")),
            in_handshake: Level::new(gauge!("typha_handshakes_in_progress")),
        }
    }

    pub(super) fn accepted(&self, matched_by: MatchedBy, took: Duration) {
        self.accepted.add(1);
        self.matched.add(matched_by.label(), 1);
        self.handshake_seconds.record(took);
    }

    pub(super) fn not_accepted(&self, error: &HandshakeError) {
        match error {
            HandshakeError::Rejected(rejection) => self.refused.add(rejection.label(), 1),
            HandshakeError::TimedOut { phase, .. } => self.timed_out.add(phase.label(), 1),
            error => self.failed.add(error.label(), 1),
        }
    }

    pub(super) fn shed(&self, cause: ShedCause) {
        self.shed.add(cause.label(), 1);
    }

    pub(super) fn dropped(&self, reason: CloseReason, connections: usize) {
        self.dropped.add(reason.label(), connections as u64);
    }

    pub(super) fn lost_trust(&self, reason: &'static str) {
        self.lost_trust.add(reason, 1);
    }

    pub(super) fn probed(&self) {
        self.probed.add(1);
    }

    pub(super) fn accept_error(&self) {
        self.accept_errors.add(1);
    }

    pub(super) fn numbers(&self, active: usize, unreleased: usize) {
        self.active.set(active);
        self.unreleased.set(unreleased);
    }

    pub(super) fn occupancy(&self, Occupancy { queued, handshakes }: Occupancy) {
        self.queued.set(queued);
        self.in_handshake.set(handshakes);
    }

    pub(super) fn read(
        &self,
        (active, unreleased): (usize, usize),
        Occupancy { queued, handshakes }: Occupancy,
    ) -> ListenerStats {
        let mut matched = self.matched.read();
        for by in [MatchedBy::Both, MatchedBy::CommonName, MatchedBy::UriSan] {
            matched.entry(by.label()).or_default();
        }
        ListenerStats {
            accepted: self.accepted.read(),
            active,
            unreleased,
            dropped: self.dropped.read(),
            lost_trust: self.lost_trust.read(),
            matched,
            refused: self.refused.read(),
            failed: self.failed.read(),
            timed_out: self.timed_out.read(),
            shed: self.shed.read(),
            probed: self.probed.read(),
            accept_errors: self.accept_errors.read(),
            queued,
            in_handshake: handshakes,
            handshake_seconds: self.handshake_seconds.read(),
        }
    }
}

struct Count {
    total: AtomicU64,
    metric: Counter,
}

impl Count {
    fn new(metric: Counter) -> Self {
        Self { total: AtomicU64::new(0), metric }
    }

    fn add(&self, number: u64) {
        self.total.fetch_add(number, Relaxed);
        self.metric.increment(number);
    }

    fn read(&self) -> u64 {
        self.total.load(Relaxed)
    }
}

/// How much there is now. Several listeners of a program add up in the recorder.
struct Level {
    latest: AtomicUsize,
    metric: Gauge,
}

impl Level {
    fn new(metric: Gauge) -> Self {
        // So that the recorder knows it from the start.
        metric.increment(0.0);
        Self { latest: AtomicUsize::new(0), metric }
    }

    /// Called under the lock of the one that counts.
    fn set(&self, now: usize) {
        let before = self.latest.swap(now, Relaxed);
        self.metric.increment(now as f64 - before as f64);
    }
}

/// A count for each value of a label.
struct LabelledCount {
    name: &'static str,
    label: &'static str,
    counts: Mutex<BTreeMap<&'static str, Count>>,
}

impl LabelledCount {
    fn new(name: &'static str, label: &'static str, description: &'static str) -> Self {
        describe_counter!(name, description);
        Self { name, label, counts: Mutex::default() }
    }

    fn add(&self, value: &'static str, number: u64) {
        let mut counts = self.counts();
        let count =
            counts.entry(value).or_insert_with(|| Count::new(counter!(self.name, self.label => value)));
        count.add(number);
    }

    fn read(&self) -> BTreeMap<&'static str, u64> {
        self.counts().iter().map(|(value, count)| (*value, count.read())).collect()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<&'static str, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Durations {
    /// The last bucket is for durations beyond all bounds.
    buckets: [AtomicU64; DurationHistogram::BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
    metric: Histogram,
}

impl Durations {
    fn new(metric: Histogram) -> Self {
        Self { buckets: Default::default(), sum_nanos: AtomicU64::new(0), metric }
    }

    fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bounds = DurationHistogram::BOUNDS;
        let index = bounds.iter().position(|bound| seconds <= *bound).unwrap_or(bounds.len());
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.metric.record(took);
    }

    fn read(&self) -> DurationHistogram {
        let mut count = 0;
        let bounds = DurationHistogram::BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets = bounds.zip(&self.buckets).map(|(bound, bucket)| {
            count += bucket.load(Relaxed);
            (bound, count)
        });
        DurationHistogram {
            buckets: buckets.collect(),
            sum: Duration::from_nanos(self.sum_nanos.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_all_up_to_their_bound() {
        let durations = Durations::new(Histogram::noop());
        for millis in [1, 2, 3, 250, 60_000] {
            durations.record(Duration::from_millis(millis));
        }
        let histogram = durations.read();
        let counts: Vec<u64> = histogram.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5]);
        assert_eq!(histogram.buckets[0].0, 0.001);
        assert_eq!(histogram.buckets[12].0, f64::INFINITY);
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.sum, Duration::from_millis(60_256));
    }
}

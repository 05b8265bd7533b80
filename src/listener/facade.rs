//! The same counts for the `metrics` facade.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// What is told for each connection is looked up once.
pub(super) struct Facade {
    accepted: Counter,
    active: Gauge,
    queued: Gauge,
    in_progress: Gauge,
    seconds: Histogram,
    probed: Counter,
    accept_errors: Counter,
}

impl Facade {
    pub(super) fn new() -> Self {
        describe();
        Self {
            accepted: counter!("typha_connections_accepted"),
            active: gauge!("typha_connections_active"),
            queued: gauge!("typha_handshakes_queued"),
            in_progress: gauge!("typha_handshakes_in_progress"),
            seconds: histogram!("typha_handshake_seconds"),
            probed: counter!("typha_connections_probed"),
            accept_errors: counter!("typha_accept_errors"),
        }
    }

    pub(super) fn accepted(&self, matched_by: &'static str, took: Duration) {
        self.accepted.increment(1);
        self.seconds.record(took);
        counter!("typha_connections_matched", "by" => matched_by).increment(1);
    }

    pub(super) fn refused(&self, reason: &'static str) {
        counter!("typha_handshakes_refused", "reason" => reason).increment(1);
    }

    pub(super) fn failed(&self, reason: &'static str) {
        counter!("typha_handshakes_failed", "reason" => reason).increment(1);
    }

    pub(super) fn timed_out(&self, phase: &'static str) {
        counter!("typha_handshakes_timed_out", "phase" => phase).increment(1);
    }

    pub(super) fn shed(&self, cause: &'static str) {
        counter!("typha_connections_shed", "cause" => cause).increment(1);
    }

    pub(super) fn dropped(&self, reason: &'static str, connections: u64) {
        counter!("typha_connections_dropped", "reason" => reason).increment(connections);
    }

    pub(super) fn lost_trust(&self, reason: &'static str) {
        counter!("typha_connections_lost_trust", "reason" => reason).increment(1);
    }

    pub(super) fn probed(&self) {
        self.probed.increment(1);
    }

    pub(super) fn accept_error(&self) {
        self.accept_errors.increment(1);
    }

    pub(super) fn gauge(&self, active: usize, queued: usize, in_handshake: usize) {
        self.active.set(active as f64);
        self.queued.set(queued as f64);
        self.in_progress.set(in_handshake as f64);
    }
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

    describe_counter!("typha_connections_accepted", "connections that were authenticated");
    describe_counter!("typha_connections_dropped", "connections that were told to go, by reason");
    describe_counter!(
        "typha_connections_lost_trust",
        "live connections whose peer is trusted no longer, by reason"
    );
    describe_counter!("typha_connections_matched", "accepted connections, by what matched");
    describe_counter!("typha_connections_probed", "connections that ended without having sent a byte");
    describe_counter!("typha_connections_shed", "connections given up without a verdict, by cause");
    describe_counter!("typha_handshakes_failed", "handshakes that failed, by reason");
    describe_counter!("typha_handshakes_refused", "peers that were refused, by reason");
    describe_counter!("typha_handshakes_timed_out", "handshakes that timed out, by phase");
    describe_counter!("typha_accept_errors", "errors of accept()");
    describe_gauge!("typha_connections_active", "connections in service");
    describe_gauge!("typha_handshakes_in_progress", "handshakes under way");
    describe_gauge!("typha_handshakes_queued", "connections that wait for their handshake");
    describe_histogram!("typha_handshake_seconds", Unit::Seconds, "from accept() to the connection");
}

impl std::fmt::Debug for Facade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facade").finish_non_exhaustive()
    }
}

//! What the listener counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::facade::Facade;
use super::histogram::{DurationHistogram, Filling};
use super::shed::ShedCause;
use crate::error::HandshakeError;
use crate::identity::MatchedBy;
use crate::lifetime::DropReason;

/// What a listener has counted since it began, and what there is at the moment of the call.
///
/// The same goes to the recorder of the `metrics` crate that is installed when the listener begins; the
/// names there are given with each field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Connections that were authenticated. `typha_connections_accepted`, as in Calico, which counts them before TLS.
    pub accepted: u64,
    /// Connections in service. `typha_connections_active`, as in Calico.
    pub active: usize,
    /// Connections that were told to go, by the [reason](DropReason::as_str). `typha_connections_dropped{reason}`, as
    /// in Calico, which has no reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Live connections whose peer would not be accepted any more, by the [reason](crate::verifier::Rejection::reason):
    /// each when it is found, whether or not it is [closed](crate::lifetime::ConnectionLifetime).
    /// `typha_connections_lost_trust{reason}`.
    pub lost_trust: BTreeMap<&'static str, u64>,
    /// Accepted connections by what matched: `common_name`, `uri_san` or `both`. A migration from Common Name to URI
    /// SAN is over when `common_name` grows no more. `typha_connections_matched{by}`.
    pub matched: BTreeMap<&'static str, u64>,
    /// Peers that we refused, by the [reason](crate::verifier::Rejection::reason). `typha_handshakes_refused{reason}`.
    pub refused: BTreeMap<&'static str, u64>,
    /// Handshakes that failed otherwise, by the [reason](HandshakeError::reason). `typha_handshakes_failed{reason}`.
    pub failed: BTreeMap<&'static str, u64>,
    /// Handshakes that timed out, by the [phase](crate::error::HandshakePhase::as_str).
    /// `typha_handshakes_timed_out{phase}`.
    pub timed_out: BTreeMap<&'static str, u64>,
    /// Connections given up without a verdict, by the [cause](ShedCause::as_str). `typha_connections_shed{cause}`.
    pub shed: BTreeMap<&'static str, u64>,
    /// Connections that ended without having sent a byte, as those of probes do. `typha_connections_probed`.
    pub probed: u64,
    /// Errors of `accept()`. `typha_accept_errors`.
    pub accept_errors: u64,
    /// Connections that wait for their handshake. `typha_handshakes_queued`.
    pub queued: usize,
    /// Handshakes under way. `typha_handshakes_in_progress`.
    pub in_handshake: usize,
    /// Time from `accept()` to the authenticated connection, the queue included. `typha_handshake_seconds`.
    pub handshake_seconds: DurationHistogram,
}

impl ListenerStats {
    /// All connections that were refused, failed or timed out.
    pub fn not_accepted(&self) -> u64 {
        [&self.refused, &self.failed, &self.timed_out].into_iter().flat_map(BTreeMap::values).sum()
    }
}

/// The counting.
#[derive(Debug)]
pub(super) struct Counters {
    accepted: AtomicU64,
    matched: [AtomicU64; 3],
    probed: AtomicU64,
    accept_errors: AtomicU64,
    handshake_seconds: Filling,
    rare: Mutex<Rare>,
    facade: Facade,
}

/// What is not counted for each connection.
#[derive(Debug, Default)]
struct Rare {
    dropped: BTreeMap<&'static str, u64>,
    lost_trust: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, u64>,
    failed: BTreeMap<&'static str, u64>,
    timed_out: BTreeMap<&'static str, u64>,
    shed: BTreeMap<&'static str, u64>,
}

const MATCHED: [MatchedBy; 3] = [MatchedBy::Both, MatchedBy::CommonName, MatchedBy::UriSan];

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            matched: Default::default(),
            probed: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            handshake_seconds: Filling::default(),
            rare: Mutex::default(),
            facade: Facade::new(),
        }
    }

    pub(super) fn accepted(&self, matched_by: MatchedBy, took: Duration) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        if let Some(index) = MATCHED.iter().position(|by| *by == matched_by)
            && let Some(counter) = self.matched.get(index)
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.handshake_seconds.record(took);
        self.facade.accepted(matched_by.as_str(), took);
    }

    pub(super) fn not_accepted(&self, error: &HandshakeError) {
        match error {
            HandshakeError::Rejected(rejection) => {
                self.rare(|rare| count(&mut rare.refused, rejection.reason()));
                self.facade.refused(rejection.reason());
            }
            HandshakeError::TimedOut { phase, .. } => {
                self.rare(|rare| count(&mut rare.timed_out, phase.as_str()));
                self.facade.timed_out(phase.as_str());
            }
            error => {
                self.rare(|rare| count(&mut rare.failed, error.reason()));
                self.facade.failed(error.reason());
            }
        }
    }

    pub(super) fn shed(&self, cause: ShedCause) {
        self.rare(|rare| count(&mut rare.shed, cause.as_str()));
        self.facade.shed(cause.as_str());
    }

    pub(super) fn dropped(&self, reason: DropReason, connections: usize) {
        let connections = connections as u64;
        self.rare(|rare| *rare.dropped.entry(reason.as_str()).or_default() += connections);
        self.facade.dropped(reason.as_str(), connections);
    }

    pub(super) fn lost_trust(&self, reason: &'static str) {
        self.rare(|rare| count(&mut rare.lost_trust, reason));
        self.facade.lost_trust(reason);
    }

    pub(super) fn probed(&self) {
        self.probed.fetch_add(1, Ordering::Relaxed);
        self.facade.probed();
    }

    pub(super) fn accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
        self.facade.accept_error();
    }

    /// Tells the facade what there is at the moment.
    pub(super) fn gauge(&self, active: usize, queued: usize, in_handshake: usize) {
        self.facade.gauge(active, queued, in_handshake);
    }

    pub(super) fn snapshot(&self, active: usize, queued: usize, in_handshake: usize) -> ListenerStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let matched = MATCHED.iter().zip(&self.matched).map(|(by, counter)| (by.as_str(), load(counter)));
        let rare = self.rare.lock().unwrap_or_else(PoisonError::into_inner);
        ListenerStats {
            accepted: load(&self.accepted),
            active,
            dropped: rare.dropped.clone(),
            lost_trust: rare.lost_trust.clone(),
            matched: matched.collect(),
            refused: rare.refused.clone(),
            failed: rare.failed.clone(),
            timed_out: rare.timed_out.clone(),
            shed: rare.shed.clone(),
            probed: load(&self.probed),
            accept_errors: load(&self.accept_errors),
            queued,
            in_handshake,
            handshake_seconds: self.handshake_seconds.snapshot(),
        }
    }

    fn rare(&self, count: impl FnOnce(&mut Rare)) {
        count(&mut self.rare.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn count(counters: &mut BTreeMap<&'static str, u64>, label: &'static str) {
    *counters.entry(label).or_default() += 1;
}

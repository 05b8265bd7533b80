//! Judges the peers of live connections again: when the configuration changes, and when a certificate has expired.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::connections::{Connections, Entry};
use super::trust::{LossKind, TrustLoss, judge};
use super::{ClosePolicy, CloseReason, ConnectionLifetime, LostTrust};
use crate::role::Role;
use crate::time::FAR;
use crate::tls_context::{End, InForce};
use crate::verifier::VerifiedPeer;

/// How often to check for expired certificates. A check costs 20 ns for each connection.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(5);

/// Number of chains to judge, at about 0.1 ms each, before other tasks get a turn on the thread.
const JUDGED_AT_A_TIME: usize = 16;

/// Reviews `connections` until `over` ends.
pub(crate) async fn review<E: End>(
    in_force: InForce<E>,
    connections: Arc<Connections>,
    over: impl Future<Output = ()>,
) {
    let mut generations = in_force.generations();
    let mut schedule = Schedule::default();
    let reviewing = async {
        loop {
            generations.mark_unchanged();
            let losses = judge_due(&in_force, &connections).await;
            schedule.add(losses, &connections, E::LOCAL);
            let next_check = Instant::now() + EXPIRY_INTERVAL;
            let closing = async {
                // This loop does not judge: judging all connections again for each one that is closed would cost too
                // much.
                loop {
                    schedule.close_due(&connections);
                    let next = [schedule.next(), retire(&connections)].into_iter().flatten().min();
                    let Some(next) = next else { return pending().await };
                    sleep_until(next).await;
                }
            };
            tokio::select! {
                _ = generations.changed() => {}
                () = connections.outdated.notified() => {}
                () = sleep_until(next_check) => {}
                () = closing => {}
            }
        }
    };
    tokio::select! {
        () = over => {}
        () = reviewing => {}
    }
}

/// Judges the peers that are due, each chain once. Reports and returns new losses.
async fn judge_due<E: End>(in_force: &InForce<E>, connections: &Connections) -> Vec<(Arc<Entry>, TrustLoss)> {
    let context = in_force.current();
    let generation = context.generation;
    // Without the current time, no peer can be judged.
    let Some(now) = context.now() else { return Vec::new() };
    let mut due = connections.staying();
    due.retain(|entry| entry.trust.is_due(generation, now));
    let mut verdicts: HashMap<(&[CertificateDer<'_>], UnixTime), Result<VerifiedPeer, TrustLoss>> =
        HashMap::new();
    let mut losses = Vec::new();
    for entry in &due {
        let peer = entry.trust.peer();
        let key = (&*entry.trust.chain, peer.trusted_until());
        if verdicts.len() % JUDGED_AT_A_TIME == JUDGED_AT_A_TIME - 1 && !verdicts.contains_key(&key) {
            yield_now().await;
        }
        let verdict =
            verdicts.entry(key).or_insert_with(|| judge(&*context.verifier, &entry.trust.chain, &peer, now));
        if let Some(loss) = entry.trust.record(generation, verdict) {
            losses.push((entry.clone(), loss));
        }
    }
    report(connections, generation, &losses);
    losses
}

/// Reports each loss to the observer, and logs one warning for each reason.
fn report(connections: &Connections, generation: u64, losses: &[(Arc<Entry>, TrustLoss)]) {
    let mut reasons: BTreeMap<_, (usize, &Entry, &TrustLoss)> = BTreeMap::new();
    for (entry, loss) in losses {
        let (peer_address, peer, rejection) =
            (entry.peer_address, entry.trust.peer(), (*loss.rejection).clone());
        let (reason, closing) = (rejection.label(), closing(loss, &connections.lifetime));
        // With one reason, such as an expired CA, some peers may be distrusted while for others only the time is over.
        reasons.entry((reason, closing.map(|(_, within)| within))).or_insert((0, entry, loss)).0 += 1;
        let closes = closing.is_some();
        debug!(%peer_address, reason, detail = %rejection, generation, closes, "no longer trusted");
        connections.observer.lost_trust(LostTrust { peer_address, peer, rejection, generation, closes });
    }
    for ((reason, within), (count, entry, loss)) in reasons {
        let next = match within {
            None => "they stay connected, and will be refused when they reconnect".to_owned(),
            Some(Duration::ZERO) => "they are closed at once".to_owned(),
            Some(within) => format!("they are closed within {within:?}"),
        };
        warn!(
            generation,
            connections = count,
            reason,
            peer_address = %entry.peer_address,
            example = %loss.rejection,
            "live connections are no longer trusted: {next}; if this is not intended, restore what was trusted before"
        );
    }
}

/// The reason and the time limit for closing a connection after this loss. `None` if it is not closed.
fn closing(loss: &TrustLoss, lifetime: &ConnectionLifetime) -> Option<(CloseReason, Duration)> {
    let (reason, policy) = match loss.kind {
        LossKind::Distrusted => (CloseReason::LostTrust, lifetime.on_lost_trust),
        LossKind::Expired => (CloseReason::Expired, lifetime.on_expiry),
        // A clock that was turned back will be corrected.
        LossKind::NotYetValid => return None,
    };
    match policy {
        ClosePolicy::CloseWithin(within) => Some((reason, within.min(FAR))),
        ClosePolicy::ReportOnly => None,
    }
}

/// The connections that will be closed, sorted so that the next one is the last.
#[derive(Default)]
struct Schedule(Vec<(Instant, CloseReason, Arc<Entry>)>);

impl Schedule {
    /// Adds the connections that close for these losses, and removes those that have ended or no longer close for the
    /// same reason.
    fn add(&mut self, losses: Vec<(Arc<Entry>, TrustLoss)>, connections: &Connections, local: Role) {
        self.0.retain(|(_, reason, entry)| {
            reason_to_close(entry, connections) == Some(*reason) && connections.contains(entry)
        });
        let mut closing: Vec<_> = losses
            .into_iter()
            .filter_map(|(entry, loss)| Some((closing(&loss, &connections.lifetime)?, entry)))
            .collect();
        fastrand::shuffle(&mut closing);
        let (now, count) = (Instant::now(), closing.len() as f64);
        // A Typha spreads its connections and closes the first at once. A client has only one connection; a random
        // moment keeps it from ending together with those of all other clients.
        let first = if local == Role::Typha { 0.0 } else { fastrand::f64() };
        self.0.extend(closing.into_iter().enumerate().map(|(index, ((reason, within), entry))| {
            (now + within.mul_f64((first + index as f64) / count), reason, entry)
        }));
        self.0.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    }

    fn next(&self) -> Option<Instant> {
        self.0.last().map(|(at, ..)| *at)
    }

    fn close_due(&mut self, connections: &Arc<Connections>) {
        let now = Instant::now();
        let mut due: HashMap<_, Vec<_>> = HashMap::new();
        while let Some((_, reason, entry)) = self.0.pop_if(|(at, ..)| *at <= now) {
            if reason_to_close(&entry, connections) == Some(reason) {
                due.entry(reason).or_default().push(entry);
            }
        }
        for (reason, entries) in due {
            connections.close_these(entries, reason);
        }
    }
}

/// The reason for which a connection must be closed, by the latest verdict on its peer.
fn reason_to_close(entry: &Entry, connections: &Connections) -> Option<CloseReason> {
    if entry.close_reason().is_some() {
        return None;
    }
    closing(&entry.trust.loss()?, &connections.lifetime).map(|(reason, _)| reason)
}

/// Closes the connections that are too old. Returns when the next one may reach its maximum age.
fn retire(connections: &Arc<Connections>) -> Option<Instant> {
    let max_age = connections.lifetime.max_age?.min(FAR);
    let now = Instant::now();
    let (old, young): (Vec<_>, Vec<_>) = connections
        .staying()
        .into_iter()
        .partition(|entry| entry.retires_at.is_some_and(|retires_at| retires_at <= now));
    connections.close_these(old, CloseReason::MaxAge);
    // A connection that is added later lives for nine tenths of the age at least.
    let added_later = now + max_age.mul_f64(0.9);
    young.iter().filter_map(|entry| entry.retires_at).chain([added_later]).min()
}

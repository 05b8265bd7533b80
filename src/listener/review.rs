//! Judges the peers of live connections again: under a new configuration, and when something has expired.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::reports::LostTrust;
use super::roll::Entry;
use super::shared::Shared;
use crate::lifetime::{DropReason, Judgement, LOOK_INTERVAL, Loss};

/// Chains that are judged, some 0.1 ms each, before others get a turn on the thread.
const JUDGED_AT_A_TIME: usize = 16;

/// Goes on until the listener is stopped and the last connection has gone.
pub(super) async fn review(shared: Arc<Shared>) {
    let mut generations = shared.acceptor.generations();
    let mut closings = Closings::default();
    let over = async {
        shared.stop.cancelled().await;
        shared.roll.empty().await;
    };
    let reviewing = async {
        loop {
            generations.mark_unchanged();
            let losses = judge(&shared).await;
            closings.schedule(losses, &shared);
            let next_look = Instant::now() + LOOK_INTERVAL;
            let ending = async {
                // Going over all connections for each one that is closed would cost more than judging them.
                loop {
                    closings.close_due(&shared);
                    let next = [closings.next(), retire(&shared)].into_iter().flatten().min();
                    let Some(next) = next else { return pending().await };
                    sleep_until(next).await;
                }
            };
            tokio::select! {
                _ = generations.changed() => {}
                () = shared.late.notified() => {}
                () = sleep_until(next_look) => {}
                () = ending => {}
            }
        }
    };
    tokio::select! {
        () = over => {}
        () = reviewing => {}
    }
}

/// Those that the judgement has found, and were not known.
type Losses = Vec<(Arc<Entry>, Loss)>;

/// Judges who is due, each chain once.
async fn judge(shared: &Shared) -> Losses {
    let context = shared.acceptor.in_force.current();
    let generation = context.generation;
    // Without a time nobody can be judged.
    let Some(now) = context.now() else { return Losses::new() };
    let mut due = shared.roll.staying_entries();
    due.retain(|entry| entry.standing.is_due(generation, now));
    let mut judgements: HashMap<(&[CertificateDer<'_>], UnixTime), Judgement> = HashMap::new();
    let mut losses = Losses::new();
    for entry in &due {
        let key = (entry.standing.chain(), entry.standing.trusted_until());
        let judgement = match judgements.get(&key) {
            Some(known) => known.clone(),
            None => {
                if judgements.len() % JUDGED_AT_A_TIME == JUDGED_AT_A_TIME - 1 {
                    yield_now().await;
                }
                let judgement = entry.standing.judge(&context, now);
                judgements.insert(key, judgement.clone());
                judgement
            }
        };
        if let Some(loss) = entry.standing.note(generation, &judgement) {
            losses.push((entry.clone(), loss));
        }
    }
    report(shared, generation, &losses);
    losses
}

fn report(shared: &Shared, generation: u64, losses: &Losses) {
    let mut reasons: BTreeMap<_, (usize, &Loss)> = BTreeMap::new();
    for (entry, loss) in losses {
        let rejection = loss.rejection().clone();
        let closes = shared.lifetime.closing(loss).is_some();
        // For one reason, such as an expired CA, some may have lost trust, and of others it is only the time that is
        // over.
        reasons.entry((rejection.reason(), closes)).or_insert((0, loss)).0 += 1;
        let (peer_address, peer) = (entry.peer_address, entry.standing.peer());
        shared.lost(LostTrust { peer_address, peer, rejection, generation, closes });
    }
    for ((reason, _), (connections, example)) in reasons {
        let next = match shared.lifetime.closing(example) {
            None => "they stay connected, and will be refused when they come back".to_owned(),
            Some(_) if shared.lifetime.spread().is_zero() => "they are closed at once".to_owned(),
            Some(_) => format!("they are closed within {:?}", shared.lifetime.spread()),
        };
        warn!(
            generation,
            connections,
            reason,
            example = %example.rejection(),
            "live connections are trusted no longer: {next}; if it is not meant, put back what was trusted before"
        );
    }
}

/// The connections that are to be closed, in the order of when.
#[derive(Default)]
struct Closings(Vec<(Instant, Arc<Entry>)>);

impl Closings {
    /// Spreads those that close; the first one at once. Who is trusted again by now, or has gone, is not closed.
    fn schedule(&mut self, losses: Losses, shared: &Shared) {
        let lifetime = &shared.lifetime;
        self.0.retain(|(_, entry)| closing(entry, shared).is_some());
        let mut closing: Vec<_> =
            losses.into_iter().filter(|(_, loss)| lifetime.closing(loss).is_some()).collect();
        fastrand::shuffle(&mut closing);
        let (now, count) = (Instant::now(), closing.len().max(1) as f64);
        let at = |index: usize| now + lifetime.spread().mul_f64(index as f64 / count);
        self.0.extend(closing.into_iter().enumerate().map(|(index, (entry, _))| (at(index), entry)));
        // The next one is the last.
        self.0.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }

    fn next(&self) -> Option<Instant> {
        self.0.last().map(|(at, _)| *at)
    }

    fn close_due(&mut self, shared: &Shared) {
        let now = Instant::now();
        let mut due: HashMap<_, Vec<_>> = HashMap::new();
        while let Some((_, entry)) = self.0.pop_if(|(at, _)| *at <= now) {
            if let Some(reason) = closing(&entry, shared) {
                due.entry(reason).or_default().push(entry);
            }
        }
        for (reason, entries) in due {
            shared.drop_these(entries, reason);
        }
    }
}

/// As what a connection is to be closed now.
fn closing(entry: &Entry, shared: &Shared) -> Option<DropReason> {
    if entry.ending.reason().is_some() {
        return None;
    }
    entry.standing.loss().as_ref().and_then(|loss| shared.lifetime.closing(loss))
}

/// Closes those that are too old. Returns when the next one will be.
fn retire(shared: &Shared) -> Option<Instant> {
    shared.lifetime.max_age?;
    let now = Instant::now();
    let (old, young): (Vec<_>, Vec<_>) = shared
        .roll
        .staying_entries()
        .into_iter()
        .partition(|entry| entry.retires_at.is_some_and(|retires_at| retires_at <= now));
    if !old.is_empty() {
        shared.drop_these(old, DropReason::MaxAge);
    }
    young.iter().filter_map(|entry| entry.retires_at).min()
}

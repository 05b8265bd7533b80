//! The clients: each makes one connection after the other.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use typha_tls::stream::Acceptance;

use super::felixes::Felixes;
use super::kept::{self, Kept};
use super::plan::Plan;
use super::progress::Progress;
use super::tally::{Outcome, Tally};
use super::target::Target;

/// The state that all clients share.
pub(super) struct Storm {
    pub(super) plan: Arc<Plan>,
    pub(super) felixes: Felixes,
    pub(super) target: Arc<Target>,
    pub(super) kept: Kept,
    pub(super) progress: Progress,
}

/// A connection that a client has to make, and its time.
#[derive(Clone, Copy)]
struct Turn {
    number: u32,
    due: Option<Instant>,
}

impl Turn {
    /// The start of the measured time: the due time, else the start of the TCP connection. Delays of the client and
    /// waits for a local port count, so that they do not make Typha appear fast.
    fn counts_from(&self, begun: Instant) -> Instant {
        self.due.unwrap_or(begun)
    }
}

/// Hands out turns in the order in which they are due.
struct Turns {
    begun: Instant,
    next: AtomicU32,
}

impl Turns {
    fn turn(&self, plan: &Plan, number: u32) -> Turn {
        Turn { number, due: plan.due(number).map(|after| self.begun + after) }
    }

    /// The next turn that is not due before now. All clients were busy when earlier turns became due: an idle client
    /// would have taken them.
    fn next(&self, storm: &Storm) -> Option<Turn> {
        loop {
            let number = self.next.fetch_add(1, Relaxed);
            if number >= storm.plan.handshakes {
                return None;
            }
            let turn = self.turn(&storm.plan, number);
            match turn.due {
                Some(due) if due < Instant::now() => storm.progress.advance(),
                _ => return Some(turn),
            }
        }
    }
}

/// Makes all connections, or as many as finish before `stop`. Also returns the time it took.
pub(super) async fn run(storm: &Arc<Storm>, stop: &CancellationToken) -> (Tally, Duration) {
    // Every client has its first turn from the beginning, even if starting all of them takes long.
    let clients = storm.plan.at_once.min(storm.plan.handshakes);
    let turns = Arc::new(Turns { begun: Instant::now(), next: AtomicU32::new(clients) });
    let mut running = JoinSet::new();
    for first in 0..clients {
        running.spawn(client(storm.clone(), turns.clone(), first, stop.clone()));
    }
    let mut all = Tally::default();
    while let Some(tally) = running.join_next().await {
        match tally {
            Ok(tally) => all.add(tally),
            Err(error) => tracing::error!(%error, "a client has died"),
        }
    }
    (all, turns.begun.elapsed())
}

async fn client(storm: Arc<Storm>, turns: Arc<Turns>, first: u32, stop: CancellationToken) -> Tally {
    let mut tally = Tally::default();
    let mut next = Some(turns.turn(&storm.plan, first));
    stop.run_until_cancelled(async {
        while let Some(turn) = next {
            if let Some(due) = turn.due {
                sleep_until(due).await;
            }
            storm.connection(turn, &mut tally).await;
            storm.progress.advance();
            next = turns.next(&storm);
        }
    })
    .await;
    tally
}

impl Storm {
    async fn connection(&self, turn: Turn, tally: &mut Tally) {
        let is_bad = self.plan.is_bad(turn.number);
        let (counts, felix) =
            if is_bad { (&mut tally.bad, &self.felixes.bad) } else { (&mut tally.good, &self.felixes.good) };
        counts.begun += 1;
        let (tcp, begun) = match self.target.dial(self.plan.source(turn.number)).await {
            Ok(dialled) => dialled,
            Err(error) => return counts.count(&Outcome::DialFailed(error), is_bad),
        };
        let stream = match felix.connect_tcp(tcp).await {
            Ok(stream) => stream,
            Err(error) => return counts.count(&Outcome::Failed(error), is_bad),
        };
        let taken = turn.counts_from(begun).elapsed();
        let outcome = match stream.acceptance() {
            Acceptance::Confirmed => Outcome::Accepted,
            Acceptance::NotAsked => Outcome::NotAsked,
            _ => Outcome::Unconfirmed,
        };
        counts.count(&outcome, is_bad);
        let to_close = match outcome {
            Outcome::Accepted if !is_bad => {
                tally.accepted_nanos.push(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
                self.kept.keep(stream)
            }
            _ => Some(stream),
        };
        if let Some(stream) = to_close {
            kept::close(stream).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_connection_begins_when_it_is_due() {
        let due = Instant::now();
        let begun = due + Duration::from_secs(1);
        assert_eq!(Turn { number: 0, due: Some(due) }.counts_from(begun), due);
        assert_eq!(Turn { number: 0, due: None }.counts_from(begun), begun);
    }
}

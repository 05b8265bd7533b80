//! Who gets a handshake and when: the cap, the queue behind it, each address's share, and who is shed.
//!
//! Free handshakes go to the addresses in turn, so that a long line from one does not hold up the others.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::failures::Failures;
use super::limits::ListenerLimits;
use super::shed::ShedCause;
use super::signal::{Signal, Stand};

/// A handshake that has waited for its peer for so long, in all, makes room if others wait. An honest peer waits for
/// two round trips, and for one retransmission perhaps.
const STALLED: Duration = Duration::from_secs(1);

/// A connection is silent after so long without its first message: a round trip within a cluster takes less.
const SILENT: Duration = Duration::from_millis(100);

/// Looking for stalled handshakes is a walk through all of them: done when somebody gets in line, but not more often
/// than the one, and while somebody is in line as often as the other.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Addresses that are remembered for their failures alone.
const MAX_IDLE_PEERS: usize = 4096;

#[derive(Debug)]
pub(super) struct Admission {
    state: Mutex<State>,
    limits: ListenerLimits,
    /// Connections in service.
    active: Arc<AtomicUsize>,
    somebody_waits: Notify,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    next: u64,
    /// Those whose first message has not arrived, in the order in which they came.
    silent: BTreeMap<u64, (IpAddr, Arc<Signal>)>,
    handshakes: HashMap<u64, (IpAddr, Arc<Signal>)>,
    peers: HashMap<IpAddr, Peer>,
    /// Addresses that have somebody in line and may start.
    turns: VecDeque<IpAddr>,
    in_line: usize,
    /// Handshakes that were told to end and have not yet.
    ending: usize,
    looked: Option<Instant>,
    /// The address that had the longest line when that was looked for.
    longest: Option<IpAddr>,
    looked_for_longest: Option<Instant>,
}

/// One address.
#[derive(Debug, Default)]
struct Peer {
    silent: BTreeSet<u64>,
    /// Those that are ready.
    line: VecDeque<(u64, Arc<Signal>)>,
    has_turn: bool,
    /// Handshakes, and pauses after failed ones.
    busy: usize,
    failures: Failures,
}

impl Peer {
    fn queued(&self) -> usize {
        self.silent.len() + self.line.len()
    }

    fn is_idle(&self) -> bool {
        self.queued() == 0 && self.busy == 0
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Occupancy {
    pub(super) queued: usize,
    pub(super) handshakes: usize,
}

impl Admission {
    pub(super) fn new(limits: ListenerLimits, active: Arc<AtomicUsize>) -> Self {
        Self { state: Mutex::default(), limits, active, somebody_waits: Notify::new() }
    }

    /// Gives a connection that has come a place in the queue: its number there, and the signal that tells what becomes
    /// of it. [`leave`](Self::leave) gives the place up: a `Place` does so by itself.
    ///
    /// # Errors
    ///
    /// It is to be shed.
    pub(super) fn admit(&self, address: IpAddr, now: Instant) -> Result<(u64, Arc<Signal>), ShedCause> {
        let signal = Arc::new(Signal::new(now));
        let mut state = self.state();
        if state.closed {
            return Err(ShedCause::ShuttingDown);
        }
        if self.room() == 0 {
            return Err(ShedCause::ConnectionLimit);
        }
        let peer = state.peers.get(&address);
        let full_for_it = peer.is_some_and(|peer| peer.queued() >= self.limits.queue_per_address);
        if full_for_it || state.queued() >= self.limits.queue {
            let oldest = match peer {
                Some(peer) if full_for_it => peer.silent.first(),
                _ => state.silent.keys().next(),
            };
            let cause = if full_for_it { ShedCause::ShareFull } else { ShedCause::QueueFull };
            let queued = peer.map_or(0, Peer::queued);
            match oldest.copied().filter(|oldest| state.is_silent(*oldest, now)) {
                Some(silent) => state.end(silent, cause),
                None if !full_for_it && state.cut_longest_line(queued + 1, now) => {}
                None => return Err(cause),
            }
        }
        let id = state.next;
        state.next += 1;
        state.silent.insert(id, (address, signal.clone()));
        state.peers.entry(address).or_default().silent.insert(id);
        state.forget_idle(now);
        drop(state);
        Ok((id, signal))
    }

    /// Its first message has arrived: it is started if a handshake is free, and gets in line if not.
    pub(super) fn line_up(&self, id: u64, address: IpAddr, signal: &Arc<Signal>, now: Instant) {
        let mut state = self.state();
        if state.silent.remove(&id).is_none() {
            return;
        }
        state.in_line += 1;
        if let Some(peer) = state.peers.get_mut(&address) {
            peer.silent.remove(&id);
            peer.line.push_back((id, signal.clone()));
        }
        self.give_turn(&mut state, address, now);
        self.start_next(&mut state, now);
        self.make_room(&mut state, now);
        if state.in_line > 0 {
            self.somebody_waits.notify_one();
        }
    }

    /// Looks every now and then for whom to start of those in line, and for whom to end in favour of them. Runs for
    /// ever.
    pub(super) async fn keep_moving(&self) {
        loop {
            self.somebody_waits.notified().await;
            while self.state().in_line > 0 {
                sleep(LOOK_INTERVAL).await;
                self.look_for_room(Instant::now());
            }
        }
    }

    /// A connection in service may have ended, or a handshake have stalled.
    fn look_for_room(&self, now: Instant) {
        let mut state = self.state();
        self.start_next(&mut state, now);
        self.make_room(&mut state, now);
    }

    /// Gives the handshake back, and notes how it ended. After a failure the address stays busy for the pause that is
    /// returned, until [`resume`](Self::resume).
    pub(super) fn finish(&self, id: u64, address: IpAddr, succeeded: bool, now: Instant) -> Duration {
        let mut state = self.state();
        let held = state.give_back(id);
        let mut pause = Duration::ZERO;
        if let (true, Some(peer)) = (held, state.peers.get_mut(&address)) {
            if succeeded {
                peer.failures.succeeded();
            } else {
                pause = peer.failures.failed(now);
            }
        }
        self.start_next(&mut state, now);
        pause
    }

    /// The address of a handshake that was [finished](Self::finish) may start another one.
    pub(super) fn resume(&self, address: IpAddr, now: Instant) {
        let mut state = self.state();
        if let Some(peer) = state.peers.get_mut(&address) {
            peer.busy -= 1;
        }
        self.give_turn(&mut state, address, now);
        self.start_next(&mut state, now);
        state.forget_if_unused(address);
    }

    /// Gives up a place that is in the queue or in its handshake.
    pub(super) fn leave(&self, id: u64, address: IpAddr, stand: Stand, now: Instant) {
        let mut state = self.state();
        if state.silent.remove(&id).is_some() {
            if let Some(peer) = state.peers.get_mut(&address) {
                peer.silent.remove(&id);
            }
        } else if state.give_back(id) {
            drop(state);
            return self.resume(address, now);
        } else if stand == Stand::Queued
            && let Some(peer) = state.peers.get_mut(&address)
            && let Some(position) = peer.line.iter().position(|(waiting, _)| *waiting == id)
        {
            peer.line.remove(position);
            let was_last = peer.line.is_empty() && std::mem::take(&mut peer.has_turn);
            state.in_line -= 1;
            // Else turns would pile up while no handshake is free.
            if was_last && let Some(turn) = state.turns.iter().position(|turn| *turn == address) {
                state.turns.remove(turn);
            }
        }
        state.forget_if_unused(address);
    }

    /// Sheds so many of those that have been silent for longest.
    pub(super) fn shed_silent(&self, count: usize) {
        let mut state = self.state();
        let oldest: Vec<u64> = state.silent.keys().take(count).copied().collect();
        for id in oldest {
            state.end(id, ShedCause::OutOfDescriptors);
        }
    }

    /// Sheds everything, and whatever comes from now on.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let silent: Vec<u64> = state.silent.keys().copied().collect();
        for id in silent {
            state.end(id, ShedCause::ShuttingDown);
        }
        let state = &mut *state;
        for peer in state.peers.values_mut() {
            for (_, signal) in peer.line.drain(..) {
                signal.set(Stand::Shed(ShedCause::ShuttingDown));
            }
        }
        state.in_line = 0;
        for (_, signal) in state.handshakes.values() {
            signal.set(Stand::Shed(ShedCause::ShuttingDown));
        }
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        let state = self.state();
        Occupancy { queued: state.queued(), handshakes: state.handshakes.len() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more connections may be in service. So many handshakes at most may be under way, too; those that would
    /// exceed it wait and are not shed, since peers that are not authenticated must not use up what is there for
    /// connections.
    fn room(&self) -> usize {
        self.limits.connections.saturating_sub(self.active.load(Ordering::Acquire))
    }

    fn share(&self, peer: &Peer, now: Instant) -> usize {
        if peer.failures.slowed(now) { 1 } else { self.limits.handshakes_per_address }
    }

    /// Gives a turn to the address, if it can use one.
    fn give_turn(&self, state: &mut State, address: IpAddr, now: Instant) {
        let Some(peer) = state.peers.get_mut(&address) else { return };
        if !peer.has_turn && !peer.line.is_empty() && peer.busy < self.share(peer, now) {
            peer.has_turn = true;
            state.turns.push_back(address);
        }
    }

    /// Starts handshakes while there are free ones and addresses that wait for one.
    fn start_next(&self, state: &mut State, now: Instant) {
        loop {
            let room = self.room();
            if room > 0 && state.handshakes.len() >= self.limits.handshakes.min(room) {
                return;
            }
            let Some(address) = state.turns.pop_front() else { return };
            let Some(peer) = state.peers.get_mut(&address) else { continue };
            peer.has_turn = false;
            if peer.busy >= self.share(peer, now) {
                continue;
            }
            let Some((id, signal)) = peer.line.pop_front() else { continue };
            state.in_line -= 1;
            if room == 0 {
                signal.set(Stand::Shed(ShedCause::ConnectionLimit));
            } else {
                peer.busy += 1;
                signal.set(Stand::Started);
                state.handshakes.insert(id, (address, signal));
            }
            self.give_turn(state, address, now);
        }
    }

    /// Ends the handshake that has kept us waiting for longest, if somebody waits for it to end.
    fn make_room(&self, state: &mut State, now: Instant) {
        if state.in_line <= state.ending || state.looked.is_some_and(|looked| now < looked + LOOK_PAUSE) {
            return;
        }
        state.looked = Some(now);
        let all_busy =
            state.handshakes.len() >= self.limits.handshakes.min(self.room()) && !state.turns.is_empty();
        let stalled = state
            .handshakes
            .iter()
            .filter(|(_, (_, signal))| signal.stand() == Stand::Started)
            .map(|(id, (address, signal))| (signal.waited(now), *id, *address))
            .filter(|(waited, _, address)| {
                let is_waited_for = || state.peers.get(address).is_some_and(|peer| !peer.line.is_empty());
                *waited >= STALLED && (all_busy || is_waited_for())
            });
        let mut stalled: Vec<_> = stalled.collect();
        stalled.sort_unstable_by(|a, b| b.cmp(a));
        let wanted = state.in_line - state.ending;
        for (_, id, _) in stalled.into_iter().take(wanted) {
            if let Some((_, signal)) = state.handshakes.get(&id) {
                signal.set(Stand::Shed(ShedCause::Stalled));
                state.ending += 1;
            }
        }
    }
}

impl State {
    fn queued(&self) -> usize {
        self.silent.len() + self.in_line
    }

    /// Whether its first message should have come by now.
    fn is_silent(&self, id: u64, now: Instant) -> bool {
        self.silent.get(&id).is_some_and(|(_, signal)| now >= signal.began() + SILENT)
    }

    /// Takes a silent connection out of the queue.
    fn end(&mut self, id: u64, cause: ShedCause) {
        if let Some((address, signal)) = self.silent.remove(&id) {
            if let Some(peer) = self.peers.get_mut(&address) {
                peer.silent.remove(&id);
            }
            signal.set(Stand::Shed(cause));
        }
    }

    /// Sheds the last one in the longest line, if that is longer than so: a few addresses must not fill the queue for
    /// all others.
    fn cut_longest_line(&mut self, longer_than: usize, now: Instant) -> bool {
        let is_longer = |peer: &Peer| peer.line.len() > longer_than;
        let known = self.longest.and_then(|longest| self.peers.get(&longest));
        if !known.is_some_and(is_longer) {
            // A walk through all addresses, which comes to nothing when all lines are short.
            if self.looked_for_longest.is_some_and(|looked| now < looked + LOOK_PAUSE) {
                return false;
            }
            self.looked_for_longest = Some(now);
            let longest = self.peers.iter().max_by_key(|(_, peer)| peer.line.len());
            self.longest = longest.map(|(address, _)| *address);
        }
        let longest = self.longest.and_then(|longest| self.peers.get_mut(&longest));
        let Some((_, signal)) = longest.filter(|peer| is_longer(peer)).and_then(|peer| peer.line.pop_back())
        else {
            return false;
        };
        self.in_line -= 1;
        signal.set(Stand::Shed(ShedCause::QueueFull));
        true
    }

    /// Whether there was such a handshake.
    fn give_back(&mut self, id: u64) -> bool {
        let Some((_, signal)) = self.handshakes.remove(&id) else { return false };
        if signal.stand() == Stand::Shed(ShedCause::Stalled) {
            self.ending -= 1;
        }
        true
    }

    fn forget_if_unused(&mut self, address: IpAddr) {
        if self.peers.get(&address).is_some_and(|peer| peer.is_idle() && peer.failures.is_empty()) {
            self.peers.remove(&address);
        }
    }

    /// Addresses without a connection are kept for their failures, and not for ever.
    fn forget_idle(&mut self, now: Instant) {
        if self.peers.len() > MAX_IDLE_PEERS + self.queued() + self.handshakes.len() {
            self.peers.retain(|_, peer| !peer.is_idle() || peer.failures.remembered(now));
        }
        if self.peers.len() > MAX_IDLE_PEERS + self.queued() + self.handshakes.len() {
            self.peers.retain(|_, peer| !peer.is_idle());
        }
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;

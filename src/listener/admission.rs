//! Decides which connection gets a handshake and when: the cap, the queue behind it, the share of each address, and
//! shedding.
//!
//! Free handshakes go to the addresses in turn, so that many connections from one address do not delay the others.
//! Addresses with an earlier success are preferred, and those whose latest handshake failed come later.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::failures::Failures;
use super::limits::{ListenerLimits, ShedCause};
use super::peer_wait::PeerWait;
use super::turns::{Priority, SucceededAddresses, Turns};
use crate::lifetime::InService;

/// A handshake that has waited for its peer for this time in total is ended if other connections wait. An honest peer
/// needs two round trips, and perhaps one retransmission.
const STALLED: Duration = Duration::from_secs(1);

/// The same for an address whose latest handshake has failed. It also holds for all addresses while more of them wait
/// than there are handshakes. It is long enough for a peer whose round trip takes less than 500 ms.
const STALLED_UNDER_PRESSURE: Duration = Duration::from_millis(500);

/// A connection counts as silent after this time without its first message. A round trip within a cluster takes less.
const SILENT: Duration = Duration::from_millis(100);

/// A search for stalled handshakes goes through all of them. It runs when a connection lines up, at most once per
/// pause, and every interval while a connection is in line.
const SCAN_PAUSE: Duration = Duration::from_millis(20);
const SCAN_INTERVAL: Duration = Duration::from_millis(250);

/// Addresses without a connection that are kept because of their failures.
const MAX_IDLE_ADDRESSES: usize = 4096;

pub(super) struct Admission {
    state: Mutex<State>,
    limits: ListenerLimits,
    in_service: Arc<InService>,
    /// Called with each change, in order.
    observer: Box<dyn Fn(Occupancy) + Send + Sync>,
    lined_up: Notify,
}

/// The number of connections that wait, and of those that perform their handshake.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Occupancy {
    pub(super) queued: usize,
    pub(super) handshakes: usize,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// It is in the queue; its first message has not arrived.
    Silent,
    /// It is in the queue, ready for its handshake.
    InLine,
    /// It may perform its handshake.
    Handshake,
    /// It must end its handshake, and has not yet.
    Stopping(ShedCause),
    /// It must close, and takes no place any more.
    Shed(ShedCause),
}

impl Phase {
    pub(super) fn shed_cause(self) -> Option<ShedCause> {
        match self {
            Self::Silent | Self::InLine | Self::Handshake => None,
            Self::Stopping(cause) | Self::Shed(cause) => Some(cause),
        }
    }
}

#[derive(Default)]
struct State {
    is_closed: bool,
    next_id: u64,
    connections: HashMap<u64, Waiting>,
    addresses: HashMap<IpAddr, Address>,
    /// The number of addresses that the latest scan for idle ones kept.
    kept_addresses: usize,
    /// The silent connections, oldest first.
    silent: BTreeSet<u64>,
    in_line: usize,
    /// The connections that perform a handshake or are ending it.
    handshakes: HashSet<u64>,
    /// Addresses that have a connection in line and may start its handshake.
    turns: Turns,
    succeeded: SucceededAddresses,
    /// The connections in line from addresses whose latest handshake has failed.
    failed: BTreeSet<u64>,
    stalled_scan: Option<Instant>,
    /// The address with the longest line at the last search.
    longest: Option<IpAddr>,
    longest_scan: Option<Instant>,
}

/// One connection.
struct Waiting {
    address: IpAddr,
    phase: Phase,
    came: Instant,
    changed: Arc<Notify>,
    wait: Arc<PeerWait>,
}

#[derive(Debug, Default)]
struct Address {
    silent: BTreeSet<u64>,
    line: VecDeque<u64>,
    has_turn: bool,
    /// Handshakes, and pauses after failed handshakes.
    busy: usize,
    failures: Failures,
}

impl Address {
    fn queued(&self) -> usize {
        self.silent.len() + self.line.len()
    }

    fn is_idle(&self) -> bool {
        self.queued() == 0 && self.busy == 0
    }
}

impl Admission {
    pub(super) fn new(
        limits: ListenerLimits,
        in_service: Arc<InService>,
        observer: Box<dyn Fn(Occupancy) + Send + Sync>,
    ) -> Self {
        Self { state: Mutex::default(), limits, in_service, observer, lined_up: Notify::new() }
    }

    /// Enters a connection into the queue and returns its ID.
    ///
    /// # Errors
    ///
    /// The cause, if the connection must be shed.
    pub(super) fn enter(
        &self,
        address: IpAddr,
        changed: Arc<Notify>,
        wait: Arc<PeerWait>,
        now: Instant,
    ) -> Result<u64, ShedCause> {
        self.change(|state| {
            if state.is_closed {
                return Err(ShedCause::ShuttingDown);
            }
            if self.room() == 0 {
                return Err(ShedCause::ConnectionLimit);
            }
            if self.room_of(address) == 0 {
                return Err(ShedCause::AddressLimit);
            }
            let of_address = state.addresses.get(&address);
            let queued = of_address.map_or(0, Address::queued);
            let is_share_full = queued >= self.limits.queue_per_address;
            if is_share_full || state.queued() >= self.limits.queue {
                let (oldest, cause) = match of_address {
                    Some(of_address) if is_share_full => (of_address.silent.first(), ShedCause::ShareFull),
                    _ => (state.silent.first(), ShedCause::QueueFull),
                };
                let may_replace = !is_share_full && !state.has_failed(address, now);
                let failed = state.failed.last().copied().filter(|_| may_replace);
                match (oldest.copied().filter(|oldest| state.is_silent(*oldest, now)), failed) {
                    (Some(oldest), _) => state.set(oldest, Phase::Shed(cause)),
                    (None, Some(failed)) => state.set(failed, Phase::Shed(cause)),
                    (None, None) if !is_share_full && state.shorten_longest_line(queued + 1, now) => {}
                    (None, None) => return Err(cause),
                }
            }
            let id = state.next_id;
            state.next_id += 1;
            state.connections.insert(id, Waiting { address, phase: Phase::Silent, came: now, changed, wait });
            state.silent.insert(id);
            state.addresses.entry(address).or_default().silent.insert(id);
            state.forget_idle(now);
            Ok(id)
        })
    }

    /// Records that the first message of a connection has arrived. Its handshake starts if one is free; otherwise it
    /// waits in line.
    pub(super) fn line_up(&self, id: u64, now: Instant) {
        self.change(|state| {
            if state.phase(id) != Some(Phase::Silent) {
                return;
            }
            state.set(id, Phase::InLine);
            if let Some(waiting) = state.connections.get(&id) {
                let address = waiting.address;
                if state.has_failed(address, now) {
                    state.failed.insert(id);
                }
                self.give_turn(state, address, now);
            }
            self.make_room(state, now);
            if state.in_line > 0 {
                self.lined_up.notify_one();
            }
        });
    }

    /// Starts handshakes and ends stalled ones while connections are in line: a connection in service may have ended,
    /// or a handshake may have stalled. Never returns.
    pub(super) async fn keep_moving(&self) {
        loop {
            self.lined_up.notified().await;
            while self.change(|state| state.in_line) > 0 {
                sleep(SCAN_INTERVAL).await;
                self.change(|state| self.make_room(state, Instant::now()));
            }
        }
    }

    fn make_room(&self, state: &mut State, now: Instant) {
        self.start_next(state, now);
        self.end_stalled(state, now);
    }

    /// Records that the handshake of a connection has succeeded.
    pub(super) fn succeeded(&self, id: u64) {
        self.change(|state| {
            let Some((ip, address)) = state.address_in_handshake(id) else { return };
            let had_failed = !address.failures.is_empty();
            address.failures.succeeded();
            state.succeeded.add(ip);
            if had_failed {
                state.mark_line(ip, false);
            }
        });
    }

    /// Records that the handshake of a connection has failed, and removes the connection. Returns the pause after which
    /// [`resume`](Self::resume) is due; the address stays busy until then. `None` if the connection had no handshake.
    pub(super) fn failed(&self, id: u64, now: Instant) -> Option<Duration> {
        self.change(|state| {
            let (ip, address) = state.address_in_handshake(id)?;
            let had_failed = address.failures.remembered(now);
            let pause = address.failures.failed(now);
            address.busy += 1;
            if !had_failed {
                state.mark_line(ip, true);
            }
            state.remove(id);
            self.start_next(state, now);
            Some(pause)
        })
    }

    /// Ends the pause of an address.
    pub(super) fn resume(&self, address: IpAddr, now: Instant) {
        self.change(|state| {
            if let Some(address) = state.addresses.get_mut(&address) {
                address.busy = address.busy.saturating_sub(1);
            }
            self.freed(state, address, now);
        });
    }

    /// Gives up the place of a connection, if it has one.
    pub(super) fn leave(&self, id: u64, now: Instant) {
        self.change(|state| {
            if let Some(address) = state.remove(id) {
                self.freed(state, address, now);
            }
        });
    }

    /// Handles a place that an address has freed: it may start another handshake, or has no connection any more.
    fn freed(&self, state: &mut State, address: IpAddr, now: Instant) {
        self.give_turn(state, address, now);
        self.start_next(state, now);
        if state
            .addresses
            .get(&address)
            .is_some_and(|address| address.is_idle() && address.failures.is_empty())
        {
            state.addresses.remove(&address);
        }
    }

    /// Sheds the `count` connections that have been silent for longest.
    pub(super) fn shed_silent(&self, count: usize) {
        self.change(|state| {
            let oldest: Vec<u64> = state.silent.iter().take(count).copied().collect();
            for id in oldest {
                state.set(id, Phase::Shed(ShedCause::OutOfDescriptors));
            }
        });
    }

    /// Sheds all connections, and all later ones.
    pub(super) fn close(&self) {
        self.change(|state| {
            state.is_closed = true;
            let mut ids: Vec<u64> = state.connections.keys().copied().collect();
            // The first of each line first, which is quick to remove.
            ids.sort_unstable();
            for id in ids {
                let next = match state.phase(id) {
                    Some(Phase::Handshake | Phase::Stopping(_)) => Phase::Stopping(ShedCause::ShuttingDown),
                    _ => Phase::Shed(ShedCause::ShuttingDown),
                };
                state.set(id, next);
            }
        });
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        self.change(|state| state.occupancy())
    }

    /// The phase of a connection. A connection that has left counts as shed.
    pub(super) fn phase(&self, id: u64) -> Phase {
        self.change(|state| state.phase(id)).unwrap_or(Phase::Shed(ShedCause::ShuttingDown))
    }

    /// Reads or changes the state, and reports the occupancy if it has changed.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.occupancy();
        let outcome = change(&mut state);
        if state.occupancy() != before {
            (self.observer)(state.occupancy());
        }
        outcome
    }

    /// How many more connections may be in service. This also caps the handshakes in progress. Connections beyond that
    /// cap wait and are not shed, because unauthenticated peers must not use up the room of connections.
    fn room(&self) -> usize {
        self.limits.connections.saturating_sub(self.in_service.total())
    }

    /// How many more connections of an address may be in service. It caps the handshakes of the address, too.
    fn room_of(&self, address: IpAddr) -> usize {
        self.limits.per_address().saturating_sub(self.in_service.of(address))
    }

    /// How many handshakes and pauses an address may have. An address without room still gets a turn, so that its
    /// waiting connection is shed.
    fn share(&self, of_address: &Address, address: IpAddr, now: Instant) -> usize {
        let share = if of_address.failures.slowed(now) { 1 } else { self.limits.handshakes_per_address };
        share.min(self.room_of(address).max(1))
    }

    /// Gives the address a turn, if it can use one.
    fn give_turn(&self, state: &mut State, address: IpAddr, now: Instant) {
        let Some(of_address) = state.addresses.get_mut(&address) else { return };
        let may_start = !of_address.line.is_empty() && of_address.busy < self.share(of_address, address, now);
        if may_start && !std::mem::replace(&mut of_address.has_turn, true) {
            state.turns.give(address, state.priority(address, now));
        }
    }

    /// Starts handshakes while some are free and addresses wait for one.
    fn start_next(&self, state: &mut State, now: Instant) {
        loop {
            let room = self.room();
            if room > 0 && state.handshakes.len() >= self.limits.handshakes.min(room) {
                return;
            }
            let Some((address, given_for)) = state.turns.take() else { return };
            // Its handshake may have failed since.
            let priority = state.priority(address, now);
            let Some(of_address) = state.addresses.get_mut(&address) else { continue };
            if priority == Priority::Failed && given_for != priority {
                state.turns.give(address, priority);
                continue;
            }
            of_address.has_turn = false;
            if of_address.busy >= self.share(of_address, address, now) {
                continue;
            }
            let Some(id) = of_address.line.front().copied() else { continue };
            let next = match self.room_of(address) {
                _ if room == 0 => Phase::Shed(ShedCause::ConnectionLimit),
                0 => Phase::Shed(ShedCause::AddressLimit),
                _ => Phase::Handshake,
            };
            state.set(id, next);
            self.give_turn(state, address, now);
        }
    }

    /// If connections in line need a place, ends the handshakes that have waited for their peers for longest.
    fn end_stalled(&self, state: &mut State, now: Instant) {
        let scanned = state.stalled_scan;
        if state.in_line == 0 || scanned.is_some_and(|scanned| now < scanned + SCAN_PAUSE) {
            return;
        }
        let is_stopping = |id: &&u64| matches!(state.phase(**id), Some(Phase::Stopping(_)));
        let wanted = state.in_line.saturating_sub(state.handshakes.iter().filter(is_stopping).count());
        if wanted == 0 {
            return;
        }
        let are_all_busy =
            state.handshakes.len() >= self.limits.handshakes.min(self.room()) && state.turns.count() > 0;
        let is_crowded = are_all_busy && state.turns.count() > self.limits.handshakes;
        let mut stalled: Vec<_> = state
            .handshakes
            .iter()
            .filter_map(|id| Some((*id, state.connections.get(id)?)))
            .filter(|(_, handshake)| handshake.phase == Phase::Handshake)
            .map(|(id, handshake)| (handshake.wait.total(now), id, handshake.address))
            .filter(|(waited, _, address)| {
                let Some(address) = state.addresses.get(address) else { return false };
                let at_most = match is_crowded || address.failures.remembered(now) {
                    true => STALLED_UNDER_PRESSURE,
                    false => STALLED,
                };
                *waited >= at_most && (are_all_busy || !address.line.is_empty())
            })
            .collect();
        state.stalled_scan = Some(now);
        stalled.sort_unstable_by(|a, b| b.cmp(a));
        for (_, id, _) in stalled.into_iter().take(wanted) {
            state.set(id, Phase::Stopping(ShedCause::Stalled));
        }
    }
}

impl State {
    fn queued(&self) -> usize {
        self.silent.len() + self.in_line
    }

    fn occupancy(&self) -> Occupancy {
        Occupancy { queued: self.queued(), handshakes: self.handshakes.len() }
    }

    fn phase(&self, id: u64) -> Option<Phase> {
        self.connections.get(&id).map(|waiting| waiting.phase)
    }

    /// The one place where a connection changes its phase.
    fn set(&mut self, id: u64, next: Phase) {
        let Some(waiting) = self.connections.get_mut(&id) else { return };
        let former = std::mem::replace(&mut waiting.phase, next);
        waiting.changed.notify_one();
        let Some(address) = self.addresses.get_mut(&waiting.address) else { return };
        match former {
            Phase::Silent => {
                self.silent.remove(&id);
                address.silent.remove(&id);
            }
            Phase::InLine => {
                match address.line.front() {
                    Some(first) if *first == id => drop(address.line.pop_front()),
                    _ => address.line.retain(|other| *other != id),
                }
                self.in_line -= 1;
                self.failed.remove(&id);
            }
            Phase::Handshake | Phase::Stopping(_) => {
                self.handshakes.remove(&id);
                address.busy -= 1;
            }
            Phase::Shed(_) => {}
        }
        match next {
            Phase::Silent => {
                self.silent.insert(id);
                address.silent.insert(id);
            }
            Phase::InLine => {
                address.line.push_back(id);
                self.in_line += 1;
            }
            Phase::Handshake | Phase::Stopping(_) => {
                self.handshakes.insert(id);
                address.busy += 1;
            }
            Phase::Shed(_) => {}
        }
        // Otherwise unused turns would pile up while no handshake is free.
        if former == Phase::InLine && address.line.is_empty() && std::mem::take(&mut address.has_turn) {
            let address = waiting.address;
            self.turns.take_back(address);
        }
    }

    /// Removes a connection, and returns its address.
    fn remove(&mut self, id: u64) -> Option<IpAddr> {
        self.set(id, Phase::Shed(ShedCause::ShuttingDown));
        self.connections.remove(&id).map(|waiting| waiting.address)
    }

    /// The address of a connection that has a handshake.
    fn address_in_handshake(&mut self, id: u64) -> Option<(IpAddr, &mut Address)> {
        let waiting = self.connections.get(&id).filter(|_| self.handshakes.contains(&id))?;
        Some((waiting.address, self.addresses.get_mut(&waiting.address)?))
    }

    /// Whether the latest handshake of an address has failed.
    fn has_failed(&self, address: IpAddr, now: Instant) -> bool {
        self.addresses.get(&address).is_some_and(|address| address.failures.remembered(now))
    }

    /// Records for the connections in line of an address whether its latest handshake has failed.
    fn mark_line(&mut self, address: IpAddr, has_failed: bool) {
        let line = self.addresses.get(&address).into_iter().flat_map(|address| &address.line);
        if has_failed {
            self.failed.extend(line);
        } else {
            for id in line {
                self.failed.remove(id);
            }
        }
    }

    fn priority(&self, address: IpAddr, now: Instant) -> Priority {
        if self.has_failed(address, now) {
            Priority::Failed
        } else if self.succeeded.contains(&address) {
            Priority::Succeeded
        } else if self.addresses.get(&address).is_some_and(|address| address.busy > 0) {
            Priority::Failed
        } else {
            Priority::New
        }
    }

    /// Whether the first message of a connection should have arrived by now.
    fn is_silent(&self, id: u64, now: Instant) -> bool {
        self.connections.get(&id).is_some_and(|waiting| now >= waiting.came + SILENT)
    }

    /// Sheds the last connection of the longest line, if that line is longer than `longer_than`. So a few addresses can
    /// not fill the queue for all others. Returns whether it shed one.
    fn shorten_longest_line(&mut self, longer_than: usize, now: Instant) -> bool {
        let last_of_long_line =
            |address: &Address| address.line.back().copied().filter(|_| address.line.len() > longer_than);
        let known = self.longest.and_then(|longest| self.addresses.get(&longest));
        let mut last = known.and_then(last_of_long_line);
        if last.is_none() {
            // This goes through all addresses, and finds nothing when all lines are short.
            if self.longest_scan.is_some_and(|scanned| now < scanned + SCAN_PAUSE) {
                return false;
            }
            self.longest_scan = Some(now);
            let longest = self.addresses.iter().max_by_key(|(_, address)| address.line.len());
            self.longest = longest.map(|(address, _)| *address);
            last = longest.and_then(|(_, address)| last_of_long_line(address));
        }
        let Some(last) = last else { return false };
        self.set(last, Phase::Shed(ShedCause::QueueFull));
        true
    }

    /// Removes addresses without a connection once there are too many of them.
    fn forget_idle(&mut self, now: Instant) {
        let limit = MAX_IDLE_ADDRESSES + self.queued() + self.handshakes.len();
        // A walk through all addresses, which may all have to stay: not again before there are twice as many.
        if self.addresses.len() <= limit.max(self.kept_addresses * 2) {
            return;
        }
        self.addresses.retain(|_, address| !address.is_idle() || address.failures.remembered(now));
        if self.addresses.len() > limit {
            self.addresses.retain(|_, address| !address.is_idle());
        }
        self.kept_addresses = self.addresses.len();
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.occupancy().fmt(f)
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;

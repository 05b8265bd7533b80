//! The Typhas that a dialer knows, and the choice of the next one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::endpoint::TyphaEndpoint;

/// The Typhas that were found, by address. They outlive a `connect`: failures are remembered, and a failed search
/// forgets no Typha.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<SocketAddr, Entry>);

#[derive(Debug)]
struct Entry {
    node_name: Option<String>,
    last_found: Instant,
    /// Whether the last successful search found it.
    is_present: bool,
    bad_until: Option<Instant>,
}

impl Known {
    /// Records the result of a search. Forgets Typhas that no search has found for `forget_after`.
    pub(super) fn found(&mut self, endpoints: Vec<TyphaEndpoint>, now: Instant, forget_after: Duration) {
        for entry in self.0.values_mut() {
            entry.is_present = false;
        }
        for TyphaEndpoint { address, node_name } in endpoints {
            let bad_until = self.0.get(&address).and_then(|entry| entry.bad_until);
            self.0.insert(address, Entry { node_name, last_found: now, is_present: true, bad_until });
        }
        self.0.retain(|_, entry| {
            entry.is_present || now.saturating_duration_since(entry.last_found) < forget_after
        });
    }

    /// Puts a Typha behind all others until the given time.
    pub(super) fn avoid(&mut self, address: SocketAddr, until: Instant) {
        if let Some(entry) = self.0.get_mut(&address) {
            entry.bad_until = Some(until);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The Typha to try next. Preferred, in this order: Typhas that are not bad, that answered the last dial in time,
    /// that the last search found, that are on our node; otherwise a random one. `None` when all had their turn in this
    /// round.
    pub(super) fn next(
        &self,
        round: &Round,
        own_node: Option<&str>,
        now: Instant,
        random: &mut Rng,
    ) -> Option<TyphaEndpoint> {
        let waiting = self.0.iter().filter(|(address, _)| !round.had_turn.contains(*address));
        let (address, entry) = waiting.min_by_key(|(address, entry)| {
            (
                // Of the bad Typhas, the one that has been bad for longest.
                entry.bad_until.filter(|until| *until > now),
                round.was_slow.contains(*address),
                Reverse(entry.is_present),
                Reverse(own_node.is_some() && entry.node_name.as_deref() == own_node),
                // One address family may not work: next is an address of the other family (RFC 8305 section 4).
                round.slow_family_is_ipv6 == Some(address.is_ipv6()),
                random.u64(..),
            )
        })?;
        Some(TyphaEndpoint { address: *address, node_name: entry.node_name.clone() })
    }
}

/// The Typhas that had a turn since all known Typhas were last tried, in one `connect`.
#[derive(Debug, Default)]
pub(super) struct Round {
    had_turn: HashSet<SocketAddr>,
    was_slow: HashSet<SocketAddr>,
    /// The family of the last dial that was not answered in time.
    slow_family_is_ipv6: Option<bool>,
}

impl Round {
    pub(super) fn begin_turn(&mut self, address: SocketAddr) {
        self.had_turn.insert(address);
    }

    /// Records that this Typha has not answered in time, so that another one is dialled too.
    pub(super) fn is_slow(&mut self, address: SocketAddr) {
        self.slow_family_is_ipv6 = Some(address.is_ipv6());
    }

    /// Records that the dial was ended because another Typha answered first. It does not count as tried.
    pub(super) fn take_turn_back(&mut self, address: SocketAddr) {
        self.had_turn.remove(&address);
        self.was_slow.insert(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FORGET_AFTER: Duration = Duration::from_secs(300);
    const MS: Duration = Duration::from_millis(1);

    fn address(number: u16) -> SocketAddr {
        ([192, 0, 2, 1], number).into()
    }

    fn ipv6(number: u16) -> SocketAddr {
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], number).into()
    }

    fn typhas(numbers: &[u16]) -> Vec<TyphaEndpoint> {
        numbers.iter().map(|&number| address(number).into()).collect()
    }

    fn known(endpoints: Vec<TyphaEndpoint>, now: Instant) -> Known {
        let mut known = Known::default();
        known.found(endpoints, now, FORGET_AFTER);
        known
    }

    /// A whole round, as port numbers.
    fn order(known: &Known, own_node: Option<&str>, now: Instant, seed: u64) -> Vec<u16> {
        let (mut round, mut random) = (Round::default(), Rng::with_seed(seed));
        std::iter::from_fn(|| {
            let next = known.next(&round, own_node, now, &mut random)?;
            round.begin_turn(next.address);
            Some(next.address.port())
        })
        .collect()
    }

    fn sorted(mut numbers: Vec<u16>) -> Vec<u16> {
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn every_one_once_and_in_all_orders() {
        let now = Instant::now();
        let known = known(typhas(&[1, 2, 3]), now);
        let mut orders = HashSet::new();
        for seed in 0..200 {
            let order = order(&known, None, now, seed);
            assert_eq!(sorted(order.clone()), [1, 2, 3]);
            orders.insert(order);
        }
        assert_eq!(orders.len(), 6);
    }

    #[test]
    fn own_node_first() {
        let now = Instant::now();
        let on = |number, node: &str| TyphaEndpoint::new(address(number)).on_node(node);
        let known = known(vec![on(1, "a"), on(2, "b"), on(3, "b"), address(4).into()], now);
        for seed in 0..50 {
            let order = order(&known, Some("b"), now, seed);
            assert_eq!((sorted(order[..2].to_vec()), sorted(order[2..].to_vec())), (vec![2, 3], vec![1, 4]));
        }
        // An unknown node is not the same node.
        let firsts: HashSet<_> = (0..200).map(|seed| order(&known, None, now, seed)[0]).collect();
        assert_eq!(firsts.len(), 4);
    }

    #[test]
    fn forgotten_when_not_found_for_exactly_five_minutes() {
        let start = Instant::now();
        let mut known = known(typhas(&[1, 2]), start);
        known.found(typhas(&[2]), start + FORGET_AFTER - MS, FORGET_AFTER);
        assert_eq!(sorted(order(&known, None, start, 0)), [1, 2]);
        known.found(typhas(&[2]), start + FORGET_AFTER, FORGET_AFTER);
        assert_eq!(order(&known, None, start, 0), [2]);
        assert_eq!((known.len(), known.is_empty()), (1, false));
        // Time alone does not forget a Typha: without a search, it may still be there.
        assert_eq!(order(&known, None, start + 100 * FORGET_AFTER, 0), [2]);
        // A Typha that was found is not forgotten, whatever the limit.
        known.found(typhas(&[2]), start + 2 * FORGET_AFTER, Duration::ZERO);
        assert_eq!(order(&known, None, start, 0), [2]);
    }

    #[test]
    fn gone_ones_come_last_until_they_return() {
        let now = Instant::now();
        let mut known = known(typhas(&[1, 2, 3]), now);
        known.found(typhas(&[2, 3]), now + SECOND, FORGET_AFTER);
        assert!((0..50).all(|seed| order(&known, None, now, seed)[2] == 1));
        known.found(typhas(&[1]), now + 2 * SECOND, FORGET_AFTER);
        assert!((0..50).all(|seed| order(&known, None, now, seed)[0] == 1));
    }

    #[test]
    fn bad_ones_come_last_for_exactly_their_time() {
        let now = Instant::now();
        let on = |number| TyphaEndpoint::new(address(number)).on_node("own");
        let mut known = known(vec![on(1), on(2), address(3).into(), address(4).into()], now);
        known.avoid(address(2), now + 61 * SECOND);
        known.avoid(address(1), now + 60 * SECOND);
        known.avoid(address(9), now + 60 * SECOND);
        for seed in 0..50 {
            let order_at = |at| order(&known, Some("own"), at, seed);
            let just_before = order_at(now + 60 * SECOND - MS);
            assert_eq!(sorted(just_before[..2].to_vec()), [3, 4], "not even our own node's");
            assert_eq!(just_before[2..], [1, 2], "the longest bad first");
            let after = order_at(now + 60 * SECOND);
            assert_eq!((after[0], after[3]), (1, 2));
        }
        // A Typha that is found again stays bad.
        known.found(vec![on(2), address(3).into()], now + SECOND, FORGET_AFTER);
        assert_eq!(order(&known, Some("own"), now + SECOND, 0).last(), Some(&2));
    }

    #[test]
    fn a_typha_may_change_its_node() {
        let now = Instant::now();
        let mut known = known(vec![TyphaEndpoint::new(address(1)).on_node("a"), address(2).into()], now);
        known.found(vec![address(1).into(), TyphaEndpoint::new(address(2)).on_node("a")], now, FORGET_AFTER);
        assert!((0..50).all(|seed| order(&known, Some("a"), now, seed) == [2, 1]));
    }

    #[test]
    fn one_that_was_slow_comes_after_those_that_were_not() {
        let now = Instant::now();
        let known = known(typhas(&[1, 2, 3]), now);
        for seed in 0..50 {
            let (mut round, mut random) = (Round::default(), Rng::with_seed(seed));
            round.begin_turn(address(1));
            round.take_turn_back(address(1));
            for expected in [&[2, 3][..], &[2, 3], &[1]] {
                let next = known.next(&round, None, now, &mut random).unwrap().address;
                assert!(expected.contains(&next.port()), "{next} of {expected:?}");
                round.begin_turn(next);
            }
            assert_eq!(known.next(&round, None, now, &mut random), None);
        }
    }

    #[test]
    fn beside_a_slow_one_the_other_family_is_dialled() {
        let now = Instant::now();
        let endpoints = [ipv6(1), ipv6(2), address(1), address(2)].map(TyphaEndpoint::from);
        let known = known(endpoints.to_vec(), now);
        for (slow, ipv6_next) in [(ipv6(1), false), (address(1), true)] {
            let mut round = Round::default();
            round.begin_turn(slow);
            round.is_slow(slow);
            for seed in 0..50 {
                let next = known.next(&round, None, now, &mut Rng::with_seed(seed)).unwrap();
                assert_eq!(next.address.is_ipv6(), ipv6_next);
            }
        }
    }
}

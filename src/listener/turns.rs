//! The order in which addresses get free handshakes.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;

/// How soon an address gets a handshake while others wait, by its earlier handshakes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Priority {
    /// A handshake from it has led to a connection, and none has failed since.
    Succeeded,
    /// No handshake from it has ended yet, as far as the listener remembers.
    New,
    /// Its latest handshake has failed or stalled. Or none has succeeded yet, and one is in progress.
    Failed,
}

/// The addresses that wait for a handshake. Addresses of the same priority take turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    succeeded: VecDeque<IpAddr>,
    new: VecDeque<IpAddr>,
    failed: VecDeque<IpAddr>,
    taken: u8,
}

impl Turns {
    pub(super) fn count(&self) -> usize {
        self.succeeded.len() + self.new.len() + self.failed.len()
    }

    pub(super) fn give(&mut self, address: IpAddr, priority: Priority) {
        self.queue(priority).push_back(address);
    }

    /// Takes the next turn, and the priority for which it was given. Each priority comes first in at least one of four
    /// turns. So an honest Felix behind an address with failures also gets a handshake.
    pub(super) fn take(&mut self) -> Option<(IpAddr, Priority)> {
        use Priority::{Failed, New, Succeeded};

        let order = match self.taken {
            0 | 2 => [Succeeded, New, Failed],
            1 => [New, Succeeded, Failed],
            _ => [Failed, New, Succeeded],
        };
        let next =
            order.into_iter().find_map(|priority| Some((self.queue(priority).pop_front()?, priority)))?;
        self.taken = (self.taken + 1) % 4;
        Some(next)
    }

    fn queue(&mut self, priority: Priority) -> &mut VecDeque<IpAddr> {
        match priority {
            Priority::Succeeded => &mut self.succeeded,
            Priority::New => &mut self.new,
            Priority::Failed => &mut self.failed,
        }
    }

    /// Takes back the turn of an address.
    pub(super) fn take_back(&mut self, address: IpAddr) {
        for queue in [&mut self.succeeded, &mut self.new, &mut self.failed] {
            queue.retain(|other| *other != address);
        }
    }
}

/// The addresses from which a handshake has led to a connection: the latest 8192, and up to as many earlier ones.
/// Only a peer with a certificate of the CA can add its address.
#[derive(Debug, Default)]
pub(super) struct SucceededAddresses {
    latest: HashSet<IpAddr>,
    earlier: HashSet<IpAddr>,
}

const LATEST: usize = 8192;

impl SucceededAddresses {
    pub(super) fn contains(&self, address: &IpAddr) -> bool {
        self.latest.contains(address) || self.earlier.contains(address)
    }

    pub(super) fn add(&mut self, address: IpAddr) {
        if self.latest.len() >= LATEST && !self.latest.contains(&address) {
            self.earlier = std::mem::take(&mut self.latest);
        }
        self.latest.insert(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn successes_come_first_and_nobody_waits_for_ever() {
        let mut turns = Turns::default();
        for number in 0..4 {
            turns.give(ip(number), Priority::Failed);
            turns.give(ip(10 + number), Priority::New);
            turns.give(ip(20 + number), Priority::Succeeded);
        }
        turns.take_back(ip(11));
        let order: Vec<_> = std::iter::from_fn(|| turns.take()).map(|(address, _)| address).collect();
        assert_eq!(order, [20, 10, 21, 0, 22, 12, 23, 1, 13, 2, 3].map(ip));
        assert_eq!(turns.count(), 0);
    }

    #[test]
    fn addresses_with_a_success_are_bounded() {
        let mut succeeded = SucceededAddresses::default();
        (0..3 * LATEST as u32).for_each(|number| succeeded.add(ip(number)));
        let known = (0..3 * LATEST as u32).filter(|number| succeeded.contains(&ip(*number))).count();
        assert_eq!(known, 2 * LATEST);
        // An address that comes again and again stays.
        let mut succeeded = SucceededAddresses::default();
        for number in 1..5 * LATEST as u32 {
            succeeded.add(ip(0));
            succeeded.add(ip(number));
        }
        assert!(succeeded.contains(&ip(0)));
    }
}

//! The load: a process of Felix for each of its cores. With one process for all of them, the kernel decides which of its
//! threads runs where, and can leave cores idle that the load was to have.

use std::time::Duration;

use super::context::Context;
use super::cores::Assignment;
use super::material::Material;
use super::mode::Mode;
use super::pace::millis;
use super::process::{BenchError, Worker};
use super::protocol::{Chains, Fresh, Handshakes, Implementation, Ready, Request};

pub(crate) struct Crew {
    first: Worker,
    others: Vec<Worker>,
}

/// What the Felixes are to do together.
#[derive(Clone, Copy)]
pub(crate) struct Orders {
    pub(crate) clients: usize,
    pub(crate) length: Duration,
    pub(crate) rides: bool,
}

impl Crew {
    /// As many as there are cores for them, and clients.
    pub(crate) fn start(
        context: &Context,
        peer: Implementation,
        mode: &Mode,
        material: &Material,
        assignment: &Assignment,
        clients: usize,
    ) -> Result<Self, BenchError> {
        let felix = |cores: &[_]| context.felix(peer, mode, material, cores, false);
        match assignment.felix.get(..clients.clamp(1, assignment.felix.len())) {
            Some([first, others @ ..]) if assignment.disjoint => Ok(Self {
                first: felix(&[*first])?,
                others: others.iter().map(|core| felix(&[*core])).collect::<Result<_, _>>()?,
            }),
            _ => Ok(Self { first: felix(&assignment.felix)?, others: Vec::new() }),
        }
    }

    pub(crate) fn len(&self) -> usize {
        1 + self.others.len()
    }

    /// The one for what is not divided.
    pub(crate) fn first(&mut self) -> &mut Worker {
        &mut self.first
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Worker> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    /// Which leaves each is to take from now on, each its own ones.
    pub(crate) fn leaves(&mut self, usual: &[Chains], fresh: &[Fresh]) -> Result<(), BenchError> {
        for (index, worker) in self.all().enumerate() {
            let (usual, fresh) = (usual.get(index).cloned(), fresh.get(index).cloned());
            worker.send(&Request::Leaves { usual, fresh })?;
        }
        self.all().try_for_each(|worker| worker.receive(Duration::ZERO).map(|_: Ready| ()))
    }

    /// Handshakes of all of them at the same time.
    pub(crate) fn handshakes(&mut self, address: &str, orders: Orders) -> Result<Handshakes, BenchError> {
        let Orders { clients, length, rides } = orders;
        let count = self.len();
        for (index, worker) in self.all().enumerate() {
            let (address, clients) = (address.to_owned(), share(clients, count, index));
            worker.send(&Request::Handshakes { address, clients, millis: millis(length), rides })?;
        }
        let answers = self.all().map(|worker| worker.receive(length));
        Ok(together(answers.collect::<Result<Vec<Handshakes>, _>>()?))
    }
}

/// The part of one of so many, as even as it goes.
fn share(whole: usize, parts: usize, index: usize) -> usize {
    whole / parts + usize::from(index < whole % parts)
}

/// The sum.
fn together(answers: Vec<Handshakes>) -> Handshakes {
    let sum = |of: fn(&Handshakes) -> u64| answers.iter().map(of).sum::<u64>();
    Handshakes {
        completed: sum(|answer| answer.completed),
        failed: sum(|answer| answer.failed),
        first_failure: answers.iter().find_map(|answer| answer.first_failure.clone()),
        resumed: sum(|answer| answer.resumed),
        fresh: sum(|answer| answer.fresh),
        // The Felixes are all alike.
        negotiated: answers.iter().find_map(|answer| answer.negotiated.clone()),
        elapsed_nanos: answers.iter().map(|answer| answer.elapsed_nanos).max().unwrap_or_default(),
        cpu_nanos: sum(|answer| answer.cpu_nanos),
        rounds_nanos: answers.into_iter().flat_map(|answer| answer.rounds_nanos).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_are_divided() {
        let shares = |whole, parts| (0..parts).map(|index| share(whole, parts, index)).collect::<Vec<_>>();
        assert_eq!(shares(32, 3), [11, 11, 10]);
        assert_eq!(shares(2, 2), [1, 1]);
        assert_eq!(shares(1, 1), [1]);
    }

    #[test]
    fn answers_are_summed_up() {
        let answer = |completed, nanos, failure: Option<&str>| Handshakes {
            completed,
            failed: u64::from(failure.is_some()),
            first_failure: failure.map(str::to_owned),
            resumed: 1,
            fresh: 3,
            negotiated: None,
            elapsed_nanos: nanos,
            cpu_nanos: 5,
            rounds_nanos: vec![nanos, nanos + 1],
        };
        let sum = together(vec![answer(10, 100, None), answer(30, 200, Some("refused"))]);
        assert_eq!((sum.completed, sum.failed, sum.resumed, sum.fresh), (40, 1, 2, 6));
        assert_eq!((sum.elapsed_nanos, sum.cpu_nanos), (200, 10));
        assert_eq!(sum.rounds_nanos, [100, 101, 200, 201]);
        assert_eq!(sum.first_failure.as_deref(), Some("refused"));
    }
}

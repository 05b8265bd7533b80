//! The load: a process of Felix for each of its cores. With one process for all of them, the kernel decides which of its
//! threads runs where, and can leave cores idle that the load was to have.

use std::time::Duration;

use super::context::Context;
use super::cores::Assignment;
use super::material::Material;
use super::mode::Mode;
use super::process::{BenchError, Worker};
use super::protocol::{Fresh, Handshakes, Implementation, Request};

pub(crate) struct Crew {
    first: Worker,
    others: Vec<Worker>,
}

/// What the Felixes are to do together.
#[derive(Clone, Copy)]
pub(crate) struct Orders<'a> {
    pub(crate) clients: usize,
    pub(crate) length: Duration,
    pub(crate) rides: bool,
    /// New leaves, for each Felix its own.
    pub(crate) fresh: &'a [Fresh],
}

impl Crew {
    pub(crate) fn start(
        context: &Context,
        peer: Implementation,
        mode: &Mode,
        material: &Material,
        assignment: &Assignment,
    ) -> Result<Self, BenchError> {
        let felix = |cores: &[_]| context.felix(peer, mode, material, cores, false);
        match assignment.felix.split_first() {
            Some((first, others)) if assignment.disjoint => Ok(Self {
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

    /// Handshakes of all of them at the same time.
    pub(crate) fn handshakes(&mut self, address: &str, orders: Orders<'_>) -> Result<Handshakes, BenchError> {
        let at_work = self.len().min(orders.clients).max(1);
        let millis = u64::try_from(orders.length.as_millis()).unwrap_or(u64::MAX);
        let mut workers: Vec<_> =
            std::iter::once(&mut self.first).chain(&mut self.others).take(at_work).collect();
        for (index, worker) in workers.iter_mut().enumerate() {
            worker.send(&Request::Handshakes {
                address: address.to_owned(),
                clients: share(orders.clients, at_work, index),
                millis,
                rides: orders.rides,
                fresh: orders.fresh.get(index).cloned(),
            })?;
        }
        let answers = workers.into_iter().map(|worker| worker.receive(orders.length));
        Ok(together(&answers.collect::<Result<Vec<_>, _>>()?))
    }
}

/// The part of one of so many, as even as it goes.
fn share(whole: usize, parts: usize, index: usize) -> usize {
    whole / parts + usize::from(index < whole % parts)
}

/// The sum. Percentiles are means, weighted by handshakes: the Felixes have the same to do.
fn together(answers: &[Handshakes]) -> Handshakes {
    let sum = |of: fn(&Handshakes) -> u64| answers.iter().map(of).sum::<u64>();
    let completed = sum(|answer| answer.completed);
    let mean = |of: fn(&Handshakes) -> u64| {
        let weighted = answers.iter().map(|answer| u128::from(answer.completed) * u128::from(of(answer)));
        let mean = weighted.sum::<u128>().checked_div(completed.into());
        u64::try_from(mean.unwrap_or_default()).unwrap_or(u64::MAX)
    };
    Handshakes {
        completed,
        failed: sum(|answer| answer.failed),
        first_failure: answers.iter().find_map(|answer| answer.first_failure.clone()),
        resumed: sum(|answer| answer.resumed),
        elapsed_nanos: answers.iter().map(|answer| answer.elapsed_nanos).max().unwrap_or_default(),
        cpu_nanos: sum(|answer| answer.cpu_nanos),
        p50_nanos: mean(|answer| answer.p50_nanos),
        p99_nanos: mean(|answer| answer.p99_nanos),
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
            elapsed_nanos: nanos,
            cpu_nanos: 5,
            p50_nanos: nanos,
            p99_nanos: 2 * nanos,
        };
        let sum = together(&[answer(10, 100, None), answer(30, 200, Some("refused"))]);
        assert_eq!((sum.completed, sum.failed, sum.resumed), (40, 1, 2));
        assert_eq!((sum.elapsed_nanos, sum.cpu_nanos), (200, 10));
        assert_eq!((sum.p50_nanos, sum.p99_nanos), (175, 350));
        assert_eq!(sum.first_failure.as_deref(), Some("refused"));
        assert_eq!(together(&[]).p50_nanos, 0);
    }
}

//! The work without sockets: both ends in one thread.

use std::time::{Duration, Instant};

use super::contest::in_order;
use super::context::Context;
use super::cores::Assignment;
use super::figures::{Figure, PeerResult, peer_name};
use super::floor::FloorMeter;
use super::mode::Mode;
use super::pace::{Pace, millis};
use super::process::BenchError;
use super::protocol::{Implementation, InMemory, Request};
use super::report::WorkResult;
use super::works::Outcome;

pub(crate) fn in_memory(
    context: &Context,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<Outcome, BenchError> {
    let material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    // Go's ends need a socket between them.
    let here = context.peers.iter().copied().filter(|peer| *peer != Implementation::Go);
    let mut workers = here
        .map(|peer| Ok((PeerResult::new(peer), context.memory(peer, &mode, &material, &assignment)?)))
        .collect::<Result<Vec<_>, BenchError>>()?;
    if workers.is_empty() {
        return Ok(Outcome::LeftOut(format!("{title} is for the peers ours and bare")));
    }
    let mut floor = FloorMeter::start(context, &mode, &material, &assignment)?;
    let mut pace = Pace::new(deadline, workers.len() + 1, context.rounds);
    let request = |length: Duration| Request::InMemory { millis: millis(length) };
    for (_, worker) in &mut workers {
        let _: InMemory = worker.ask(&request(pace.warm_up()), pace.warm_up())?;
    }
    while let Some(round) = pace.next_round() {
        for (_, (result, worker)) in in_order(&mut workers, round) {
            context.progress.show(title, peer_name(result.peer));
            let answer: InMemory = worker.ask(&request(pace.slice()), pace.slice())?;
            let micros = |nanos: u64| nanos as f64 / answer.completed.max(1) as f64 / 1e3;
            result.completed += answer.completed;
            result.add(
                [
                    (Figure::TyphaInMemoryMicros, micros(answer.typha_nanos)),
                    (Figure::FelixInMemoryMicros, micros(answer.felix_nanos)),
                ]
                .into(),
            );
        }
        floor.measure(pace.slice() / 2)?;
    }
    let by = Figure::TyphaInMemoryMicros;
    let finished = workers.into_iter().map(|(result, _)| {
        let mut result = result.finish();
        result.compare_to_floor(by, &floor.rounds());
        result
    });
    let peers = finished.collect();
    Ok(Outcome::Measured(WorkResult::new(title, mode, &assignment, Some(by), floor.result(), peers)))
}

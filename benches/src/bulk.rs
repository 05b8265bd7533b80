//! Data over one connection, in both directions, on a core for each end.

use std::time::{Duration, Instant};

use super::contest::{Contest, Course, Load, in_order};
use super::context::Context;
use super::cores::Assignment;
use super::figures::{Figure, PeerResult, Slice, peer_name};
use super::mode::Mode;
use super::pace::{Pace, millis};
use super::process::BenchError;
use super::protocol::{Bulk, Direction, Request};
use super::report::WorkResult;

pub(crate) fn bulk(
    context: &Context,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<WorkResult, BenchError> {
    let material = context.material(&mode)?;
    let assignment = Assignment::one_each(&context.cores);
    let course = Course { clients: 1, ..Course::new(context, mode, &assignment, Load::Own) };
    let mut contest = Contest::start(course, &material)?;
    let mut results = contest.results();
    let mut pace = Pace::new(deadline, 2 * results.len(), context.rounds);
    for index in 0..results.len() {
        both_ways(&mut contest, index, pace.warm_up() / 2)?;
    }
    while let Some(round) = pace.next_round() {
        for (index, result) in in_order(&mut results, round) {
            context.progress.show(title, peer_name(result.peer));
            result.add(both_ways(&mut contest, index, pace.slice())?);
        }
    }
    let by = Some(Figure::MegabytesPerSecondToFelix);
    let peers = results.into_iter().map(PeerResult::finish).collect();
    Ok(WorkResult::new(title, mode, &assignment, by, None, peers))
}

/// One direction after the other.
fn both_ways(contest: &mut Contest<'_>, index: usize, length: Duration) -> Result<Slice, BenchError> {
    let (_, typha, felix) = contest.pair(index)?;
    let address = typha.address()?;
    let mut transfer = |direction| {
        let request = Request::Bulk { address: address.clone(), direction, millis: millis(length) };
        let answer: Bulk = felix.first().ask(&request, length)?;
        let megabytes = answer.bytes.max(1) as f64 / 1e6;
        let seconds = answer.elapsed_nanos.max(1) as f64 / 1e9;
        Ok::<_, BenchError>((megabytes / seconds, answer.cpu_nanos as f64 / 1e3 / megabytes))
    };
    let (to_felix, receiving) = transfer(Direction::ToFelix)?;
    let (to_typha, sending) = transfer(Direction::ToTypha)?;
    Ok([
        (Figure::MegabytesPerSecondToFelix, to_felix),
        (Figure::FelixCpuMicrosPerMegabyteToFelix, receiving),
        (Figure::MegabytesPerSecondToTypha, to_typha),
        (Figure::FelixCpuMicrosPerMegabyteToTypha, sending),
    ]
    .into())
}

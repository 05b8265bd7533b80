//! How each work is measured.

use std::time::{Duration, Instant};

use super::bulk::bulk;
use super::contest::{Contest, Course, Load, in_order};
use super::context::Context;
use super::cores::Assignment;
use super::figures::{Figure, peer_name, throughput};
use super::floor::FloorMeter;
use super::idle::idle;
use super::in_memory::in_memory;
use super::mode::Mode;
use super::pace::Pace;
use super::plan::Work;
use super::process::BenchError;
use super::report::WorkResult;
use super::resumption::resumption;

/// What comes of a work.
pub(crate) enum Outcome {
    Measured(WorkResult),
    /// And why.
    LeftOut(String),
}

/// Measures a standard work in a mode until the deadline.
pub(crate) fn measure(
    context: &Context,
    work: Work,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<Outcome, BenchError> {
    match work {
        Work::Handshake | Work::Cold | Work::PostQuantum | Work::Tls12 | Work::Rsa2048 => {
            throughput_of(context, title, mode, deadline)
        }
        Work::BothEnds => {
            let cores = &context.cores;
            let assignment = Assignment::each(cores, 2).unwrap_or_else(|| Assignment::halves(cores));
            own_pairs(context, title, mode, &assignment, deadline)
        }
        Work::TwoCores => return two_cores(context, title, mode, deadline),
        Work::Latency => latency(context, title, mode, deadline),
        Work::Idle => return idle(context, title, mode, deadline),
        Work::Bulk => bulk(context, title, mode, deadline),
        Work::Resumption => resumption(context, title, mode, deadline),
        Work::InMemory => return in_memory(context, title, mode, deadline),
        Work::Floor => floor(context, title, mode, deadline),
    }
    .map(Outcome::Measured)
}

/// Typhas on one core, under the same load.
pub(crate) fn throughput_of(
    context: &Context,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<WorkResult, BenchError> {
    let mut material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    let course = Course::new(context, mode, &assignment, Load::Neutral);
    let mut contest = Contest::start(course, &material)?.with_floor(&material)?;
    let (peers, floor) = contest.run(title, &mut material, deadline)?;
    let by = throughput(&peers);
    Ok(WorkResult::new(title, mode, &assignment, Some(by), floor, peers))
}

/// Each implementation against itself, on these cores.
pub(crate) fn own_pairs(
    context: &Context,
    title: &str,
    mode: Mode,
    assignment: &Assignment,
    deadline: Instant,
) -> Result<WorkResult, BenchError> {
    let mut material = context.material(&mode)?;
    let course = Course::new(context, mode, assignment, Load::Own);
    let mut contest = Contest::start(course, &material)?.with_floor(&material)?;
    let (peers, floor) = contest.run(title, &mut material, deadline)?;
    // The pair is what is measured, whichever of its ends is the limit.
    let by = Figure::HandshakesPerSecond;
    Ok(WorkResult::new(title, mode, assignment, Some(by), floor, peers))
}

/// Own pairs, on two cores each against on one core each.
fn two_cores(context: &Context, title: &str, mode: Mode, deadline: Instant) -> Result<Outcome, BenchError> {
    let (Some(one), Some(two)) = (Assignment::each(&context.cores, 1), Assignment::each(&context.cores, 2))
    else {
        let cores = context.cores.len();
        return Ok(Outcome::LeftOut(format!("{title} needs 4 cores, and there are {cores}")));
    };
    let mut material = context.material(&mode)?;
    let mut on_one = Contest::start(Course::new(context, mode, &one, Load::Own), &material)?;
    let mut on_two = Contest::start(Course::new(context, mode, &two, Load::Own), &material)?;
    let mut results = on_two.results();
    // Both slices, and what runs in to each.
    let mut pace = Pace::new(deadline, 3 * results.len(), context.rounds);
    on_one.warm_up(title, &mut material, pace.warm_up())?;
    on_two.warm_up(title, &mut material, pace.warm_up())?;
    // The kernel spreads the threads of a process that was idle over its cores only after a while.
    let run_in = (pace.slice() / 3).max(Duration::from_millis(40));
    while let Some(round) = pace.next_round() {
        let mut not_counted = on_two.results();
        let mut places: Vec<_> = results.iter_mut().zip(&mut not_counted).collect();
        for (index, (result, nowhere)) in in_order(&mut places, round) {
            context.progress.show(title, peer_name(result.peer));
            on_one.slice(index, run_in, nowhere)?;
            let one = on_one.slice(index, pace.slice(), nowhere)?;
            on_two.slice(index, run_in, nowhere)?;
            let mut slice = on_two.slice(index, pace.slice(), result)?;
            let by = Figure::HandshakesPerSecond;
            if let (Some(one), Some(two)) = (one.get(&by), slice.get(&by)) {
                slice.insert(Figure::TwoCoreGain, two / one);
            }
            result.add(slice);
        }
    }
    let peers = results.into_iter().map(|result| on_two.finish(result)).collect();
    let by = Some(Figure::HandshakesPerSecond);
    Ok(Outcome::Measured(WorkResult::new(title, mode, &two, by, None, peers)))
}

/// One handshake at a time, on a core for each end.
fn latency(context: &Context, title: &str, mode: Mode, deadline: Instant) -> Result<WorkResult, BenchError> {
    let mut material = context.material(&mode)?;
    let assignment = Assignment::one_each(&context.cores);
    let course = Course { clients: 1, ..Course::new(context, mode, &assignment, Load::Own) };
    let mut contest = Contest::start(course, &material)?;
    let (peers, floor) = contest.run(title, &mut material, deadline)?;
    Ok(WorkResult::new(title, mode, &assignment, Some(Figure::P50Micros), floor, peers))
}

/// The primitives alone.
fn floor(context: &Context, title: &str, mode: Mode, deadline: Instant) -> Result<WorkResult, BenchError> {
    let material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    let mut meter = FloorMeter::start(context, &mode, &material, &assignment)?;
    let mut pace = Pace::new(deadline, 1, context.rounds);
    while pace.next_round().is_some() {
        context.progress.show(title, "the primitives");
        meter.measure(pace.slice())?;
    }
    Ok(WorkResult::new(title, mode, &assignment, None, meter.result(), Vec::new()))
}

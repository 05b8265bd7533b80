//! How each work is measured.

use std::time::{Duration, Instant};

use super::contest::{Contest, Load};
use super::context::Context;
use super::cores::Assignment;
use super::figures::{Figure, PeerResult, Slice, compare, peer_name, throughput};
use super::floor::{FloorMeter, FloorResult};
use super::mode::{Mode, name};
use super::pace::{Pace, order};
use super::plan::Work;
use super::process::BenchError;
use super::protocol::{Implementation, InMemory, Request};
use super::report::WorkResult;
use super::transfers;

/// Measures a standard work until the deadline, or says why it can not be measured here.
pub(crate) fn measure(
    context: &Context,
    work: Work,
    deadline: Instant,
) -> Result<Result<WorkResult, String>, BenchError> {
    let (title, mode) = (name(&work), work.mode());
    match work {
        Work::Handshake | Work::Cold | Work::PostQuantum | Work::Tls12 | Work::Rsa2048 => {
            throughput_of(context, &title, mode, deadline).map(Ok)
        }
        Work::BothEnds => both_ends(context, &title, mode, deadline).map(Ok),
        Work::TwoCores => two_cores(context, &title, mode, deadline),
        Work::Latency => latency(context, &title, mode, deadline).map(Ok),
        Work::Idle => transfers::idle(context, &title, mode, deadline),
        Work::Bulk => transfers::bulk(context, &title, mode, deadline).map(Ok),
        Work::Resumption => transfers::resumption(context, &title, mode, deadline).map(Ok),
        Work::InMemory => in_memory(context, &title, mode, deadline),
        Work::Floor => floor(context, &title, mode, deadline).map(Ok),
    }
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
    let mut contest = Contest::start(context, &mode, &material, &assignment, Load::Neutral, None)?
        .with_floor(context, &mode, &material, &assignment)?;
    let (mut peers, floor) = contest.run(context, title, &mut material, deadline)?;
    let by = throughput(&peers);
    compare(&mut peers, by);
    Ok(WorkResult::new(title, mode, &assignment, Some(by), floor, peers))
}

/// Each implementation against itself.
fn both_ends(
    context: &Context,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<WorkResult, BenchError> {
    own_pairs(context, title, mode, Assignment::halves(&context.cores), deadline)
}

/// Each implementation against itself, on these cores.
pub(crate) fn own_pairs(
    context: &Context,
    title: &str,
    mode: Mode,
    assignment: Assignment,
    deadline: Instant,
) -> Result<WorkResult, BenchError> {
    let mut material = context.material(&mode)?;
    let mut contest = Contest::start(context, &mode, &material, &assignment, Load::Own, None)?.with_floor(
        context,
        &mode,
        &material,
        &assignment,
    )?;
    let (mut peers, floor) = contest.run(context, title, &mut material, deadline)?;
    // The pair is what is measured, whichever of its ends is the limit.
    let by = Figure::HandshakesPerSecond;
    compare(&mut peers, by);
    Ok(WorkResult::new(title, mode, &assignment, Some(by), floor, peers))
}

fn two_cores(
    context: &Context,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<Result<WorkResult, String>, BenchError> {
    let cores = &context.cores;
    let (Some(one), Some(two)) = (Assignment::each(cores, 1), Assignment::each(cores, 2)) else {
        return Ok(Err(format!("{title} needs 4 cores, and there are {}", cores.len())));
    };
    let mut material = context.material(&mode)?;
    let mut on_one = Contest::start(context, &mode, &material, &one, Load::Own, None)?;
    let mut on_two = Contest::start(context, &mode, &material, &two, Load::Own, None)?;
    let mut results = on_two.results();
    // Both slices, and what runs in to each.
    let mut pace = Pace::new(deadline, 3 * results.len(), context.rounds);
    on_one.warm_up(context, title, &mut material, pace.warm_up())?;
    on_two.warm_up(context, title, &mut material, pace.warm_up())?;
    // The kernel spreads the threads of a process that was idle over its cores only after a while.
    let run_in = (pace.slice() / 3).max(Duration::from_millis(40));
    let mut thrown_away = on_two.results();
    while let Some(round) = pace.next_round() {
        for index in order(results.len(), round) {
            let Some(result) = results.get_mut(index) else { continue };
            let Some(nowhere) = thrown_away.get_mut(index) else { continue };
            context.progress.show(title, peer_name(result.peer));
            on_one.slice(index, run_in, &[], nowhere)?;
            let one = on_one.slice(index, pace.slice(), &[], result)?;
            on_two.slice(index, run_in, &[], nowhere)?;
            let mut slice = on_two.slice(index, pace.slice(), &[], result)?;
            let rate = |slice: &Slice| slice.get(&Figure::HandshakesPerSecond).copied();
            if let (Some(one), Some(two)) = (rate(&one), rate(&slice)) {
                slice.insert(Figure::TwoCoreGain, two / one);
            }
            result.add(slice);
        }
    }
    let mut peers: Vec<_> = results.into_iter().map(PeerResult::finish).collect();
    let by = Figure::HandshakesPerSecond;
    compare(&mut peers, by);
    Ok(Ok(WorkResult::new(title, mode, &two, Some(by), None, peers)))
}

/// One handshake at a time, on a core for each end.
fn latency(context: &Context, title: &str, mode: Mode, deadline: Instant) -> Result<WorkResult, BenchError> {
    let mut material = context.material(&mode)?;
    let assignment =
        Assignment::each(&context.cores, 1).unwrap_or_else(|| Assignment::shared(&context.cores));
    let mut contest = Contest::start(context, &mode, &material, &assignment, Load::Own, None)?;
    contest.clients = 1;
    let (mut peers, floor) = contest.run(context, title, &mut material, deadline)?;
    let by = Figure::P50Micros;
    for peer in &mut peers {
        // With one client, no end is ever at its limit.
        peer.saturated = None;
    }
    compare(&mut peers, by);
    Ok(WorkResult::new(title, mode, &assignment, Some(by), floor, peers))
}

fn in_memory(
    context: &Context,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<Result<WorkResult, String>, BenchError> {
    let material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    // Go's ends need a socket between them.
    let here = context.peers.iter().copied().filter(|peer| *peer != Implementation::Go);
    let mut workers = here
        .map(|peer| Ok((PeerResult::new(peer), context.memory(peer, &mode, &material, &assignment)?)))
        .collect::<Result<Vec<_>, BenchError>>()?;
    if workers.is_empty() {
        return Ok(Err(format!("{title} is for the peers ours and bare")));
    }
    let mut floor = FloorMeter::start(context, &mode, &material, &assignment)?;
    let mut pace = Pace::new(deadline, workers.len() + 1, context.rounds);
    let request = |length: Duration| Request::InMemory {
        millis: u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
    };
    for (_, worker) in &mut workers {
        let _: InMemory = worker.ask(&request(pace.warm_up()), pace.warm_up())?;
    }
    while let Some(round) = pace.next_round() {
        for index in order(workers.len(), round) {
            let Some((result, worker)) = workers.get_mut(index) else { continue };
            context.progress.show(title, peer_name(result.peer));
            let answer: InMemory = worker.ask(&request(pace.slice()), pace.slice())?;
            if answer.completed > 0 {
                let micros = answer.typha_nanos as f64 / answer.completed as f64 / 1e3;
                result.completed += answer.completed;
                result.add([(Figure::TyphaInMemoryMicros, micros)].into());
            }
        }
        floor.measure(pace.slice() / 2)?;
    }
    let mut peers: Vec<_> = workers.into_iter().map(|(result, _)| result.finish()).collect();
    let floor = floor.result();
    for peer in &mut peers {
        let micros = peer.median(Figure::TyphaInMemoryMicros);
        peer.ratio_to_floor = micros.zip(floor.as_ref()).map(|(micros, floor)| micros / floor.total_micros);
    }
    let by = Figure::TyphaInMemoryMicros;
    compare(&mut peers, by);
    Ok(Ok(WorkResult::new(title, mode, &assignment, Some(by), floor, peers)))
}

/// The primitives alone.
fn floor(context: &Context, title: &str, mode: Mode, deadline: Instant) -> Result<WorkResult, BenchError> {
    let material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    let mut meter = FloorMeter::start(context, &mode, &material, &assignment)?;
    let mut pace = Pace::new(deadline, 1, context.rounds);
    meter.measure(pace.warm_up() / 4)?;
    while pace.next_round().is_some() {
        context.progress.show(title, "the primitives");
        meter.measure(pace.slice())?;
    }
    let floor: Option<FloorResult> = meter.result();
    Ok(WorkResult::new(title, mode, &assignment, None, floor, Vec::new()))
}

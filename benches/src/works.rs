//! How each work is measured.

use std::time::Duration;

use crate::arguments::Work;
use crate::comparison::{Comparison, Conditions, Load};
use crate::context::{FIRST_CLIENTS, FIRST_HANDSHAKES, Felixes, HELD, HOLDING, Job, PAUSE};
use crate::floor::FloorMeter;
use crate::forward;
use crate::machine::{Assignment, most_connections};
use crate::pace::{Pace, in_order, millis};
use crate::process::{BenchError, Worker};
use crate::protocol::{Bulk, Direction, End, Held, Implementation, InMemory, Request};
use crate::report::{Figure, PeerResult, Slice, WorkResult, add_cpu, throughput};

/// Measures a work until the deadline. What is impossible here is noted.
pub(crate) fn measure(job: &Job<'_>, work: Work) -> Result<Vec<WorkResult>, BenchError> {
    let cores = &job.context.cores;
    match work {
        Work::Handshake | Work::Cold | Work::PostQuantum | Work::Tls12 | Work::Rsa2048 => {
            let conditions = Conditions::new(job, Assignment::one_for_typha(cores), Load::Bare);
            Comparison::start(job, conditions)?.with_floor()?.run(throughput)
        }
        Work::BothEnds => own_pairs(job, Assignment::halves(cores, 2)),
        Work::Latency => {
            let conditions = Conditions::new(job, Assignment::halves(cores, 1), Load::Own);
            Comparison::start(job, Conditions { clients: 1, ..conditions })?.run(|_| Figure::P50Micros)
        }
        Work::Forward => return forward::measure(job),
        Work::Idle => return Ok(idle(job)?.into_iter().collect()),
        Work::Bulk => bulk(job),
        Work::InMemory => return Ok(in_memory(job)?.into_iter().collect()),
        Work::Floor => floor(job),
    }
    .map(|result| vec![result])
}

/// Each implementation against itself, on these cores.
pub(crate) fn own_pairs(job: &Job<'_>, assignment: Assignment) -> Result<WorkResult, BenchError> {
    let conditions = Conditions::new(job, assignment, Load::Own);
    // The pair is measured, whichever of its ends is the limit.
    Comparison::start(job, conditions)?.with_floor()?.run(|_| Figure::HandshakesPerSecond)
}

/// Opens more connections, which stay open.
pub(crate) fn hold(felix: &mut Worker, typha: &mut Worker, connections: usize) -> Result<(), BenchError> {
    let answer: Held = felix.ask(&Request::Hold { address: typha.address()?, connections }, HOLDING)?;
    felix.all_succeeded(&typha.name, answer.failed as u64, answer.first_failure.as_deref())
}

/// Memory per idle connection, in new Typhas each time: one that has held connections before has free memory.
fn idle(job: &Job<'_>) -> Result<Option<WorkResult>, BenchError> {
    let context = job.context;
    // One Felix holds those of all implementations.
    let held = HELD.min(most_connections() / context.peers.len().max(1));
    if held < 100 {
        context.note(format!("{} needs a higher limit of file descriptors (ulimit -Hn)", job.title));
        return Ok(None);
    }
    let start = || {
        let conditions = Conditions::new(job, Assignment::one_for_typha(&context.cores), Load::Bare);
        let clients = context.clients.min(FIRST_CLIENTS);
        Comparison::start(job, Conditions { clients, usual_leaves: 0, ..conditions })
    };
    let mut comparison = start()?;
    let mut results = comparison.results();
    // Memory does not depend on the rest of the machine: fewer rounds are enough.
    let mut pace = Pace::new(job.deadline, results.len(), context.rounds - 1);
    while let Some(round) = pace.next_round() {
        if round > 0 {
            comparison = start()?;
        }
        comparison.warm_up(FIRST_HANDSHAKES)?;
        context.stop.pause(PAUSE)?;
        let mut before = Vec::new();
        for index in 0..results.len() {
            before.push(comparison.pair(index)?.1.resident()?);
        }
        for (index, result) in in_order(&mut results, round) {
            job.show(result.peer.name());
            let (_, typha, felixes) = comparison.pair(index)?;
            hold(&mut felixes.first, typha, held)?;
        }
        context.stop.pause(PAUSE)?;
        for (index, (result, before)) in results.iter_mut().zip(before).enumerate() {
            let after = comparison.pair(index)?.1.resident()?;
            let bytes = (after - before) / held as f64;
            result.completed += held as u64;
            result.slices.push([(Figure::BytesPerIdleConnection, bytes)].into());
        }
    }
    let peers = results.into_iter().map(PeerResult::summed_up).collect();
    Ok(Some(comparison.result(Figure::BytesPerIdleConnection, peers)))
}

/// Data over one connection, in both directions, on a core for each end.
fn bulk(job: &Job<'_>) -> Result<WorkResult, BenchError> {
    let conditions = Conditions::new(job, Assignment::halves(&job.context.cores, 1), Load::Own);
    let mut comparison = Comparison::start(job, Conditions { clients: 1, ..conditions })?;
    let mut results = comparison.results();
    let mut pace = Pace::new(job.deadline, 2 * results.len(), job.context.rounds);
    for index in 0..results.len() {
        let (_, typha, felixes) = comparison.pair(index)?;
        both_directions(typha, felixes, pace.warm_up() / 2)?;
    }
    while let Some(round) = pace.next_round() {
        for (index, result) in in_order(&mut results, round) {
            job.show(result.peer.name());
            let (_, typha, felixes) = comparison.pair(index)?;
            result.slices.push(both_directions(typha, felixes, pace.slice())?);
        }
    }
    let peers = results.into_iter().map(PeerResult::summed_up).collect();
    Ok(comparison.result(Figure::MegabytesPerSecondToFelix, peers))
}

/// One direction after the other. Each end counts its own bytes: some are still on their way when Felix stops.
fn both_directions(typha: &mut Worker, felixes: &mut Felixes, length: Duration) -> Result<Slice, BenchError> {
    let mut slice = Slice::new();
    for (direction, speed, typha_cpu, felix_cpu) in [
        (
            Direction::ToFelix,
            Figure::MegabytesPerSecondToFelix,
            Figure::TyphaCpuMicrosPerMegabyteToFelix,
            Figure::FelixCpuMicrosPerMegabyteToFelix,
        ),
        (
            Direction::ToTypha,
            Figure::MegabytesPerSecondToTypha,
            Figure::TyphaCpuMicrosPerMegabyteToTypha,
            Figure::FelixCpuMicrosPerMegabyteToTypha,
        ),
    ] {
        let (address, before) = (typha.address()?, typha.usage()?);
        let request = Request::Bulk { address, direction, millis: millis(length) };
        let answer: Bulk = felixes.first.ask(&request, length)?;
        let after = typha.usage()?;
        let megabytes = |bytes: u64| bytes.max(1) as f64 / 1e6;
        let of_felix = megabytes(answer.bytes);
        slice.insert(speed, of_felix / (answer.elapsed_nanos.max(1) as f64 / 1e9));
        add_cpu(&mut slice, felix_cpu, answer.cpu, of_felix);
        let of_typha = megabytes(after.bulk_bytes.saturating_sub(before.bulk_bytes));
        add_cpu(&mut slice, typha_cpu, after.cpu.since(before.cpu), of_typha);
    }
    Ok(slice)
}

/// Both ends in one thread, without sockets.
fn in_memory(job: &Job<'_>) -> Result<Option<WorkResult>, BenchError> {
    let context = job.context;
    let material = job.material()?;
    let assignment = Assignment::one_for_typha(&context.cores);
    let core = assignment.typha.get(..1).unwrap_or_default();
    // Go's ends need a socket between them.
    let peers = context.peers.iter().copied().filter(|peer| *peer != Implementation::Go);
    let mut workers = peers
        .map(|peer| Ok((PeerResult::new(peer), context.start(peer, End::Memory, &material, core)?)))
        .collect::<Result<Vec<_>, BenchError>>()?;
    if workers.is_empty() {
        context.note(format!("{} is for the peers ours and bare", job.title));
        return Ok(None);
    }
    let mut floor = FloorMeter::start(context, &material, &assignment)?;
    let mut pace = Pace::new(job.deadline, workers.len() + 1, context.rounds);
    let request = |length: Duration| Request::InMemory { millis: millis(length) };
    for (_, worker) in &mut workers {
        let _: InMemory = worker.ask(&request(pace.warm_up()), pace.warm_up())?;
    }
    while let Some(round) = pace.next_round() {
        for (_, (result, worker)) in in_order(&mut workers, round) {
            job.show(result.peer.name());
            let answer: InMemory = worker.ask(&request(pace.slice()), pace.slice())?;
            let micros = |nanos: u64| nanos as f64 / answer.completed.max(1) as f64 / 1e3;
            let ends = [micros(answer.typha_nanos), micros(answer.felix_nanos)];
            let figures = [Figure::TyphaInMemoryMicros, Figure::FelixInMemoryMicros];
            result.completed += answer.completed;
            result.slices.push(figures.into_iter().zip(ends).collect());
        }
        floor.measure(pace.slice() / 2)?;
    }
    let by = Figure::TyphaInMemoryMicros;
    let mut peers: Vec<_> = workers.into_iter().map(|(result, _)| result.summed_up()).collect();
    peers.iter_mut().for_each(|peer| peer.compare_to_floor(by, &floor.rounds()));
    Ok(Some(WorkResult::new(&job.title, job.mode, &assignment, Some(by), floor.result(), peers)))
}

/// The floor alone.
fn floor(job: &Job<'_>) -> Result<WorkResult, BenchError> {
    let assignment = Assignment::one_for_typha(&job.context.cores);
    let mut meter = FloorMeter::start(job.context, &job.material()?, &assignment)?;
    let mut pace = Pace::new(job.deadline, 1, job.context.rounds);
    while pace.next_round().is_some() {
        job.show("the floor");
        meter.measure(pace.slice())?;
    }
    Ok(WorkResult::new(&job.title, job.mode, &assignment, None, meter.result(), Vec::new()))
}

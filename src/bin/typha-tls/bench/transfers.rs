//! The works about connections that are there: idle, with data, and coming back.

use std::time::{Duration, Instant};

use super::contest::{Contest, Load, all_succeeded};
use super::context::Context;
use super::cores::Assignment;
use super::figures::{Figure, PeerResult, compare, peer_name};
use super::mode::{Mode, Tls};
use super::pace::{Pace, order};
use super::process::{BenchError, Worker};
use super::protocol::{Bulk, Direction, Handshakes, Held, Implementation, Request};
use super::report::WorkResult;

/// Idle connections that are held to see what one takes.
const HELD: usize = 1000;
/// What a worker may take to open them.
const HOLDING: Duration = Duration::from_secs(30);
/// For closed connections to be gone, and for opened ones to be idle.
const PAUSE: Duration = Duration::from_millis(150);
/// Handshakes before memory is looked at first: what is made once is made by then.
const FIRST_HANDSHAKES: Duration = Duration::from_millis(50);

/// Opens more connections, which stay.
pub(crate) fn hold(felix: &mut Worker, typha: &mut Worker, connections: usize) -> Result<(), BenchError> {
    let answer: Held = felix.ask(&Request::Hold { address: typha.address()?, connections }, HOLDING)?;
    all_succeeded(felix, typha.name(), answer.failed as u64, answer.first_failure.as_deref())
}

/// How many connections a worker may have open, by the limit of file descriptors.
pub(crate) fn most_connections() -> usize {
    /// Whatever else a process has open.
    const OTHERS: u64 = 100;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit.saturating_sub(OTHERS)).unwrap_or(usize::MAX))
}

/// Memory per idle connection, in a Typha that is new each time: one that has held connections before has memory to spare.
pub(crate) fn idle(
    context: &Context,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<Result<WorkResult, String>, BenchError> {
    // One Felix holds those of all peers.
    let held = HELD.min(most_connections() / context.peers.len().max(1));
    if held < 100 {
        return Ok(Err(format!("{title} needs a higher limit of file descriptors (ulimit -Hn)")));
    }
    let mut material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    let mut results: Vec<_> = context.peers.iter().copied().map(PeerResult::new).collect();
    // Memory does not depend on what else the machine does.
    let mut pace = Pace::new(deadline, results.len(), 1);
    while let Some(round) = pace.next_round() {
        let mut contest = Contest::start(context, &mode, &material, &assignment, Load::Neutral, None)?;
        contest.clients = contest.clients.min(4);
        contest.warm_up(context, title, &mut material, FIRST_HANDSHAKES)?;
        context.stop.pause(PAUSE)?;
        let mut before = Vec::new();
        for index in 0..results.len() {
            before.push(contest.typha(index)?.resident()?);
        }
        for index in order(results.len(), round) {
            let (peer, typha, felix) = contest.pair(index)?;
            context.progress.show(title, peer_name(peer));
            hold(felix.first(), typha, held)?;
        }
        context.stop.pause(PAUSE)?;
        for (index, (result, before)) in results.iter_mut().zip(before).enumerate() {
            let after = contest.typha(index)?.resident()?;
            let bytes = (after - before) / held as f64;
            result.completed += held as u64;
            result.add([(Figure::BytesPerIdleConnection, bytes)].into());
        }
    }
    let by = Figure::BytesPerIdleConnection;
    Ok(Ok(finish(title, mode, &assignment, by, results)))
}

/// Data over one connection, in both directions, on a core for each end.
pub(crate) fn bulk(
    context: &Context,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<WorkResult, BenchError> {
    let material = context.material(&mode)?;
    let assignment =
        Assignment::each(&context.cores, 1).unwrap_or_else(|| Assignment::shared(&context.cores));
    let mut contest = Contest::start(context, &mode, &material, &assignment, Load::Own, None)?;
    let mut results = contest.results();
    let mut pace = Pace::new(deadline, 2 * results.len(), context.rounds);
    let mut megabytes = |index, direction, length: Duration| {
        let (_, typha, felix) = contest.pair(index)?;
        let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Bulk { address: typha.address()?, direction, millis };
        let answer: Bulk = felix.first().ask(&request, length)?;
        Ok::<_, BenchError>(answer.bytes as f64 / answer.elapsed_nanos.max(1) as f64 * 1e3)
    };
    for index in 0..results.len() {
        megabytes(index, Direction::ToFelix, pace.warm_up() / 2)?;
        megabytes(index, Direction::ToTypha, pace.warm_up() / 2)?;
    }
    while let Some(round) = pace.next_round() {
        for index in order(results.len(), round) {
            let Some(result) = results.get_mut(index) else { continue };
            context.progress.show(title, peer_name(result.peer));
            let to_felix = megabytes(index, Direction::ToFelix, pace.slice())?;
            let to_typha = megabytes(index, Direction::ToTypha, pace.slice())?;
            result.add(
                [
                    (Figure::MegabytesPerSecondToFelix, to_felix),
                    (Figure::MegabytesPerSecondToTypha, to_typha),
                ]
                .into(),
            );
        }
    }
    Ok(finish(title, mode, &assignment, Figure::MegabytesPerSecondToFelix, results))
}

/// A Felix that would resume, against each Typha, in both versions of TLS.
pub(crate) fn resumption(
    context: &Context,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<WorkResult, BenchError> {
    let material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    let mut contest = Contest::start(context, &mode, &material, &assignment, Load::Neutral, None)?;
    let felix =
        |tls| context.felix(Implementation::Bare, &Mode { tls, ..mode }, &material, &assignment.felix, true);
    let mut felixes = [felix(Tls::V13)?, felix(Tls::V12)?];
    let mut results = contest.results();
    let mut pace = Pace::new(deadline, felixes.len() * results.len(), context.rounds);
    while let Some(round) = pace.next_round() {
        for index in order(results.len(), round) {
            let Some(result) = results.get_mut(index) else { continue };
            context.progress.show(title, peer_name(result.peer));
            let (mut completed, mut resumed) = (0, 0);
            for felix in &mut felixes {
                let clients = context.clients;
                let typha = contest.typha(index)?;
                let millis = u64::try_from(pace.slice().as_millis()).unwrap_or(u64::MAX);
                let address = typha.address()?;
                let request = Request::Handshakes { address, clients, millis, rides: false, fresh: None };
                let answer: Handshakes = felix.ask(&request, pace.slice())?;
                all_succeeded(felix, typha.name(), answer.failed, answer.first_failure.as_deref())?;
                completed += answer.completed;
                resumed += answer.resumed;
            }
            result.completed += completed;
            result.resumed += resumed;
            if completed > 0 {
                result.add([(Figure::ResumedShare, resumed as f64 / completed as f64)].into());
            }
        }
    }
    let peers = results.into_iter().map(PeerResult::finish).collect();
    Ok(WorkResult::new(title, mode, &assignment, None, None, peers))
}

fn finish(
    title: &str,
    mode: Mode,
    assignment: &Assignment,
    by: Figure,
    results: Vec<PeerResult>,
) -> WorkResult {
    let mut peers: Vec<_> = results.into_iter().map(PeerResult::finish).collect();
    compare(&mut peers, by);
    WorkResult::new(title, mode, assignment, Some(by), None, peers)
}

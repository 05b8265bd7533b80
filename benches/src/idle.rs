//! What connections that are there and idle take.

use std::time::{Duration, Instant};

use crate::contest::{Contest, Course, Load, all_succeeded, in_order};
use crate::context::Context;
use crate::cores::Assignment;
use crate::descriptors::most_connections;
use crate::figures::{Figure, PeerResult, peer_name};
use crate::mode::Mode;
use crate::pace::Pace;
use crate::process::{BenchError, Worker};
use crate::protocol::{Held, Request};
use crate::report::WorkResult;
use crate::works::Outcome;

/// Idle connections that are held to see what one takes.
const HELD: usize = 1000;
/// What a worker may take to open them.
const HOLDING: Duration = Duration::from_secs(30);
/// For closed connections to be gone, and for opened ones to be idle.
const PAUSE: Duration = Duration::from_millis(150);
/// Handshakes before memory is looked at first: what is made once is made by then.
const FIRST_HANDSHAKES: Duration = Duration::from_millis(50);
/// Clients that make them.
const FIRST_CLIENTS: usize = 4;

/// Opens more connections, which stay.
pub(crate) fn hold(felix: &mut Worker, typha: &mut Worker, connections: usize) -> Result<(), BenchError> {
    let answer: Held = felix.ask(&Request::Hold { address: typha.address()?, connections }, HOLDING)?;
    all_succeeded(felix, typha.name(), answer.failed as u64, answer.first_failure.as_deref())
}

/// Memory per idle connection, in a Typha that is new each time: one that has held connections before has memory to spare.
pub(crate) fn idle(
    context: &Context,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<Outcome, BenchError> {
    // One Felix holds those of all peers.
    let held = HELD.min(most_connections() / context.peers.len().max(1));
    if held < 100 {
        let why = format!("{title} needs a higher limit of file descriptors (ulimit -Hn)");
        return Ok(Outcome::LeftOut(why));
    }
    let mut material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    let mut results: Vec<_> = context.peers.iter().copied().map(PeerResult::new).collect();
    // Memory does not depend on what else the machine does: one round is a first impression.
    let rounds = if context.quick { 1 } else { context.rounds };
    let mut pace = Pace::new(deadline, results.len(), rounds);
    while let Some(round) = pace.next_round() {
        let clients = context.clients.min(FIRST_CLIENTS);
        let course = Course::new(context, mode, &assignment, Load::Neutral);
        let mut contest = Contest::start(Course { clients, usual_leaves: 0, ..course }, &material)?;
        contest.warm_up(title, &mut material, FIRST_HANDSHAKES)?;
        context.stop.pause(PAUSE)?;
        let mut before = Vec::new();
        for index in 0..results.len() {
            before.push(contest.typha(index)?.resident()?);
        }
        for (index, result) in in_order(&mut results, round) {
            let (_, typha, felix) = contest.pair(index)?;
            context.progress.show(title, peer_name(result.peer));
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
    let by = Some(Figure::BytesPerIdleConnection);
    let peers = results.into_iter().map(PeerResult::finish).collect();
    Ok(Outcome::Measured(WorkResult::new(title, mode, &assignment, by, None, peers)))
}

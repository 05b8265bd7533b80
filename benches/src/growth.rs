//! How the cost grows: with cores, with clients, with the bundle of CAs, with the share of clients that are known.

use std::time::{Duration, Instant};

use crate::contest::{Contest, Course, Load};
use crate::context::Context;
use crate::cores::Assignment;
use crate::descriptors::most_connections;
use crate::figures::{Figure, PeerResult, peer_name, throughput};
use crate::idle::hold;
use crate::mode::{Cache, Mode, name};
use crate::plan::Growth;
use crate::process::{BenchError, Worker};
use crate::protocol::Implementation;
use crate::report::{Curve, Point, WorkResult};
use crate::works::own_pairs;

/// Measures a curve until the deadline. Adds to the notes what is left out.
pub(crate) fn measure(
    context: &Context,
    growth: Growth,
    deadline: Instant,
    notes: &mut Vec<String>,
) -> Result<Curve, BenchError> {
    let (x_is, points) = match growth {
        Growth::Cores => ("cores of each end", cores(context, deadline)?),
        Growth::Clients => ("idle clients held", clients(context, deadline, notes)?),
        Growth::Bundle => ("CAs in the bundle", bundle(context, deadline)?),
        Growth::HitShare => ("% of clients seen before", hit_share(context, deadline)?),
    };
    Ok(Curve { curve: growth, x_is, points })
}

/// The deadline of each of so many points.
fn deadlines(deadline: Instant, count: usize) -> impl Iterator<Item = Instant> {
    let now = Instant::now();
    let each = deadline.saturating_duration_since(now) / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    (1..=count).map(move |number| now + each * u32::try_from(number).unwrap_or(u32::MAX))
}

/// 1, 2, 4 and so on, and all.
fn steps(most: usize) -> Vec<usize> {
    let doubled = std::iter::successors(Some(1_usize), |step| step.checked_mul(2));
    doubled.take_while(|step| *step < most).chain([most.max(1)]).collect()
}

/// Each implementation against itself; disjoint cores as long as there are enough.
fn cores(context: &Context, deadline: Instant) -> Result<Vec<Point>, BenchError> {
    let steps = steps(context.cores.len());
    let deadlines = deadlines(deadline, steps.len());
    let point = |(x, deadline)| {
        let shared = || Assignment::shared(context.cores.get(..x).unwrap_or(&context.cores));
        let assignment = Assignment::each(&context.cores, x).unwrap_or_else(shared);
        let title = format!("{} {x}", name(&Growth::Cores));
        Ok(Point { x, result: own_pairs(context, &title, Mode::STANDARD, &assignment, deadline)? })
    };
    steps.into_iter().zip(deadlines).map(point).collect()
}

/// Handshakes while so many other clients are connected and idle, and the memory of one of those.
fn clients(context: &Context, deadline: Instant, notes: &mut Vec<String>) -> Result<Vec<Point>, BenchError> {
    const STEPS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
    /// Connections of the measurement itself, and those that are not quite closed yet.
    const ALSO: usize = 300;
    const ENOUGH: usize = 100;
    let most = most_connections().saturating_sub(context.clients + ALSO);
    let (steps, left_out): (Vec<_>, Vec<_>) = STEPS.into_iter().partition(|step| *step <= most);
    if !left_out.is_empty() {
        notes.push(format!("clients: no more than {most} can be held with this limit of file descriptors"));
    }
    let mode = Mode::STANDARD;
    let mut material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    let mut contest = Contest::start(Course::new(context, mode, &assignment, Load::Neutral), &material)?;
    contest.introduce(&name(&Growth::Clients), &mut material)?;
    let mut holders = Vec::new();
    for index in 0..contest.results().len() {
        let felix = context.felix(Implementation::Bare, &mode, &material, &assignment.felix, false)?;
        context.stop.pause(Duration::from_millis(50))?;
        holders.push((felix, contest.typha(index)?.resident()?));
    }
    let (mut points, mut held) = (Vec::new(), 0);
    let deadlines = deadlines(deadline, steps.len());
    for (x, deadline) in steps.into_iter().zip(deadlines) {
        let title = format!("{} {x}", name(&Growth::Clients));
        let mut memory = Vec::new();
        for (index, (felix, before)) in holders.iter_mut().enumerate() {
            let (peer, typha, _) = contest.pair(index)?;
            context.progress.show(&title, &format!("connecting to {}", peer_name(peer)));
            memory.push(hold_more(context, felix, typha, x - held)? - *before);
        }
        held = x;
        // To connect them may have taken all of the time.
        let least =
            Duration::from_millis(150) * u32::try_from(holders.len() * (context.rounds + 1)).unwrap_or(1);
        let deadline = deadline.max(Instant::now() + least);
        let (peers, _) = contest.run(&title, &mut material, deadline)?;
        let with_memory = peers.into_iter().zip(memory).map(|(mut peer, memory)| {
            let memory = memory / x as f64;
            // Memory comes in pages, and from those that are left over; a few connections say nothing.
            if x >= ENOUGH {
                peer.slices.iter_mut().for_each(|slice| {
                    slice.insert(Figure::BytesPerIdleConnection, memory);
                });
            }
            contest.finish(peer)
        });
        let peers = with_memory.collect();
        points.push(point(x, &title, mode, &assignment, peers));
    }
    Ok(points)
}

/// Opens more connections, and returns the memory of Typha with them.
fn hold_more(
    context: &Context,
    felix: &mut Worker,
    typha: &mut Worker,
    more: usize,
) -> Result<f64, BenchError> {
    hold(felix, typha, more)?;
    context.stop.pause(Duration::from_millis(100))?;
    typha.resident()
}

/// New clients against Typhas with so many CAs, of which the last one is theirs.
fn bundle(context: &Context, deadline: Instant) -> Result<Vec<Point>, BenchError> {
    const STEPS: [usize; 5] = [1, 10, 50, 100, 150];
    let mode = Mode { cache: Cache::Cold, ..Mode::STANDARD };
    let mut material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    let mut points = Vec::new();
    for (x, deadline) in STEPS.into_iter().zip(deadlines(deadline, STEPS.len())) {
        let title = format!("{} {x}", name(&Growth::Bundle));
        let ca = material.bundle(x)?;
        let course = Course::new(context, mode, &assignment, Load::Neutral);
        let mut contest = Contest::start(Course { ca: Some(ca), ..course }, &material)?;
        let (peers, _) = contest.run(&title, &mut material, deadline)?;
        points.push(point(x, &title, mode, &assignment, peers));
    }
    Ok(points)
}

/// Clients of which some are new.
fn hit_share(context: &Context, deadline: Instant) -> Result<Vec<Point>, BenchError> {
    const STEPS: [usize; 5] = [0, 25, 50, 75, 100];
    let mode = Mode::STANDARD;
    let mut material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    let mut points = Vec::new();
    for (x, deadline) in STEPS.into_iter().zip(deadlines(deadline, STEPS.len())) {
        let title = format!("{} {x}", name(&Growth::HitShare));
        // New Typhas each time: those of the point before have seen too many.
        let course = Course::new(context, mode, &assignment, Load::Neutral);
        let fresh_share = 1.0 - x as f64 / 100.0;
        let mut contest = Contest::start(Course { fresh_share, ..course }, &material)?;
        let (peers, _) = contest.run(&title, &mut material, deadline)?;
        points.push(point(x, &title, mode, &assignment, peers));
    }
    Ok(points)
}

fn point(x: usize, title: &str, mode: Mode, assignment: &Assignment, peers: Vec<PeerResult>) -> Point {
    let by = throughput(&peers);
    Point { x, result: WorkResult::new(title, mode, assignment, Some(by), None, peers) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_double_up_to_all() {
        assert_eq!(steps(1), [1]);
        assert_eq!(steps(2), [1, 2]);
        assert_eq!(steps(4), [1, 2, 4]);
        assert_eq!(steps(6), [1, 2, 4, 6]);
        assert_eq!(steps(0), [1]);
    }
}

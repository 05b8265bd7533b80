//! How the cost grows: with cores, with clients, with the bundle of CAs, with the share of clients that Typha knows.

use std::time::{Duration, Instant};

use crate::arguments::Growth;
use crate::comparison::{Comparison, Conditions, Load};
use crate::context::Job;
use crate::machine::{Assignment, most_connections};
use crate::process::BenchError;
use crate::protocol::{End, Implementation};
use crate::report::{Curve, Figure, PeerResult, Point, throughput};
use crate::works::{hold, own_pairs};

/// Measures a curve until the deadline. Notes what is left out.
pub(crate) fn measure(job: &Job<'_>, growth: Growth) -> Result<Curve, BenchError> {
    let (x_is, points) = match growth {
        Growth::Cores => ("cores of each end", cores(job)?),
        Growth::Clients => ("idle clients held", clients(job)?),
        Growth::Bundle => ("CAs in the bundle", bundle(job)?),
        Growth::HitShare => ("% of clients that Typha knows", hit_share(job)?),
    };
    Ok(Curve { curve: growth, x_is, points })
}

/// A job for each step, all of which get the same time.
fn jobs<'a>(job: &Job<'a>, steps: &[usize]) -> impl Iterator<Item = (usize, Job<'a>)> {
    let now = Instant::now();
    let of = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let each = job.deadline.saturating_duration_since(now) / of(steps.len().max(1));
    steps.iter().zip(1..).map(move |(x, number)| {
        let title = format!("{} {x}", job.title);
        (*x, Job { title, deadline: now + each * of(number), ..job.clone() })
    })
}

/// 1, 2, 4 and so on, and all.
fn doubled(most: usize) -> Vec<usize> {
    let steps = std::iter::successors(Some(1_usize), |step| step.checked_mul(2));
    steps.take_while(|step| *step < most).chain([most.max(1)]).collect()
}

/// Each implementation against itself; each end on its own cores as long as there are enough.
fn cores(job: &Job<'_>) -> Result<Vec<Point>, BenchError> {
    let all = &job.context.cores;
    let point = |(x, job): (usize, Job<'_>)| {
        let shared = || Assignment::shared(all.get(..x).unwrap_or(all));
        Ok(Point { x, result: own_pairs(&job, Assignment::each(all, x).unwrap_or_else(shared))? })
    };
    jobs(job, &doubled(all.len())).map(point).collect()
}

/// Handshakes while so many other clients are connected and idle, and the memory of one of those.
fn clients(job: &Job<'_>) -> Result<Vec<Point>, BenchError> {
    const STEPS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
    /// Connections of the measurement itself, and those that are not quite closed yet.
    const ALSO: usize = 300;
    /// Memory comes in pages: fewer connections than this show nothing.
    const ENOUGH: usize = 100;
    let context = job.context;
    let most = most_connections().saturating_sub(context.clients + ALSO);
    let steps: Vec<_> = STEPS.into_iter().filter(|step| *step <= most).collect();
    if steps.len() < STEPS.len() {
        context.note(format!("clients: no more than {most} can be held with this limit of file descriptors"));
    }
    let assignment = Assignment::one_for_typha(&context.cores);
    let mut comparison = Comparison::start(job, Conditions::new(job, assignment.clone(), Load::Bare))?;
    comparison.introduce()?;
    let mut holders = Vec::new();
    for index in 0..context.peers.len() {
        let felix =
            context.start(Implementation::Bare, End::Felix, &comparison.material, &assignment.felix)?;
        context.stop.pause(Duration::from_millis(50))?;
        holders.push((felix, comparison.pair(index)?.1.resident()?));
    }
    let (mut points, mut held) = (Vec::new(), 0);
    for (x, mut job) in jobs(job, &steps) {
        let mut memory = Vec::new();
        for (index, (felix, before)) in holders.iter_mut().enumerate() {
            let (peer, typha, _) = comparison.pair(index)?;
            job.show(&format!("connecting to {}", peer.name()));
            hold(felix, typha, x - held)?;
            context.stop.pause(Duration::from_millis(100))?;
            memory.push((typha.resident()? - *before) / x as f64);
        }
        held = x;
        // Connecting them may have taken all of the time.
        let slices = u32::try_from(holders.len() * (context.rounds + 1)).unwrap_or(u32::MAX);
        job.deadline = job.deadline.max(Instant::now() + Duration::from_millis(150) * slices);
        comparison.job = job;
        let mut result = comparison.run(throughput)?;
        for (peer, memory) in result.peers.iter_mut().zip(memory).filter(|_| x >= ENOUGH) {
            for slice in &mut peer.slices {
                slice.insert(Figure::BytesPerIdleConnection, memory);
            }
        }
        result.peers = result.peers.into_iter().map(PeerResult::summed_up).collect();
        points.push(Point { x, result });
    }
    Ok(points)
}

/// New clients against Typhas with so many CAs, of which the last one is theirs.
fn bundle(job: &Job<'_>) -> Result<Vec<Point>, BenchError> {
    let point = |(x, job): (usize, Job<'_>)| {
        let conditions = Conditions::new(&job, Assignment::one_for_typha(&job.context.cores), Load::Bare);
        let result = Comparison::start(&job, Conditions { cas: x, ..conditions })?.run(throughput)?;
        Ok(Point { x, result })
    };
    jobs(job, &[1, 10, 50, 100, 150]).map(point).collect()
}

/// Clients of which some are new; against new Typhas for each point.
fn hit_share(job: &Job<'_>) -> Result<Vec<Point>, BenchError> {
    let point = |(x, job): (usize, Job<'_>)| {
        let conditions = Conditions::new(&job, Assignment::one_for_typha(&job.context.cores), Load::Bare);
        let fresh_share = 1.0 - x as f64 / 100.0;
        let result = Comparison::start(&job, Conditions { fresh_share, ..conditions })?.run(throughput)?;
        Ok(Point { x, result })
    };
    jobs(job, &[0, 25, 50, 75, 100]).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_double_up_to_all() {
        assert_eq!(doubled(1), [1]);
        assert_eq!(doubled(2), [1, 2]);
        assert_eq!(doubled(4), [1, 2, 4]);
        assert_eq!(doubled(6), [1, 2, 4, 6]);
        assert_eq!(doubled(0), [1]);
    }
}

//! Peers that are measured against each other, in slices that take turns: a machine that is busy with something else for a
//! while slows all of them alike.

mod leaves;

use std::time::{Duration, Instant};

pub(crate) use super::course::{Course, Load};
use super::crew::{Crew, Orders};
use super::figures::{Figure, PeerResult, Slice, peer_name, slice};
use super::floor::{FloorMeter, FloorResult};
use super::material::Material;
use super::pace::{Pace, order};
use super::process::{BenchError, Worker};
use super::protocol::{Chains, Handshakes, Implementation};
use super::watch::{self, Watch};

/// Typhas that are up, and what connects to them.
pub(crate) struct Contest<'a> {
    course: Course<'a>,
    typhas: Vec<(Implementation, Worker)>,
    /// One for all, or one for each.
    felixes: Vec<Crew>,
    floor: Option<FloorMeter>,
    /// What the Felixes were told to use, for each of a crew its own.
    usual: Vec<Chains>,
    /// Leaves that one of the Typhas has seen since it is up.
    seen: usize,
    /// The fastest so far: so many new leaves are needed.
    fastest: f64,
}

impl<'a> Contest<'a> {
    /// Starts the workers.
    pub(crate) fn start(course: Course<'a>, material: &Material) -> Result<Self, BenchError> {
        let felix = |peer| {
            let Course { context, mode, assignment, clients, .. } = &course;
            Crew::start(context, peer, mode, material, assignment, *clients)
        };
        let peers = course.context.peers.iter().copied();
        let felixes = match course.load {
            Load::Neutral => vec![felix(Implementation::Bare)?],
            Load::Own => peers.map(felix).collect::<Result<_, _>>()?,
        };
        let mut contest = Self {
            course,
            typhas: Vec::new(),
            felixes,
            floor: None,
            usual: Vec::new(),
            seen: 0,
            fastest: 0.0,
        };
        contest.start_typhas(material)?;
        Ok(contest)
    }

    /// Measures the primitives in each round, too.
    pub(crate) fn with_floor(mut self, material: &Material) -> Result<Self, BenchError> {
        let Course { context, mode, assignment, .. } = &self.course;
        self.floor = Some(FloorMeter::start(context, mode, material, assignment)?);
        Ok(self)
    }

    fn start_typhas(&mut self, material: &Material) -> Result<(), BenchError> {
        let Course { context, mode, assignment, ca, .. } = &self.course;
        // The old ones first: they would have memory and ports in common with the new ones.
        self.typhas.clear();
        let typha = |peer: &Implementation| {
            Ok((*peer, context.typha(*peer, mode, material, ca.as_deref(), assignment)?))
        };
        self.typhas = context.peers.iter().map(typha).collect::<Result<_, BenchError>>()?;
        self.seen = 0;
        Ok(())
    }

    pub(crate) fn results(&self) -> Vec<PeerResult> {
        self.typhas.iter().map(|(peer, _)| PeerResult::new(*peer)).collect()
    }

    pub(crate) fn typha(&mut self, index: usize) -> Result<&mut Worker, BenchError> {
        Ok(self.pair(index)?.1)
    }

    /// The Typha of a peer, and its Felixes.
    pub(crate) fn pair(
        &mut self,
        index: usize,
    ) -> Result<(Implementation, &mut Worker, &mut Crew), BenchError> {
        let felix = if self.felixes.len() == 1 { 0 } else { index };
        match (self.typhas.get_mut(index), self.felixes.get_mut(felix)) {
            (Some((peer, typha)), Some(felix)) => Ok((*peer, typha, felix)),
            _ => Err(BenchError::Unusable("there is no such peer".to_owned())),
        }
    }

    /// Rounds of slices until the deadline.
    pub(crate) fn run(
        &mut self,
        title: &str,
        material: &mut Material,
        deadline: Instant,
    ) -> Result<(Vec<PeerResult>, Option<FloorResult>), BenchError> {
        let context = self.course.context;
        let mut results = self.results();
        self.introduce(title, material)?;
        // The primitives take a part of a slice.
        let per_round = results.len() + usize::from(self.floor.is_some());
        let mut pace = Pace::new(deadline, per_round, context.rounds);
        self.warm_up(title, material, pace.warm_up())?;
        while let Some(round) = pace.next_round() {
            self.prepare(title, material, pace.slice())?;
            for (index, result) in in_order(&mut results, round) {
                context.progress.show(title, peer_name(result.peer));
                let slice = self.slice(index, pace.slice(), result)?;
                result.add(slice);
            }
            if let Some(floor) = &mut self.floor {
                floor.measure(pace.slice() / 4)?;
            }
        }
        let results = results.into_iter().map(|result| self.finish(result)).collect();
        Ok((results, self.floor.as_ref().and_then(FloorMeter::result)))
    }

    /// Sums up, judges what the limit was, and compares with the floor.
    pub(crate) fn finish(&self, result: PeerResult) -> PeerResult {
        let Course { assignment, clients, load, .. } = &self.course;
        let mut result = result.finish();
        result.limited_by = match load {
            Load::Neutral => watch::limit(&result, assignment, *clients),
            Load::Own => watch::limit_of_pair(&result),
        };
        if let Some(floor) = &self.floor {
            result.compare_to_floor(Figure::TyphaCpuMicros, &floor.rounds());
        }
        result
    }

    /// One slice of each that does not count.
    pub(crate) fn warm_up(
        &mut self,
        title: &str,
        material: &mut Material,
        length: Duration,
    ) -> Result<(), BenchError> {
        self.course.context.progress.show(title, "warming up");
        self.prepare(title, material, length)?;
        self.unmeasured(length)
    }

    fn unmeasured(&mut self, length: Duration) -> Result<(), BenchError> {
        for index in 0..self.typhas.len() {
            let (answer, _) = self.handshakes(index, length)?;
            self.note_speed(&answer);
        }
        Ok(())
    }

    /// One slice of handshakes; the counts are added to the result.
    pub(crate) fn slice(
        &mut self,
        index: usize,
        length: Duration,
        result: &mut PeerResult,
    ) -> Result<Slice, BenchError> {
        let (answer, slice) = self.handshakes(index, length)?;
        self.note_speed(&answer);
        let (_, typha, felix) = self.pair(index)?;
        result.completed += answer.completed;
        result.resumed += answer.resumed;
        result.unseen += answer.fresh;
        match (&result.negotiated, &answer.negotiated) {
            (Some(before), Some(now)) if before != now => {
                let first = format!("the handshakes are not alike: {before}, and then {now}");
                return Err(failed(felix.first(), typha.name(), 1, first));
            }
            (_, Some(now)) => result.negotiated = Some(now.clone()),
            _ => {}
        }
        Ok(slice)
    }

    fn note_speed(&mut self, answer: &Handshakes) {
        let rate = answer.completed as f64 / answer.elapsed_nanos.max(1) as f64 * 1e9;
        self.fastest = self.fastest.max(rate);
    }

    /// Handshakes, of which none failed.
    fn handshakes(&mut self, index: usize, length: Duration) -> Result<(Handshakes, Slice), BenchError> {
        let Course { clients, load, ref assignment, .. } = self.course;
        let assignment = assignment.clone();
        let (peer, typha, felix) = self.pair(index)?;
        // A Felix has something to say first, and says it in the way that its implementation has for it.
        let rides = load == Load::Own && peer == Implementation::Ours;
        let address = typha.address()?;
        let before = typha.usage()?;
        let watch = Watch::begin(&assignment, felix.len())?;
        let mut answer = felix.handshakes(&address, Orders { clients, length, rides })?;
        let watched = watch.end()?;
        let after = typha.usage()?;
        let typha_nanos = after.cpu_nanos.saturating_sub(before.cpu_nanos);
        let slice = slice(&answer, &before, &after, typha.threads());
        let felix = felix.first();
        all_succeeded(felix, typha.name(), answer.failed, answer.first_failure.as_deref())?;
        all_succeeded(typha, felix.name(), after.failed.saturating_sub(before.failed), None)?;
        answer.resumed = answer.resumed.max(after.resumed.saturating_sub(before.resumed));
        let Some(mut slice) = slice else {
            return Err(failed(
                felix,
                typha.name(),
                0,
                "no handshake was completed within a slice".to_owned(),
            ));
        };
        watched.add_to(&mut slice, typha_nanos, answer.cpu_nanos);
        Ok((answer, slice))
    }
}

/// The results in the order of a round, with their places.
pub(crate) fn in_order<T>(results: &mut [T], round: usize) -> impl Iterator<Item = (usize, &mut T)> {
    let mut all: Vec<_> = results.iter_mut().map(Some).collect();
    let order: Vec<_> = order(all.len(), round).collect();
    order.into_iter().filter_map(move |index| Some((index, all.get_mut(index)?.take()?)))
}

/// What fails is an error of the run: figures without it would be of another work.
pub(crate) fn all_succeeded(
    worker: &Worker,
    other: &str,
    count: u64,
    first: Option<&str>,
) -> Result<(), BenchError> {
    if count == 0 {
        return Ok(());
    }
    Err(failed(worker, other, count, first.unwrap_or("not known").to_owned()))
}

fn failed(worker: &Worker, other: &str, failed: u64, first: String) -> BenchError {
    let (worker, during) = (worker.name().to_owned(), format!("connections with {other}"));
    BenchError::Failed { worker, during, failed, first }
}

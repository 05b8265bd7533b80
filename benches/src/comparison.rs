//! The comparison: Typhas of all implementations are up at the same time, and are measured in slices that take turns.
//! When something else keeps the machine busy for a while, it slows all of them down alike.

use std::time::Duration;

use crate::arguments::Cache;
use crate::context::{Felixes, Job};
use crate::floor::FloorMeter;
use crate::machine::Assignment;
use crate::material::Material;
use crate::pace::{Pace, in_order};
use crate::process::{BenchError, Worker};
use crate::protocol::{End, Fresh, Handshakes, Implementation};
use crate::report::{Figure, PeerResult, Slice, WorkResult, handshake_slice};

/// Speed of the first slice, in handshakes/s, for the number of new leaves that it needs.
const FIRST_SPEED: f64 = 4_000.0;
/// A slice needs new leaves for the fastest one before it, and some to spare.
const SPARE_LEAVES: f64 = 1.3;
/// A Typha gets no more leaves than this. Ours remembers 16,384 at most; when it is full, a new one costs it less.
const MOST_LEAVES: usize = 12_000;
/// How long one Typha may take to get to know all usual leaves.
const INTRODUCTION: Duration = Duration::from_secs(60);

/// Which Felix makes the load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Load {
    /// The bare one, for all Typhas.
    Bare,
    /// Each implementation's own.
    Own,
}

/// What is the same for all implementations.
pub(crate) struct Conditions {
    pub(crate) assignment: Assignment,
    pub(crate) load: Load,
    pub(crate) clients: usize,
    /// CAs in Typha's bundle.
    pub(crate) cas: usize,
    /// The share of clients that no Typha knows.
    pub(crate) fresh_share: f64,
    /// Leaves of the other clients, which each Typha gets to know before it is measured. None: Felix has one leaf.
    pub(crate) usual_leaves: usize,
}

impl Conditions {
    pub(crate) fn new(job: &Job<'_>, assignment: Assignment, load: Load) -> Self {
        let cold = job.mode.cache == Cache::Cold;
        // A Felix has one leaf; the bare load stands for many of them.
        let usual_leaves = if load == Load::Bare && !cold { job.context.usual_leaves } else { 0 };
        let (clients, fresh_share) = (job.context.clients, if cold { 1.0 } else { 0.0 });
        Self { assignment, load, clients, cas: 1, fresh_share, usual_leaves }
    }
}

/// Typhas that are up, and their Felixes.
pub(crate) struct Comparison<'a> {
    pub(crate) job: Job<'a>,
    pub(crate) material: Material,
    conditions: Conditions,
    typhas: Vec<(Implementation, Worker)>,
    /// One for all Typhas, or one for each.
    felixes: Vec<Felixes>,
    floor: Option<FloorMeter>,
    /// Leaves that one of the Typhas knows.
    seen: usize,
    /// The highest speed so far, in handshakes/s.
    fastest: f64,
}

impl<'a> Comparison<'a> {
    /// Starts the workers.
    pub(crate) fn start(job: &Job<'a>, conditions: Conditions) -> Result<Self, BenchError> {
        let mut material = job.material()?;
        material.set_bundle(conditions.cas)?;
        let Conditions { assignment, clients, load, .. } = &conditions;
        let felixes = |peer| Felixes::start(job.context, peer, &material, assignment, *clients);
        let felixes = match load {
            Load::Bare => vec![felixes(Implementation::Bare)?],
            Load::Own => job.context.peers.iter().map(|peer| felixes(*peer)).collect::<Result<_, _>>()?,
        };
        let (job, typhas) = (job.clone(), Vec::new());
        let mut comparison =
            Self { job, material, conditions, typhas, felixes, floor: None, seen: 0, fastest: 0.0 };
        comparison.start_typhas()?;
        Ok(comparison)
    }

    /// Measures the floor in each round, too.
    pub(crate) fn with_floor(mut self) -> Result<Self, BenchError> {
        let assignment = &self.conditions.assignment;
        self.floor = Some(FloorMeter::start(self.job.context, &self.material, assignment)?);
        Ok(self)
    }

    fn start_typhas(&mut self) -> Result<(), BenchError> {
        // Ends the old ones first: they would share memory and ports with the new ones.
        self.typhas.clear();
        let (context, cores) = (self.job.context, &self.conditions.assignment.typha);
        let typha =
            |peer: &Implementation| Ok((*peer, context.start(*peer, End::Typha, &self.material, cores)?));
        self.typhas = context.peers.iter().map(typha).collect::<Result<_, BenchError>>()?;
        self.seen = 0;
        Ok(())
    }

    /// An empty result for each implementation.
    pub(crate) fn results(&self) -> Vec<PeerResult> {
        self.typhas.iter().map(|(peer, _)| PeerResult::new(*peer)).collect()
    }

    /// The result of the work, with the ratios by a figure.
    pub(crate) fn result(&self, by: Figure, peers: Vec<PeerResult>) -> WorkResult {
        let floor = self.floor.as_ref().and_then(FloorMeter::result);
        WorkResult::new(&self.job.title, self.job.mode, &self.conditions.assignment, Some(by), floor, peers)
    }

    /// The Typha of an implementation, and its Felixes.
    pub(crate) fn pair(
        &mut self,
        index: usize,
    ) -> Result<(Implementation, &mut Worker, &mut Felixes), BenchError> {
        let felix = if self.felixes.len() == 1 { 0 } else { index };
        match (self.typhas.get_mut(index), self.felixes.get_mut(felix)) {
            (Some((peer, typha)), Some(felixes)) => Ok((*peer, typha, felixes)),
            _ => Err(BenchError::Unusable("there is no such implementation".to_owned())),
        }
    }

    /// Rounds of slices until the deadline. The implementations are compared by the figure that `by` chooses.
    pub(crate) fn run(&mut self, by: impl FnOnce(&[PeerResult]) -> Figure) -> Result<WorkResult, BenchError> {
        let mut results = self.results();
        self.introduce()?;
        // The floor takes a part of a slice.
        let per_round = results.len() + usize::from(self.floor.is_some());
        let mut pace = Pace::new(self.job.deadline, per_round, self.job.context.rounds);
        self.warm_up(pace.warm_up())?;
        while let Some(round) = pace.next_round() {
            self.prepare(pace.slice())?;
            for (index, result) in in_order(&mut results, round) {
                self.job.show(result.peer.name());
                self.slice(index, pace.slice(), result)?;
            }
            if let Some(floor) = &mut self.floor {
                floor.measure(pace.slice() / 4)?;
            }
        }
        let peers: Vec<_> = results.into_iter().map(|result| self.summed_up(result)).collect();
        Ok(self.result(by(&peers), peers))
    }

    /// Makes the figures, and compares with the floor.
    fn summed_up(&self, result: PeerResult) -> PeerResult {
        let mut result = result.summed_up();
        if let Some(floor) = &self.floor {
            result.compare_to_floor(Figure::TyphaCpuMicros, &floor.rounds());
        }
        result
    }

    /// One slice of each that does not count.
    pub(crate) fn warm_up(&mut self, length: Duration) -> Result<(), BenchError> {
        self.job.show("warming up");
        self.prepare(length)?;
        self.unmeasured(length)
    }

    fn unmeasured(&mut self, length: Duration) -> Result<(), BenchError> {
        (0..self.typhas.len()).try_for_each(|index| self.handshakes(index, length).map(drop))
    }

    /// One slice of handshakes, added to the result.
    fn slice(&mut self, index: usize, length: Duration, result: &mut PeerResult) -> Result<(), BenchError> {
        let (answer, slice) = self.handshakes(index, length)?;
        result.slices.push(slice);
        result.completed += answer.completed;
        result.resumed += answer.resumed;
        result.unseen += answer.fresh;
        if let Some((before, now)) = result.negotiated.as_ref().zip(answer.negotiated.as_ref())
            && before != now
        {
            let (_, typha, felixes) = self.pair(index)?;
            let first = format!("the handshakes differ: {before}, and then {now}");
            return Err(felixes.first.failed(&typha.name, 1, &first));
        }
        result.negotiated = answer.negotiated.or(result.negotiated.take());
        Ok(())
    }

    /// Handshakes with one Typha, of which none failed.
    fn handshakes(&mut self, index: usize, length: Duration) -> Result<(Handshakes, Slice), BenchError> {
        let Conditions { clients, load, ref assignment, .. } = self.conditions;
        let cores = assignment.typha.len();
        let (peer, typha, felixes) = self.pair(index)?;
        // In production, Felix has something to send first, and sends it as its implementation can.
        let rides = load == Load::Own && peer == Implementation::Ours;
        let address = typha.address()?;
        let before = typha.usage()?;
        let mut answer = felixes.handshakes(&address, clients, length, rides)?;
        let (felix, usage) = (&felixes.first, typha.usage()?);
        felix.all_succeeded(&typha.name, answer.failed, answer.first_failure.as_deref())?;
        typha.all_succeeded(&felix.name, usage.failed.saturating_sub(before.failed), None)?;
        answer.resumed = answer.resumed.max(usage.resumed.saturating_sub(before.resumed));
        let Some(slice) = handshake_slice(&answer, usage.cpu.since(before.cpu), cores) else {
            return Err(felix.failed(&typha.name, 0, "no handshake was completed within a slice"));
        };
        let speed = slice.get(&Figure::HandshakesPerSecond).copied().unwrap_or_default();
        self.fastest = self.fastest.max(speed);
        Ok((answer, slice))
    }

    /// Lets each Typha get to know the usual leaves, which the Felixes use from now on.
    pub(crate) fn introduce(&mut self) -> Result<(), BenchError> {
        if self.conditions.usual_leaves == 0 || self.seen > 0 {
            return Ok(());
        }
        self.job.show("getting to know the clients");
        let felixes = self.felixes_of_one();
        let each = self.conditions.usual_leaves.div_ceil(felixes);
        self.material.make_usual(felixes, each)?;
        let once = |chains: &_| Fresh { chains: Clone::clone(chains), share: 1.0 };
        let once: Vec<_> = self.material.usual.iter().map(once).collect();
        self.set_leaves(&once)?;
        for index in 0..self.typhas.len() {
            let (answer, _) = self.handshakes(index, INTRODUCTION)?;
            if answer.fresh != (each * felixes) as u64 {
                let (_, typha, felixes) = self.pair(index)?;
                let first = format!("only {} of the leaves were used", answer.fresh);
                return Err(felixes.first.failed(&typha.name, 0, &first));
            }
        }
        self.fastest = 0.0;
        self.seen = each * felixes;
        self.set_leaves(&[])
    }

    /// Makes the leaves for a round, which no Typha knows. Replaces the Typhas before they know too many.
    fn prepare(&mut self, length: Duration) -> Result<(), BenchError> {
        if self.conditions.fresh_share <= 0.0 {
            return Ok(());
        }
        let mut wanted = self.fresh_leaves(length);
        if self.seen > 0 && self.seen + wanted > MOST_LEAVES {
            self.start_typhas()?;
            self.introduce()?;
            let warm_up = length / 4;
            self.set_fresh(self.fresh_leaves(warm_up))?;
            self.unmeasured(warm_up)?;
            wanted = self.fresh_leaves(length).min(MOST_LEAVES - self.seen.min(MOST_LEAVES));
        }
        self.set_fresh(wanted)
    }

    fn fresh_leaves(&self, length: Duration) -> usize {
        let speed = if self.fastest > 0.0 { self.fastest * SPARE_LEAVES } else { FIRST_SPEED };
        let wanted = speed * length.as_secs_f64() * self.conditions.fresh_share;
        (wanted.ceil() as usize).clamp(self.conditions.clients, MOST_LEAVES - self.conditions.usual_leaves)
    }

    fn set_fresh(&mut self, leaves: usize) -> Result<(), BenchError> {
        let felixes = self.felixes_of_one();
        let fresh =
            self.material.fresh(felixes, leaves.div_ceil(felixes).max(1), self.conditions.fresh_share)?;
        self.seen += leaves;
        self.set_leaves(&fresh)
    }

    fn set_leaves(&mut self, fresh: &[Fresh]) -> Result<(), BenchError> {
        let usual = &self.material.usual;
        self.felixes.iter_mut().try_for_each(|felixes| felixes.set_leaves(usual, fresh))
    }

    fn felixes_of_one(&self) -> usize {
        self.felixes.first().map_or(1, Felixes::len)
    }
}

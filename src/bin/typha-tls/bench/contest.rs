//! Peers that are measured against each other, in slices that take turns: a machine that is busy with something else for a
//! while slows all of them alike.

use std::time::{Duration, Instant};

use super::context::Context;
use super::cores::Assignment;
use super::crew::{Crew, Orders};
use super::figures::{Figure, PeerResult, Slice, peer_name, slice};
use super::floor::{FloorMeter, FloorResult};
use super::material::Material;
use super::mode::Mode;
use super::pace::{Pace, order};
use super::process::{BenchError, Worker};
use super::protocol::{Fresh, Implementation};

/// Who makes the load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Load {
    /// One Felix for all Typhas, the bare one.
    Neutral,
    /// Each peer's own Felix.
    Own,
}

/// Typhas that are up, and what connects to them.
pub(crate) struct Contest {
    typhas: Vec<(Implementation, Worker)>,
    /// One for all, or one for each.
    felixes: Vec<Crew>,
    floor: Option<FloorMeter>,
    /// How the Felixes are to go about it.
    pub(crate) clients: usize,
    rides: bool,
    /// The share of clients that no Typha has seen.
    pub(crate) fresh_share: f64,
    /// The fastest so far: so many new leaves are needed.
    fastest: f64,
}

/// New leaves for the first slice, of which the speed is not known.
const FIRST_LEAVES: f64 = 500.0;
/// Leaves beyond those of the fastest slice.
const SPARE_LEAVES: f64 = 1.3;

impl Contest {
    /// Starts the workers. `ca` replaces Typha's bundle.
    pub(crate) fn start(
        context: &Context,
        mode: &Mode,
        material: &Material,
        assignment: &Assignment,
        load: Load,
        ca: Option<&str>,
    ) -> Result<Self, BenchError> {
        let typha =
            |peer: &Implementation| Ok((*peer, context.typha(*peer, mode, material, ca, assignment)?));
        let typhas = context.peers.iter().map(typha).collect::<Result<_, BenchError>>()?;
        let felix = |peer| Crew::start(context, peer, mode, material, assignment);
        let felixes = match load {
            Load::Neutral => vec![felix(Implementation::Bare)?],
            Load::Own => context.peers.iter().copied().map(felix).collect::<Result<_, _>>()?,
        };
        let (clients, fresh_share) = (context.clients, mode.fresh_share());
        // A Felix has something to say first, and says it in the way that its implementation has for it.
        let rides = load == Load::Own;
        Ok(Self { typhas, felixes, floor: None, clients, rides, fresh_share, fastest: 0.0 })
    }

    /// Measures the primitives in each round, too.
    pub(crate) fn with_floor(
        mut self,
        context: &Context,
        mode: &Mode,
        material: &Material,
        assignment: &Assignment,
    ) -> Result<Self, BenchError> {
        self.floor = Some(FloorMeter::start(context, mode, material, assignment)?);
        Ok(self)
    }

    pub(crate) fn results(&self) -> Vec<PeerResult> {
        self.typhas.iter().map(|(peer, _)| PeerResult::new(*peer)).collect()
    }

    pub(crate) fn typha(&mut self, index: usize) -> Result<&mut Worker, BenchError> {
        let typha = self.typhas.get_mut(index).map(|(_, typha)| typha);
        typha.ok_or_else(|| BenchError::Unusable("there is no such peer".to_owned()))
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
        context: &Context,
        work: &str,
        material: &mut Material,
        deadline: Instant,
    ) -> Result<(Vec<PeerResult>, Option<FloorResult>), BenchError> {
        let mut results = self.results();
        // The primitives take a part of a slice.
        let per_round = results.len() + usize::from(self.floor.is_some()).div_ceil(2);
        let mut pace = Pace::new(deadline, per_round, context.rounds);
        self.warm_up(context, work, material, pace.warm_up())?;
        while let Some(round) = pace.next_round() {
            let fresh = self.fresh(material, pace.slice())?;
            for index in order(results.len(), round) {
                let Some(result) = results.get_mut(index) else { continue };
                context.progress.show(work, peer_name(result.peer));
                let slice = self.slice(index, pace.slice(), &fresh, result)?;
                result.add(slice);
            }
            if let Some(floor) = &mut self.floor {
                floor.measure(pace.slice() / 4)?;
            }
        }
        let floor = self.floor.as_ref().and_then(FloorMeter::result);
        let mut results: Vec<_> = results.into_iter().map(PeerResult::finish).collect();
        if let Some(floor) = &floor {
            for result in &mut results {
                result.ratio_to_floor =
                    result.median(Figure::TyphaCpuMicros).map(|cpu| cpu / floor.total_micros);
            }
        }
        Ok((results, floor))
    }

    /// One slice of each that does not count.
    pub(crate) fn warm_up(
        &mut self,
        context: &Context,
        work: &str,
        material: &mut Material,
        length: Duration,
    ) -> Result<(), BenchError> {
        context.progress.show(work, "warming up");
        let fresh = self.fresh(material, length)?;
        let mut thrown_away = self.results();
        for (index, result) in thrown_away.iter_mut().enumerate() {
            self.slice(index, length, &fresh, result)?;
        }
        Ok(())
    }

    /// The leaves for a round: each is new to each Typha.
    fn fresh(&self, material: &mut Material, length: Duration) -> Result<Vec<Fresh>, BenchError> {
        if self.fresh_share <= 0.0 {
            return Ok(Vec::new());
        }
        let expected =
            (self.fastest * length.as_secs_f64() * SPARE_LEAVES).max(FIRST_LEAVES) * self.fresh_share;
        let felixes = self.felixes.first().map_or(1, Crew::len);
        material.fresh(felixes, (expected / felixes as f64).ceil() as usize, self.fresh_share)
    }

    /// One slice of handshakes; the counts are added to the result.
    pub(crate) fn slice(
        &mut self,
        index: usize,
        length: Duration,
        fresh: &[Fresh],
        result: &mut PeerResult,
    ) -> Result<Slice, BenchError> {
        let (clients, may_ride) = (self.clients, self.rides);
        let (peer, typha, felix) = self.pair(index)?;
        let rides = may_ride && peer == Implementation::Ours;
        let (address, orders) = (typha.address()?, Orders { clients, length, rides, fresh });
        let before = typha.usage()?;
        let answer = felix.handshakes(&address, orders)?;
        let after = typha.usage()?;
        let felix = felix.first();
        all_succeeded(felix, typha.name(), answer.failed, answer.first_failure.as_deref())?;
        all_succeeded(typha, felix.name(), after.failed - before.failed.min(after.failed), None)?;
        result.completed += answer.completed;
        result.resumed += answer.resumed.max(after.resumed - before.resumed.min(after.resumed));
        let Some(slice) = slice(&answer, &before, &after, typha.threads()) else {
            return Err(none_completed(felix, typha));
        };
        let rate = slice.get(&Figure::HandshakesPerSecond).copied().unwrap_or_default();
        self.fastest = self.fastest.max(rate);
        Ok(slice)
    }
}

/// What fails is an error of the run: figures without it would be of another work.
pub(crate) fn all_succeeded(
    worker: &Worker,
    other: &str,
    failed: u64,
    first: Option<&str>,
) -> Result<(), BenchError> {
    if failed == 0 {
        return Ok(());
    }
    Err(BenchError::Failed {
        worker: worker.name().to_owned(),
        during: format!("connections with {other}"),
        failed,
        first: first.unwrap_or("not known").to_owned(),
    })
}

fn none_completed(felix: &Worker, typha: &Worker) -> BenchError {
    BenchError::Failed {
        worker: felix.name().to_owned(),
        during: format!("connections with {}", typha.name()),
        failed: 0,
        first: "no handshake was completed within a slice".to_owned(),
    }
}

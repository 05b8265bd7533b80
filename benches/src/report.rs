//! The results of a run: figures of slices, their medians, and how the implementations compare.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::arguments::{Growth, Mode};
use crate::machine::{Assignment, Machine};
use crate::protocol::{CpuTime, Handshakes, Implementation, Negotiated};

/// A Typha that uses less than this share of its cores could do more handshakes/s.
const BUSY: f64 = 0.93;

/// A run; its serialization is what `--format json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) peers: Vec<Implementation>,
    /// Handshakes that were in progress at a time.
    pub(crate) clients: usize,
    /// What was asked for, and what the run took.
    pub(crate) seconds_asked: f64,
    pub(crate) seconds_taken: f64,
    pub(crate) works: Vec<WorkResult>,
    pub(crate) growth: Vec<Curve>,
    pub(crate) machine: Machine,
    /// Of the implementations, by peer.
    pub(crate) versions: BTreeMap<&'static str, String>,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
}

/// How the cost grows with something.
#[derive(Debug, Serialize)]
pub(crate) struct Curve {
    pub(crate) curve: Growth,
    /// What `x` counts.
    pub(crate) x_is: &'static str,
    pub(crate) points: Vec<Point>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) x: usize,
    pub(crate) result: WorkResult,
}

/// The result of one work.
#[derive(Debug, Serialize)]
pub(crate) struct WorkResult {
    pub(crate) work: String,
    pub(crate) mode: Mode,
    pub(crate) typha_cores: usize,
    pub(crate) felix_cores: usize,
    /// Whether the ends have no core in common.
    pub(crate) disjoint_cores: bool,
    /// The figure of the ratios between the implementations, which are taken in each round. CPU time is inverted, so
    /// that 2 stands for half of the time; other figures are divided as they are.
    pub(crate) compared_by: Option<Figure>,
    pub(crate) floor: Option<FloorResult>,
    pub(crate) peers: Vec<PeerResult>,
}

impl WorkResult {
    /// Compares the implementations with each other.
    pub(crate) fn new(
        work: &str,
        mode: Mode,
        assignment: &Assignment,
        compared_by: Option<Figure>,
        floor: Option<FloorResult>,
        mut peers: Vec<PeerResult>,
    ) -> Self {
        if let Some(by) = compared_by {
            compare(&mut peers, by);
        }
        Self {
            work: work.to_owned(),
            mode,
            typha_cores: assignment.typha.len(),
            felix_cores: assignment.felix.len(),
            disjoint_cores: assignment.disjoint,
            compared_by,
            floor,
            peers,
        }
    }

    pub(crate) fn peer(&self, peer: Implementation) -> Option<&PeerResult> {
        self.peers.iter().find(|result| result.peer == peer)
    }

    /// Whether its handshakes/s are only a lower bound, since its Typha was not busy all the time.
    pub(crate) fn is_lower_bound(&self, peer: &PeerResult) -> bool {
        self.compared_by == Some(Figure::TyphaCpuMicros) && !peer.is_busy()
    }

    /// The mark behind its handshakes/s.
    pub(crate) fn mark(&self, peer: &PeerResult) -> &'static str {
        if self.is_lower_bound(peer) { " *" } else { "" }
    }
}

/// The operations that a handshake cannot do without.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FloorResult {
    /// Typha's part of the key exchange.
    pub(crate) key_exchange_micros: Spread,
    /// One signature.
    pub(crate) sign_micros: Spread,
    /// The check of one signature.
    pub(crate) verify_micros: Spread,
    /// How many signatures Typha has to check.
    pub(crate) verifies: u32,
    /// All that Typha has to do.
    pub(crate) total_micros: f64,
}

/// Something that is measured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    HandshakesPerSecond,
    /// New connections for each second of CPU time of the proxy.
    ConnectionsPerCpuSecond,
    /// CPU time per handshake, also of its two parts.
    TyphaCpuMicros,
    TyphaUserMicros,
    TyphaSystemMicros,
    FelixCpuMicros,
    FelixUserMicros,
    FelixSystemMicros,
    P50Micros,
    P99Micros,
    /// p50 less that of a connection without proxy in the same round.
    AddedP50Micros,
    /// Share of its cores that Typha used.
    TyphaLoad,
    MegabytesPerSecondToFelix,
    /// CPU time per megabyte in that direction: Typha sends, Felix receives.
    TyphaCpuMicrosPerMegabyteToFelix,
    TyphaUserMicrosPerMegabyteToFelix,
    TyphaSystemMicrosPerMegabyteToFelix,
    FelixCpuMicrosPerMegabyteToFelix,
    FelixUserMicrosPerMegabyteToFelix,
    FelixSystemMicrosPerMegabyteToFelix,
    MegabytesPerSecondToTypha,
    /// The other way round.
    TyphaCpuMicrosPerMegabyteToTypha,
    TyphaUserMicrosPerMegabyteToTypha,
    TyphaSystemMicrosPerMegabyteToTypha,
    FelixCpuMicrosPerMegabyteToTypha,
    FelixUserMicrosPerMegabyteToTypha,
    FelixSystemMicrosPerMegabyteToTypha,
    BytesPerIdleConnection,
    TyphaInMemoryMicros,
    FelixInMemoryMicros,
}

impl Figure {
    /// Of CPU time: the figures of its user and system time.
    pub(crate) fn user_and_system(self) -> Option<[Self; 2]> {
        Some(match self {
            Self::TyphaCpuMicros => [Self::TyphaUserMicros, Self::TyphaSystemMicros],
            Self::FelixCpuMicros => [Self::FelixUserMicros, Self::FelixSystemMicros],
            Self::TyphaCpuMicrosPerMegabyteToFelix => {
                [Self::TyphaUserMicrosPerMegabyteToFelix, Self::TyphaSystemMicrosPerMegabyteToFelix]
            }
            Self::FelixCpuMicrosPerMegabyteToFelix => {
                [Self::FelixUserMicrosPerMegabyteToFelix, Self::FelixSystemMicrosPerMegabyteToFelix]
            }
            Self::TyphaCpuMicrosPerMegabyteToTypha => {
                [Self::TyphaUserMicrosPerMegabyteToTypha, Self::TyphaSystemMicrosPerMegabyteToTypha]
            }
            Self::FelixCpuMicrosPerMegabyteToTypha => {
                [Self::FelixUserMicrosPerMegabyteToTypha, Self::FelixSystemMicrosPerMegabyteToTypha]
            }
            _ => return None,
        })
    }
}

/// The figures of one slice.
pub(crate) type Slice = BTreeMap<Figure, f64>;

/// Adds the CPU time that one of so many units took, and its two parts.
pub(crate) fn add_cpu(slice: &mut Slice, figure: Figure, cpu: CpuTime, units: f64) {
    let micros = |nanos: u64| nanos as f64 / 1e3 / units;
    slice.insert(figure, micros(cpu.total_nanos()));
    for (part, nanos) in
        figure.user_and_system().into_iter().flatten().zip([cpu.user_nanos, cpu.system_nanos])
    {
        slice.insert(part, micros(nanos));
    }
}

/// The figures of a slice of handshakes. None if there was no handshake.
pub(crate) fn handshake_slice(answer: &Handshakes, typha_cpu: CpuTime, typha_cores: usize) -> Option<Slice> {
    let (completed, elapsed) = (answer.completed as f64, answer.elapsed_nanos as f64);
    if answer.completed == 0 || answer.elapsed_nanos == 0 {
        return None;
    }
    let mut slice = round_times(answer.rounds_nanos.clone())?;
    slice.extend([
        (Figure::HandshakesPerSecond, completed / elapsed * 1e9),
        (Figure::TyphaLoad, typha_cpu.total_nanos() as f64 / elapsed / typha_cores as f64),
    ]);
    add_cpu(&mut slice, Figure::TyphaCpuMicros, typha_cpu, completed);
    add_cpu(&mut slice, Figure::FelixCpuMicros, answer.cpu, completed);
    Some(slice)
}

/// The times of rounds of clients. None if there was no round.
pub(crate) fn round_times(mut nanos: Vec<u64>) -> Option<Slice> {
    nanos.sort_unstable();
    let micros = |percent| Some(percentile(&nanos, percent)? as f64 / 1e3);
    Some([(Figure::P50Micros, micros(50)?), (Figure::P99Micros, micros(99)?)].into())
}

/// The smallest value such that `percent` of all values are not greater.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// One figure over all slices.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = |index: usize| values.get(index).copied();
        let median = f64::midpoint(middle(values.len().checked_sub(1)? / 2)?, middle(values.len() / 2)?);
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }
}

/// The result of one implementation in one work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeerResult {
    pub(crate) peer: Implementation,
    /// What its handshakes negotiated.
    pub(crate) negotiated: Option<Negotiated>,
    pub(crate) figures: BTreeMap<Figure, Spread>,
    /// Handshakes in the measured slices.
    pub(crate) completed: u64,
    /// Always 0: a failure ends the run.
    pub(crate) failed: u64,
    pub(crate) resumed: u64,
    /// Handshakes of clients that this Typha did not know.
    pub(crate) unseen: u64,
    /// The main figure of this implementation divided by that of each other one, round by round.
    pub(crate) ratio_to: BTreeMap<&'static str, Spread>,
    /// Typha's time per handshake divided by the floor, round by round.
    pub(crate) ratio_to_floor: Option<Spread>,
    /// One for each round.
    pub(crate) slices: Vec<Slice>,
}

impl PeerResult {
    pub(crate) fn new(peer: Implementation) -> Self {
        Self {
            peer,
            negotiated: None,
            figures: BTreeMap::new(),
            completed: 0,
            failed: 0,
            resumed: 0,
            unseen: 0,
            ratio_to: BTreeMap::new(),
            ratio_to_floor: None,
            slices: Vec::new(),
        }
    }

    /// Makes the figures of the slices; repeat it after a change of the slices.
    pub(crate) fn summed_up(mut self) -> Self {
        let mut values = BTreeMap::<Figure, Vec<f64>>::new();
        for (figure, value) in self.slices.iter().flatten() {
            values.entry(*figure).or_default().push(*value);
        }
        let spreads = values.into_iter().filter_map(|(figure, values)| Some((figure, Spread::of(values)?)));
        self.figures = spreads.collect();
        self
    }

    pub(crate) fn median(&self, figure: Figure) -> Option<f64> {
        self.figures.get(&figure).map(|spread| spread.median)
    }

    /// The median of a CPU time, divided into user and system time. The kernel counts those two in ticks, of which a
    /// slice has few: all slices together divide it.
    pub(crate) fn user_and_system(&self, figure: Figure) -> Option<[f64; 2]> {
        let sums = figure
            .user_and_system()?
            .map(|part| self.slices.iter().filter_map(|slice| slice.get(&part)).sum::<f64>());
        let median = self.median(figure)?;
        Some(sums.map(|sum| sum / sums.iter().sum::<f64>().max(f64::MIN_POSITIVE) * median))
    }

    /// Compares Typha's time with the floor of the same round.
    pub(crate) fn compare_to_floor(&mut self, figure: Figure, floor: &[f64]) {
        let rounds = self.slices.iter().zip(floor);
        self.ratio_to_floor =
            Spread::of(rounds.filter_map(|(slice, floor)| Some(slice.get(&figure)? / floor)));
    }

    /// Whether Typha used its cores all the time, so that its handshakes/s are the most that it can do.
    fn is_busy(&self) -> bool {
        self.median(Figure::TyphaLoad).is_some_and(|load| load >= BUSY)
    }
}

/// The figure by which to compare Typhas: handshakes/s if all of them were busy, otherwise their CPU time, which does
/// not depend on the load.
pub(crate) fn throughput(peers: &[PeerResult]) -> Figure {
    if peers.iter().all(PeerResult::is_busy) { Figure::HandshakesPerSecond } else { Figure::TyphaCpuMicros }
}

/// The first divided by the second, in each round, since what slows one of them down slows the other down too.
fn ratio(first: &PeerResult, second: &PeerResult, by: Figure) -> Option<Spread> {
    let rounds = first.slices.iter().zip(&second.slices);
    Spread::of(rounds.filter_map(|(first, second)| {
        let (mut first, mut second) = (*first.get(&by)?, *second.get(&by)?);
        if by == Figure::TyphaCpuMicros {
            (first, second) = (second, first);
        }
        (second > 0.0).then(|| first / second)
    }))
}

fn compare(peers: &mut [PeerResult], by: Figure) {
    let all = peers.to_vec();
    for peer in peers {
        let others = all.iter().filter(|other| other.peer != peer.peer);
        peer.ratio_to =
            others.filter_map(|other| Some((other.peer.name(), ratio(peer, other, by)?))).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_counted_per_handshake() {
        let cpu = |user_nanos, system_nanos| CpuTime { user_nanos, system_nanos };
        let answer = |completed| Handshakes {
            completed,
            failed: 0,
            first_failure: None,
            resumed: 0,
            fresh: 0,
            negotiated: None,
            elapsed_nanos: 1_000_000_000,
            cpu: cpu(100_000_000, 200_000_000),
            rounds_nanos: vec![9_000, 4_000, 5_000],
        };
        let typha = cpu(600_001_000, 340_001_000).since(cpu(1_000, 1_000));
        assert_eq!(
            handshake_slice(&answer(1000), typha, 2).unwrap(),
            [
                (Figure::HandshakesPerSecond, 1000.0),
                (Figure::TyphaCpuMicros, 940.0),
                (Figure::TyphaUserMicros, 600.0),
                (Figure::TyphaSystemMicros, 340.0),
                (Figure::FelixCpuMicros, 300.0),
                (Figure::FelixUserMicros, 100.0),
                (Figure::FelixSystemMicros, 200.0),
                (Figure::P50Micros, 5.0),
                (Figure::P99Micros, 9.0),
                (Figure::TyphaLoad, 0.47),
            ]
            .into()
        );
        assert_eq!(handshake_slice(&answer(0), CpuTime::default(), 1), None);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<_> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (Some(50), Some(99)));
        assert_eq!((percentile(&[7], 50), percentile(&[7, 8, 9], 99)), (Some(7), Some(9)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn the_median_is_that_in_the_middle() {
        let median = |values: &[f64]| Spread::of(values.to_vec()).map(|spread| spread.median);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(Spread::of(vec![9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
    }

    /// A peer with a figure in each round.
    fn peer(peer: Implementation, figure: Figure, rounds: &[f64]) -> PeerResult {
        let slices = rounds.iter().map(|value| [(figure, *value)].into()).collect();
        PeerResult { slices, ..PeerResult::new(peer) }.summed_up()
    }

    #[test]
    fn peers_are_compared_round_by_round() {
        let by = Figure::HandshakesPerSecond;
        // The machine was half as fast in the second round, and the third has no partner.
        let ours = peer(Implementation::Ours, by, &[300.0, 150.0, 900.0]);
        let bare = peer(Implementation::Bare, by, &[200.0, 100.0]);
        assert_eq!(ratio(&ours, &bare, by), Some(Spread { median: 1.5, min: 1.5, max: 1.5 }));
        assert_eq!(ratio(&ours, &PeerResult::new(Implementation::Go), by), None);
        let mut peers = [ours, bare];
        compare(&mut peers, by);
        assert_eq!(peers[0].ratio_to.keys().collect::<Vec<_>>(), [&"bare"]);
    }

    #[test]
    fn all_slices_together_divide_the_cpu_time() {
        let cpu = |user_nanos, system_nanos| {
            let mut slice = Slice::new();
            add_cpu(&mut slice, Figure::FelixCpuMicros, CpuTime { user_nanos, system_nanos }, 1.0);
            slice
        };
        let slices = vec![cpu(9_000, 0), cpu(2_000, 8_000), cpu(10_000, 1_000)];
        let result = PeerResult { slices, ..PeerResult::new(Implementation::Ours) }.summed_up();
        let parts = result.user_and_system(Figure::FelixCpuMicros).unwrap();
        assert_eq!(parts.map(|part| (part * 10.0).round() / 10.0), [7.0, 3.0]);
        assert_eq!(result.user_and_system(Figure::TyphaCpuMicros), None);
        assert_eq!(result.user_and_system(Figure::P50Micros), None);
    }

    #[test]
    fn half_of_the_time_is_twice_the_throughput() {
        let by = Figure::TyphaCpuMicros;
        let mut ours = peer(Implementation::Ours, by, &[100.0, 100.0, 100.0]);
        let bare = peer(Implementation::Bare, by, &[200.0, 100.0, 300.0]);
        assert_eq!(ratio(&ours, &bare, by), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        ours.compare_to_floor(by, &[50.0, 25.0, 100.0]);
        assert_eq!(ours.ratio_to_floor, Some(Spread { median: 2.0, min: 1.0, max: 4.0 }));
    }

    #[test]
    fn typhas_that_are_not_busy_are_compared_by_cpu() {
        let busy = |loads: &[f64]| peer(Implementation::Ours, Figure::TyphaLoad, loads);
        assert_eq!(throughput(&[busy(&[0.93]), busy(&[0.5, 0.99, 1.0])]), Figure::HandshakesPerSecond);
        assert_eq!(throughput(&[busy(&[0.99]), busy(&[0.92])]), Figure::TyphaCpuMicros);
        assert_eq!(throughput(&[PeerResult::new(Implementation::Ours)]), Figure::TyphaCpuMicros);
    }
}

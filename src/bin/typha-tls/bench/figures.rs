//! What is measured, and how slices become one figure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::protocol::{Handshakes, Implementation, Usage};

/// Something that is measured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    HandshakesPerSecond,
    TyphaCpuMicros,
    FelixCpuMicros,
    P50Micros,
    P99Micros,
    /// Share of Typha's cores that was in use.
    TyphaLoad,
    MegabytesPerSecondToFelix,
    MegabytesPerSecondToTypha,
    BytesPerIdleConnection,
    TyphaInMemoryMicros,
    ResumedShare,
    /// Handshakes/s on two cores each against one core each.
    TwoCoreGain,
}

/// The figures of one slice.
pub(crate) type Slice = BTreeMap<Figure, f64>;

/// One figure over all slices.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self { median: median(&values)?, min, max })
    }
}

/// The median of sorted values.
fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get((sorted.len() / 2).checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

/// From which load on a Typha counts as saturated; below it, the handshakes/s are those of the load.
const SATURATED: f64 = 0.93;

/// What came of one peer in one work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeerResult {
    pub(crate) peer: Implementation,
    pub(crate) figures: BTreeMap<Figure, Spread>,
    /// Handshakes in the measured slices.
    pub(crate) completed: u64,
    /// None, or there would be no report.
    pub(crate) failed: u64,
    pub(crate) resumed: u64,
    /// Whether Typha's cores were the limit, where that is known.
    pub(crate) saturated: Option<bool>,
    /// This peer's main figure against that of each other peer.
    pub(crate) ratio_to: BTreeMap<&'static str, f64>,
    /// Typha's time per handshake against that of the primitives.
    pub(crate) ratio_to_floor: Option<f64>,
    pub(crate) slices: Vec<Slice>,
}

impl PeerResult {
    pub(crate) fn new(peer: Implementation) -> Self {
        Self {
            peer,
            figures: BTreeMap::new(),
            completed: 0,
            failed: 0,
            resumed: 0,
            saturated: None,
            ratio_to: BTreeMap::new(),
            ratio_to_floor: None,
            slices: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, slice: Slice) {
        self.slices.push(slice);
    }

    /// Sums up the slices.
    pub(crate) fn finish(mut self) -> Self {
        let mut values = BTreeMap::<Figure, Vec<f64>>::new();
        for (figure, value) in self.slices.iter().flatten() {
            values.entry(*figure).or_default().push(*value);
        }
        self.figures =
            values.into_iter().filter_map(|(figure, values)| Some((figure, Spread::of(values)?))).collect();
        self.saturated = self.median(Figure::TyphaLoad).map(|load| load >= SATURATED);
        self
    }

    pub(crate) fn median(&self, figure: Figure) -> Option<f64> {
        self.figures.get(&figure).map(|spread| spread.median)
    }
}

/// The figures of a slice of handshakes. None if there was no handshake.
pub(crate) fn slice(
    answer: &Handshakes,
    before: &Usage,
    after: &Usage,
    typha_threads: usize,
) -> Option<Slice> {
    let (completed, elapsed) = (answer.completed as f64, answer.elapsed_nanos as f64);
    if answer.completed == 0 || answer.elapsed_nanos == 0 {
        return None;
    }
    let typha_cpu = after.cpu_nanos.saturating_sub(before.cpu_nanos) as f64;
    let figures = [
        (Figure::HandshakesPerSecond, completed / elapsed * 1e9),
        (Figure::TyphaCpuMicros, typha_cpu / completed / 1e3),
        (Figure::FelixCpuMicros, answer.cpu_nanos as f64 / completed / 1e3),
        (Figure::P50Micros, answer.p50_nanos as f64 / 1e3),
        (Figure::P99Micros, answer.p99_nanos as f64 / 1e3),
        (Figure::TyphaLoad, typha_cpu / elapsed / typha_threads as f64),
    ];
    Some(figures.into())
}

/// By what the throughput of peers is to be compared: by handshakes/s if all of them are at their limit, otherwise by
/// Typha's CPU time, which a load that is too small does not change.
pub(crate) fn throughput(peers: &[PeerResult]) -> Figure {
    if peers.iter().all(|peer| peer.saturated == Some(true)) {
        Figure::HandshakesPerSecond
    } else {
        Figure::TyphaCpuMicros
    }
}

/// The first against the second. CPU time stands for throughput: half of it is a ratio of two.
pub(crate) fn ratio(first: &PeerResult, second: &PeerResult, by: Figure) -> Option<f64> {
    let (mut first, mut second) = (first.median(by)?, second.median(by)?);
    if by == Figure::TyphaCpuMicros {
        (first, second) = (second, first);
    }
    (second > 0.0).then(|| first / second)
}

/// Fills in the ratios among peers.
pub(crate) fn compare(peers: &mut [PeerResult], by: Figure) {
    let all = peers.to_vec();
    for peer in peers {
        let others = all.iter().filter(|other| other.peer != peer.peer);
        peer.ratio_to =
            others.filter_map(|other| Some((peer_name(other.peer), ratio(peer, other, by)?))).collect();
    }
}

/// The name of a peer as the command line and the report have it.
pub(crate) fn peer_name(peer: Implementation) -> &'static str {
    match peer {
        Implementation::Ours => "ours",
        Implementation::Bare => "bare",
        Implementation::Go => "go",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_in_the_middle() {
        let median = |values: &[f64]| Spread::of(values.to_vec()).map(|spread| spread.median);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(Spread::of(vec![9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
    }

    fn answer(completed: u64) -> Handshakes {
        Handshakes {
            completed,
            failed: 0,
            first_failure: None,
            resumed: 0,
            elapsed_nanos: 1_000_000_000,
            cpu_nanos: 300_000_000,
            p50_nanos: 5_000,
            p99_nanos: 9_000,
        }
    }

    fn usage(cpu_nanos: u64) -> Usage {
        Usage { cpu_nanos, resident_bytes: 0, accepted: 0, failed: 0, resumed: 0 }
    }

    fn peer(completed: u64, cpu_nanos: u64, threads: usize) -> PeerResult {
        let mut result = PeerResult::new(Implementation::Bare);
        result.add(slice(&answer(completed), &usage(1_000), &usage(1_000 + cpu_nanos), threads).unwrap());
        result.finish()
    }

    #[test]
    fn a_slice_is_counted_per_handshake() {
        let result = peer(1000, 940_000_000, 1);
        assert_eq!(result.median(Figure::HandshakesPerSecond), Some(1000.0));
        assert_eq!(result.median(Figure::TyphaCpuMicros), Some(940.0));
        assert_eq!(result.median(Figure::FelixCpuMicros), Some(300.0));
        assert_eq!(result.median(Figure::P50Micros), Some(5.0));
        assert_eq!(result.median(Figure::P99Micros), Some(9.0));
        assert_eq!(slice(&answer(0), &usage(0), &usage(1), 1), None);
    }

    #[test]
    fn a_typha_is_saturated_when_all_its_cores_are() {
        assert_eq!(peer(1000, 930_000_000, 1).saturated, Some(true));
        assert_eq!(peer(1000, 929_000_000, 1).saturated, Some(false));
        assert_eq!(peer(1000, 930_000_000, 2).saturated, Some(false));
        assert_eq!(peer(1000, 1_860_000_000, 2).saturated, Some(true));
        assert_eq!(PeerResult::new(Implementation::Go).finish().saturated, None);
    }

    #[test]
    fn what_is_limited_by_the_load_is_compared_by_cpu() {
        let mut peers = [peer(1000, 1_000_000_000, 1), peer(1500, 500_000_000, 1)];
        assert_eq!(throughput(&peers), Figure::TyphaCpuMicros);
        assert_eq!(ratio(&peers[1], &peers[0], Figure::TyphaCpuMicros), Some(3.0));
        peers[0].peer = Implementation::Go;
        compare(&mut peers, Figure::TyphaCpuMicros);
        assert_eq!(peers[1].ratio_to, BTreeMap::from([("go", 3.0)]));
    }

    #[test]
    fn what_is_at_its_limit_is_compared_by_handshakes() {
        let peers = [peer(1000, 1_000_000_000, 1), peer(1500, 1_000_000_000, 1)];
        assert_eq!(throughput(&peers), Figure::HandshakesPerSecond);
        assert_eq!(ratio(&peers[1], &peers[0], Figure::HandshakesPerSecond), Some(1.5));
        assert_eq!(ratio(&peers[1], &PeerResult::new(Implementation::Go), Figure::P50Micros), None);
    }
}

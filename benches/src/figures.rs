//! What is measured, and how slices become one figure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::protocol::{Handshakes, Implementation, Negotiated, Usage};
pub(crate) use super::spread::Spread;
use super::watch::Limit;
use crate::percentile::percentile;

/// Something that is measured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    HandshakesPerSecond,
    TyphaCpuMicros,
    FelixCpuMicros,
    P50Micros,
    P99Micros,
    /// Share of its cores that Typha used.
    TyphaLoad,
    /// Share of Typha's cores that nobody used.
    TyphaCoresIdle,
    /// Share of Typha's cores that neither was idle nor went to Typha.
    TyphaCoresOthers,
    /// The same of Felix's cores.
    FelixCoresIdle,
    FelixCoresOthers,
    MegabytesPerSecondToFelix,
    MegabytesPerSecondToTypha,
    /// Felix's CPU time per megabyte that it receives, and sends.
    FelixCpuMicrosPerMegabyteToFelix,
    FelixCpuMicrosPerMegabyteToTypha,
    BytesPerIdleConnection,
    TyphaInMemoryMicros,
    FelixInMemoryMicros,
    ResumedShare,
    /// Handshakes/s on two cores each against one core each.
    TwoCoreGain,
}

/// The figures of one slice.
pub(crate) type Slice = BTreeMap<Figure, f64>;

/// What came of one peer in one work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeerResult {
    pub(crate) peer: Implementation,
    /// What its handshakes ended up with.
    pub(crate) negotiated: Option<Negotiated>,
    pub(crate) figures: BTreeMap<Figure, Spread>,
    /// Handshakes in the measured slices.
    pub(crate) completed: u64,
    /// None, or there would be no report.
    pub(crate) failed: u64,
    pub(crate) resumed: u64,
    /// Handshakes of clients that this Typha had not seen.
    pub(crate) unseen: u64,
    /// What the handshakes/s say something about, where that is known.
    pub(crate) limited_by: Option<Limit>,
    /// This peer's main figure against that of each other peer, round by round.
    pub(crate) ratio_to: BTreeMap<&'static str, Spread>,
    /// Typha's time per handshake against that of the primitives, round by round.
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
            limited_by: None,
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
        self
    }

    pub(crate) fn median(&self, figure: Figure) -> Option<f64> {
        self.figures.get(&figure).map(|spread| spread.median)
    }

    /// For what is counted in ticks of the kernel, of which a slice has a few only.
    pub(crate) fn mean(&self, figure: Figure) -> Option<f64> {
        let values: Vec<_> = self.slices.iter().filter_map(|slice| slice.get(&figure).copied()).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Compares Typha's time with that of the primitives in the same round.
    pub(crate) fn compare_to_floor(&mut self, figure: Figure, floor: &[f64]) {
        let rounds = self.slices.iter().zip(floor);
        let ratios = rounds.filter_map(|(slice, floor)| Some(slice.get(&figure)? / floor));
        self.ratio_to_floor = Spread::of(ratios.collect());
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
    let mut rounds = answer.rounds_nanos.clone();
    rounds.sort_unstable();
    let typha_cpu = after.cpu_nanos.saturating_sub(before.cpu_nanos) as f64;
    let figures = [
        (Figure::HandshakesPerSecond, completed / elapsed * 1e9),
        (Figure::TyphaCpuMicros, typha_cpu / completed / 1e3),
        (Figure::FelixCpuMicros, answer.cpu_nanos as f64 / completed / 1e3),
        (Figure::P50Micros, percentile(&rounds, 50)? as f64 / 1e3),
        (Figure::P99Micros, percentile(&rounds, 99)? as f64 / 1e3),
        (Figure::TyphaLoad, typha_cpu / elapsed / typha_threads as f64),
    ];
    Some(figures.into())
}

/// By what the throughput of peers is to be compared: by handshakes/s if all of them are at their limit, otherwise by
/// Typha's CPU time, which a load that is too small does not change.
pub(crate) fn throughput(peers: &[PeerResult]) -> Figure {
    if peers.iter().all(|peer| peer.limited_by == Some(Limit::Typha)) {
        Figure::HandshakesPerSecond
    } else {
        Figure::TyphaCpuMicros
    }
}

/// The first against the second, in each round, since what slows one of them down slows the other down as well. CPU time
/// stands for throughput: half of it is a ratio of two.
pub(crate) fn ratio(first: &PeerResult, second: &PeerResult, by: Figure) -> Option<Spread> {
    let rounds = first.slices.iter().zip(&second.slices);
    let ratios = rounds.filter_map(|(first, second)| {
        let (mut first, mut second) = (*first.get(&by)?, *second.get(&by)?);
        if by == Figure::TyphaCpuMicros {
            (first, second) = (second, first);
        }
        (second > 0.0).then(|| first / second)
    });
    Spread::of(ratios.collect())
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
        Implementation::BareAes128 => "bare-aes128",
        Implementation::Go => "go",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_slice_is_counted_per_handshake() {
        let answer = |completed| Handshakes {
            completed,
            failed: 0,
            first_failure: None,
            resumed: 0,
            fresh: 0,
            negotiated: None,
            elapsed_nanos: 1_000_000_000,
            cpu_nanos: 300_000_000,
            rounds_nanos: vec![9_000, 4_000, 5_000],
        };
        let usage = |cpu_nanos| Usage { cpu_nanos, resident_bytes: 0, accepted: 0, failed: 0, resumed: 0 };
        let result = slice(&answer(1000), &usage(1_000), &usage(940_001_000), 2).unwrap();
        assert_eq!(
            result,
            [
                (Figure::HandshakesPerSecond, 1000.0),
                (Figure::TyphaCpuMicros, 940.0),
                (Figure::FelixCpuMicros, 300.0),
                (Figure::P50Micros, 5.0),
                (Figure::P99Micros, 9.0),
                (Figure::TyphaLoad, 0.47),
            ]
            .into()
        );
        assert_eq!(slice(&answer(0), &usage(0), &usage(1), 1), None);
    }

    /// A peer with a figure in each round.
    pub(crate) fn peer(peer: Implementation, figure: Figure, rounds: &[f64]) -> PeerResult {
        let mut result = PeerResult::new(peer);
        rounds.iter().for_each(|value| result.add([(figure, *value)].into()));
        result.finish()
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
    fn half_of_the_time_is_twice_the_throughput() {
        let by = Figure::TyphaCpuMicros;
        let mut ours = peer(Implementation::Ours, by, &[100.0, 100.0, 100.0]);
        let bare = peer(Implementation::Bare, by, &[200.0, 100.0, 300.0]);
        assert_eq!(ratio(&ours, &bare, by), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        ours.compare_to_floor(by, &[50.0, 25.0, 100.0]);
        assert_eq!(ours.ratio_to_floor, Some(Spread { median: 2.0, min: 1.0, max: 4.0 }));
    }

    #[test]
    fn what_is_limited_by_the_load_is_compared_by_cpu() {
        let of = |limit| PeerResult { limited_by: limit, ..PeerResult::new(Implementation::Ours) };
        let typha = || of(Some(Limit::Typha));
        assert_eq!(throughput(&[typha(), typha()]), Figure::HandshakesPerSecond);
        assert_eq!(throughput(&[typha(), of(Some(Limit::Load))]), Figure::TyphaCpuMicros);
        assert_eq!(throughput(&[typha(), of(None)]), Figure::TyphaCpuMicros);
    }
}

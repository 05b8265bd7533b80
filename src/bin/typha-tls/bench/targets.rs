//! What the crate is to reach, and whether it does.

use serde::Serialize;

use super::figures::{Figure, PeerResult, ratio, throughput};
use super::mode::name;
use super::plan::Work;
use super::protocol::Implementation;
use super::report::WorkResult;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// What it takes to say so was not measured.
    Unknown,
}

/// A target, and what was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) work: String,
    pub(crate) what: &'static str,
    /// `at_least` or `at_most`.
    pub(crate) bound: Bound,
    pub(crate) limit: f64,
    pub(crate) unit: &'static str,
    pub(crate) measured: Option<f64>,
    pub(crate) verdict: Verdict,
    /// Whether handshakes/s were compared by Typha's CPU time.
    pub(crate) by_cpu: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtLeast,
    AtMost,
}

impl Bound {
    fn verdict(self, measured: Option<f64>, limit: f64) -> Verdict {
        match (self, measured) {
            (_, None) => Verdict::Unknown,
            (Self::AtLeast, Some(measured)) if measured >= limit => Verdict::Met,
            (Self::AtMost, Some(measured)) if measured <= limit => Verdict::Met,
            _ => Verdict::Missed,
        }
    }
}

/// How a target is taken from the result of its work.
enum Measure {
    /// Ours against that peer: throughput of Typha.
    Throughput(Implementation),
    /// Ours against that peer: this figure.
    Against(Figure, Implementation),
    /// Our figure itself.
    Ours(Figure),
    ToFloor,
}

use Bound::{AtLeast, AtMost};
use Implementation::{Bare, Go, Ours};
use Measure::{Against, Throughput, ToFloor};

/// Work, description, bound, limit, unit, and how it is measured.
const TARGETS: [(Work, &str, Bound, f64, &str, Measure); 15] = [
    (Work::Handshake, "handshakes/s against bare", AtLeast, 1.50, "x", Throughput(Bare)),
    (Work::Handshake, "handshakes/s against go", AtLeast, 2.6, "x", Throughput(Go)),
    (Work::Handshake, "Typha's CPU against the floor", AtMost, 1.60, "x", ToFloor),
    (Work::Cold, "handshakes/s against bare", AtLeast, 1.08, "x", Throughput(Bare)),
    (Work::InMemory, "Typha's time against the floor", AtMost, 1.25, "x", ToFloor),
    (Work::BothEnds, "handshakes/s against go", AtLeast, 2.1, "x", Against(Figure::HandshakesPerSecond, Go)),
    (Work::Latency, "p50 against go", AtMost, 0.50, "x", Against(Figure::P50Micros, Go)),
    (Work::Tls12, "handshakes/s against bare", AtLeast, 1.0, "x", Throughput(Bare)),
    (Work::Rsa2048, "handshakes/s against bare", AtLeast, 1.0, "x", Throughput(Bare)),
    (
        Work::Idle,
        "memory of a connection",
        AtMost,
        10_000.0,
        "bytes",
        Measure::Ours(Figure::BytesPerIdleConnection),
    ),
    (Work::Idle, "memory against go", AtMost, 0.4, "x", Against(Figure::BytesPerIdleConnection, Go)),
    (
        Work::Bulk,
        "MB/s to Felix against go",
        AtLeast,
        1.8,
        "x",
        Against(Figure::MegabytesPerSecondToFelix, Go),
    ),
    (
        Work::Bulk,
        "MB/s to Felix against bare",
        AtLeast,
        1.1,
        "x",
        Against(Figure::MegabytesPerSecondToFelix, Bare),
    ),
    (Work::TwoCores, "two cores against one", AtLeast, 1.85, "x", Measure::Ours(Figure::TwoCoreGain)),
    (Work::Resumption, "share resumed", AtMost, 0.0, "", Measure::Ours(Figure::ResumedShare)),
];

/// All targets, each with what these works say about it.
pub(crate) fn targets(works: &[WorkResult]) -> Vec<Target> {
    let judged = TARGETS.iter().map(|(work, what, bound, limit, unit, measure)| {
        let work = name(work);
        let result = works.iter().find(|result| result.work == work);
        let (measured, by_cpu) = result.map_or((None, false), |result| take(result, measure));
        let verdict = bound.verdict(measured, *limit);
        Target { work, what, bound: *bound, limit: *limit, unit, measured, verdict, by_cpu }
    });
    judged.collect()
}

fn take(work: &WorkResult, measure: &Measure) -> (Option<f64>, bool) {
    let Some(ours) = work.peer(Ours) else { return (None, false) };
    let against = |other: &PeerResult, by| (ratio(ours, other, by), by == Figure::TyphaCpuMicros);
    match measure {
        Throughput(other) => match work.peer(*other) {
            Some(other) => against(other, throughput(&[ours.clone(), other.clone()])),
            None => (None, false),
        },
        Against(figure, other) => (work.peer(*other).and_then(|other| ratio(ours, other, *figure)), false),
        Measure::Ours(figure) => (ours.median(*figure), false),
        ToFloor => (ours.ratio_to_floor, false),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cores::Assignment;
    use super::*;

    fn peer(peer: Implementation, figures: &[(Figure, f64)]) -> PeerResult {
        let mut result = PeerResult::new(peer);
        result.add(figures.iter().copied().collect());
        result.finish()
    }

    fn work(work: Work, peers: Vec<PeerResult>) -> WorkResult {
        WorkResult::new(&name(&work), work.mode(), &Assignment::shared(&[0]), None, None, peers)
    }

    fn verdict(targets: &[Target], work: &str, what: &str) -> (Option<f64>, Verdict, bool) {
        let target =
            targets.iter().find(|target| (target.work.as_str(), target.what) == (work, what)).unwrap();
        (target.measured, target.verdict, target.by_cpu)
    }

    #[test]
    fn what_was_not_measured_is_unknown() {
        let targets = targets(&[]);
        assert_eq!(targets.len(), TARGETS.len());
        assert!(targets.iter().all(|target| target.verdict == Verdict::Unknown && target.measured.is_none()));
    }

    #[test]
    fn a_limit_that_is_just_reached_is_met() {
        assert_eq!(AtLeast.verdict(Some(1.5), 1.5), Verdict::Met);
        assert_eq!(AtLeast.verdict(Some(1.49), 1.5), Verdict::Missed);
        assert_eq!(AtMost.verdict(Some(1.6), 1.6), Verdict::Met);
        assert_eq!(AtMost.verdict(Some(1.61), 1.6), Verdict::Missed);
        assert_eq!(AtMost.verdict(None, 1.6), Verdict::Unknown);
    }

    #[test]
    fn throughput_is_compared_by_cpu_when_the_load_is_the_limit() {
        let of = |name, load, cpu, rate| {
            peer(
                name,
                &[
                    (Figure::TyphaLoad, load),
                    (Figure::TyphaCpuMicros, cpu),
                    (Figure::HandshakesPerSecond, rate),
                ],
            )
        };
        let ours = of(Ours, 0.5, 100.0, 5000.0);
        let works = [work(Work::Handshake, vec![ours, of(Bare, 1.0, 200.0, 4000.0)])];
        let targets = targets(&works);
        let handshakes = verdict(&targets, "handshake", "handshakes/s against bare");
        assert_eq!(handshakes, (Some(2.0), Verdict::Met, true));
        let unknown = verdict(&targets, "handshake", "handshakes/s against go");
        assert_eq!(unknown, (None, Verdict::Unknown, false));
    }

    #[test]
    fn our_own_figures_are_held_against_their_limits() {
        let works = [
            work(Work::Resumption, vec![peer(Ours, &[(Figure::ResumedShare, 0.0)])]),
            work(
                Work::Idle,
                vec![
                    peer(Ours, &[(Figure::BytesPerIdleConnection, 12_000.0)]),
                    peer(Go, &[(Figure::BytesPerIdleConnection, 40_000.0)]),
                ],
            ),
        ];
        let targets = targets(&works);
        assert_eq!(verdict(&targets, "resumption", "share resumed"), (Some(0.0), Verdict::Met, false));
        let memory = verdict(&targets, "idle", "memory of a connection");
        assert_eq!(memory, (Some(12_000.0), Verdict::Missed, false));
        assert_eq!(verdict(&targets, "idle", "memory against go"), (Some(0.3), Verdict::Met, false));
    }
}

//! What the crate is to reach, and whether it does.

use serde::Serialize;

use super::figures::{Figure, PeerResult, Spread, ratio, throughput};
use super::mode::name;
use super::plan::Work;
use super::protocol::Implementation;
use super::report::WorkResult;
use super::watch::Limit;

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
    /// In which it lay in each of the rounds, where it is a ratio of each round.
    pub(crate) spread: Option<Spread>,
    pub(crate) verdict: Verdict,
    /// Why it is not known.
    pub(crate) unknown_because: Option<&'static str>,
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

/// Fewer have no median that says anything.
const LEAST_ROUNDS: usize = 3;

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
        let name = name(work);
        let result = works.iter().find(|result| result.work == name);
        let taken = result.and_then(|result| take(result, measure));
        let unknown_because = match (result, &taken) {
            (Some(result), Some(_)) => not_to_be_judged(*work, result, measure),
            _ => Some("not measured"),
        };
        let measured = taken.as_ref().map(|taken| taken.value);
        let verdict =
            if unknown_because.is_some() { Verdict::Unknown } else { bound.verdict(measured, *limit) };
        Target {
            work: name,
            what,
            bound: *bound,
            limit: *limit,
            unit,
            measured,
            spread: taken.as_ref().map(|taken| taken.spread),
            verdict,
            unknown_because,
            by_cpu: taken.is_some_and(|taken| taken.by_cpu),
        }
    });
    judged.collect()
}

/// What a work says about a target.
struct Taken {
    value: f64,
    spread: Spread,
    by_cpu: bool,
}

fn take(work: &WorkResult, measure: &Measure) -> Option<Taken> {
    let ours = work.peer(Ours)?;
    let (spread, by_cpu) = match measure {
        Throughput(other) => {
            let other = work.peer(*other)?;
            let by = throughput(&[ours.clone(), other.clone()]);
            (ratio(ours, other, by)?, by == Figure::TyphaCpuMicros)
        }
        Against(figure, other) => (ratio(ours, work.peer(*other)?, *figure)?, false),
        Measure::Ours(figure) => (*ours.figures.get(figure)?, false),
        ToFloor => (ours.ratio_to_floor?, false),
    };
    Some(Taken { value: spread.median, spread, by_cpu })
}

/// Why what was measured is nothing to judge by.
fn not_to_be_judged(work: Work, result: &WorkResult, measure: &Measure) -> Option<&'static str> {
    let (other, of_handshakes) = match measure {
        Throughput(other) => (Some(*other), true),
        Against(figure, other) => (Some(*other), *figure == Figure::HandshakesPerSecond),
        Measure::Ours(figure) => (None, *figure == Figure::TwoCoreGain),
        ToFloor => (None, false),
    };
    let about = [Some(Ours), other].into_iter().flatten();
    let disturbed = |peer: &PeerResult| peer.limited_by == Some(Limit::Disturbed);
    let disturbed = about.filter_map(|peer| result.peer(peer)).any(disturbed);
    let rounds = result.peer(Ours).map_or(0, |ours| ours.slices.len());
    let on_one_core =
        matches!(measure, Throughput(_)) || (work == Work::Handshake && matches!(measure, ToFloor));
    if of_handshakes && disturbed {
        Some("disturbed")
    } else if rounds < LEAST_ROUNDS {
        Some("too few rounds")
    } else if on_one_core && !result.disjoint_cores {
        Some("needs cores of its own for each end")
    } else if work == Work::BothEnds
        && !(result.disjoint_cores && result.typha_cores == 2 && result.felix_cores == 2)
    {
        Some("needs 4 cores")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::cores::Assignment;
    use super::*;

    /// The same figures in so many rounds.
    fn rounds(count: usize, peer: Implementation, figures: &[(Figure, f64)]) -> PeerResult {
        let mut result = PeerResult::new(peer);
        (0..count).for_each(|_| result.add(figures.iter().copied().collect()));
        result.finish()
    }

    fn peer(peer: Implementation, figures: &[(Figure, f64)]) -> PeerResult {
        rounds(3, peer, figures)
    }

    fn work(work: Work, peers: Vec<PeerResult>) -> WorkResult {
        let cores = Assignment::each(&[0, 1, 2, 3], 2).unwrap();
        WorkResult::new(&name(&work), work.mode(), &cores, None, None, peers)
    }

    fn target(works: &[WorkResult], work: &str, what: &str) -> Target {
        let found = |target: &Target| (target.work.as_str(), target.what) == (work, what);
        targets(works).into_iter().find(found).unwrap()
    }

    fn verdict(works: &[WorkResult], work: &str, what: &str) -> (Option<f64>, Verdict, bool) {
        let target = target(works, work, what);
        (target.measured, target.verdict, target.by_cpu)
    }

    const AGAINST_BARE: &str = "handshakes/s against bare";

    /// The work `handshake` of ours and bare.
    fn handshake(count: usize, load: Limit, bare: Limit) -> WorkResult {
        let of = |name, limit, cpu, rate| PeerResult {
            limited_by: Some(limit),
            ..rounds(count, name, &[(Figure::TyphaCpuMicros, cpu), (Figure::HandshakesPerSecond, rate)])
        };
        work(Work::Handshake, vec![of(Ours, load, 100.0, 5000.0), of(Bare, bare, 200.0, 4000.0)])
    }

    #[test]
    fn what_was_not_measured_is_unknown() {
        let targets = targets(&[]);
        assert_eq!(targets.len(), TARGETS.len());
        assert!(targets.iter().all(|target| target.verdict == Verdict::Unknown && target.measured.is_none()));
        assert!(targets.iter().all(|target| target.unknown_because == Some("not measured")));
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
        let works = [handshake(3, Limit::Load, Limit::Typha)];
        assert_eq!(verdict(&works, "handshake", AGAINST_BARE), (Some(2.0), Verdict::Met, true));
        let unknown = verdict(&works, "handshake", "handshakes/s against go");
        assert_eq!(unknown, (None, Verdict::Unknown, false));
        let works = [handshake(3, Limit::Typha, Limit::Typha)];
        assert_eq!(verdict(&works, "handshake", AGAINST_BARE), (Some(1.25), Verdict::Missed, false));
    }

    #[test]
    fn what_was_disturbed_or_short_is_not_judged() {
        let why = |work| target(&[work], "handshake", AGAINST_BARE).unknown_because;
        assert_eq!(why(handshake(3, Limit::Typha, Limit::Typha)), None);
        assert_eq!(why(handshake(3, Limit::Typha, Limit::Disturbed)), Some("disturbed"));
        assert_eq!(why(handshake(2, Limit::Typha, Limit::Typha)), Some("too few rounds"));
        let shared = WorkResult { disjoint_cores: false, ..handshake(3, Limit::Load, Limit::Load) };
        assert_eq!(why(shared), Some("needs cores of its own for each end"));
    }

    #[test]
    fn both_ends_are_judged_on_two_cores_each() {
        let of = |name, rate| peer(name, &[(Figure::HandshakesPerSecond, rate)]);
        let on = |cores: &[usize], each| {
            let cores = Assignment::each(cores, each).unwrap();
            let peers = vec![of(Ours, 3000.0), of(Go, 1000.0)];
            let both = WorkResult::new("both-ends", Work::BothEnds.mode(), &cores, None, None, peers);
            target(&[both], "both-ends", "handshakes/s against go")
        };
        assert_eq!(on(&[0, 1, 2, 3], 2).verdict, Verdict::Met);
        assert_eq!(on(&[0, 1], 1).unknown_because, Some("needs 4 cores"));
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
        assert_eq!(verdict(&works, "resumption", "share resumed"), (Some(0.0), Verdict::Met, false));
        let memory = verdict(&works, "idle", "memory of a connection");
        assert_eq!(memory, (Some(12_000.0), Verdict::Missed, false));
        assert_eq!(verdict(&works, "idle", "memory against go"), (Some(0.3), Verdict::Met, false));
    }
}

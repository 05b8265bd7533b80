//! What used the cores during a slice, by the kernel's count, and what that tells about the handshakes/s.

use std::fs;
use std::time::{Duration, Instant};

use crate::machine::{Assignment, Core};
use crate::process::BenchError;
use crate::report::{Figure, Limit, PeerResult, Slice};

/// Cores that are idle for more than this share of the time are not at their limit.
const IDLE: f64 = 0.07;
/// If other processes use more than this share of the cores, they disturb the measurement.
const OTHERS: f64 = 0.05;
/// Felixes wait for Typha in between, so they are at their limit somewhat earlier.
const FELIX_IDLE: f64 = 0.15;

/// A line of /proc/stat, in ticks since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    idle: u64,
    /// Not given to this virtual machine.
    steal: u64,
    all: u64,
}

/// The counts of all cores at a moment.
pub(crate) struct Counts {
    at: Instant,
    cores: Vec<(Core, Ticks)>,
}

impl Counts {
    pub(crate) fn now() -> Result<Self, BenchError> {
        const FILE: &str = "/proc/stat";
        let stat = fs::read_to_string(FILE).map_err(BenchError::machine(format!("{FILE} cannot be read")))?;
        Ok(Self { at: Instant::now(), cores: stat.lines().filter_map(core).collect() })
    }

    fn of(&self, core: Core) -> Option<Ticks> {
        self.cores.iter().find(|(found, _)| *found == core).map(|(_, ticks)| *ticks)
    }
}

/// `cpu3 user nice system idle iowait irq softirq steal ...`
fn core(line: &str) -> Option<(Core, Ticks)> {
    let (name, counts) = line.split_once(' ')?;
    let core = name.strip_prefix("cpu")?.parse().ok()?;
    // The kernel counts guests in `user` and `nice` already.
    let counts: Vec<u64> = counts.split_whitespace().take(8).map_while(|count| count.parse().ok()).collect();
    let &[_, _, _, idle, iowait, _, _, steal] = counts.as_slice() else { return None };
    Some((core, Ticks { idle: idle + iowait, steal, all: counts.iter().sum() }))
}

/// Adds the shares of each end's cores to the figures of a slice. `felixes` is how many of Felix's cores have a Felix.
pub(crate) fn add_shares(
    slice: &mut Slice,
    [before, after]: [&Counts; 2],
    assignment: &Assignment,
    felixes: usize,
    [typha_nanos, felix_nanos]: [u64; 2],
) {
    let Assignment { typha, felix, disjoint } = assignment;
    let felix = if *disjoint { felix.get(..felixes).unwrap_or(felix) } else { felix };
    // On the same cores, both ends together are measured.
    let both = typha_nanos + felix_nanos;
    let [of_typha, of_felix] = if *disjoint { [typha_nanos, felix_nanos] } else { [both; 2] };
    let typha = shares(before, after, typha, of_typha);
    let felix = shares(before, after, felix, of_felix);
    if let (Some((typha_idle, typha_others)), Some((felix_idle, felix_others))) = (typha, felix) {
        slice.insert(Figure::TyphaCoresIdle, typha_idle);
        slice.insert(Figure::TyphaCoresOthers, typha_others);
        slice.insert(Figure::FelixCoresIdle, felix_idle);
        slice.insert(Figure::FelixCoresOthers, felix_others);
    }
}

/// The share of cores that was idle, and the share that went to others than the process that used so much CPU time.
fn shares(before: &Counts, after: &Counts, cores: &[Core], used_nanos: u64) -> Option<(f64, f64)> {
    let (mut idle, mut steal, mut all) = (0, 0, 0);
    for core in cores {
        let (before, after) = (before.of(*core)?, after.of(*core)?);
        idle += after.idle.saturating_sub(before.idle);
        steal += after.steal.saturating_sub(before.steal);
        all += after.all.saturating_sub(before.all);
    }
    if all == 0 {
        return None;
    }
    let (idle, steal) = (idle as f64 / all as f64, steal as f64 / all as f64);
    let elapsed = (after.at - before.at).max(Duration::from_nanos(1));
    let used = used_nanos as f64 / elapsed.as_nanos() as f64 / cores.len() as f64;
    // Ticks and nanoseconds do not agree exactly, so this can be negative in one slice. The mean over all slices is right.
    let others = 1.0 - idle - used;
    // The CPU time of a process may include what its virtual machine was not given.
    Some((idle, if steal > 0.0 { others.max(steal) } else { others }))
}

/// What limits Typhas that share a load.
pub(crate) fn limit(peer: &PeerResult, assignment: &Assignment, clients: usize) -> Option<Limit> {
    let idle = peer.mean(Figure::TyphaCoresIdle)?;
    let felix_idle = peer.mean(Figure::FelixCoresIdle)?;
    // So few clients leave both ends waiting for each other.
    let few = clients < 2 * (assignment.typha.len() + assignment.felix.len());
    Some(if disturbed(peer, &[Figure::TyphaCoresOthers]) {
        Limit::Disturbed
    } else if idle <= IDLE && assignment.disjoint {
        Limit::Typha
    } else if few || felix_idle <= FELIX_IDLE {
        Limit::Load
    } else {
        Limit::Disturbed
    })
}

/// Of a pair of ends that are measured together, either may be the limit, or both in turns.
pub(crate) fn limit_of_pair(peer: &PeerResult) -> Option<Limit> {
    let others = [Figure::TyphaCoresOthers, Figure::FelixCoresOthers];
    disturbed(peer, &others).then_some(Limit::Disturbed)
}

fn disturbed(peer: &PeerResult, others: &[Figure]) -> bool {
    others.iter().any(|figure| peer.mean(*figure).is_some_and(|share| share > OTHERS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Implementation;

    fn peer(typha_idle: f64, typha_others: f64, felix_idle: f64) -> PeerResult {
        let mut peer = PeerResult::new(Implementation::Ours);
        // Only the mean counts: a slice has few ticks.
        for part in [0.0, 2.0] {
            let figures = [
                (Figure::TyphaCoresIdle, typha_idle * part),
                (Figure::TyphaCoresOthers, typha_others * part),
                (Figure::FelixCoresIdle, felix_idle * part),
            ];
            peer.slices.push(figures.into());
        }
        peer
    }

    #[test]
    fn the_limit_is_typha_the_load_or_somebody_else() {
        let cores = Assignment::one_for_typha(&[0, 1, 2, 3]);
        let limit = |idle, others, felix_idle| limit(&peer(idle, others, felix_idle), &cores, 32);
        assert_eq!(limit(0.07, 0.05, 0.5), Some(Limit::Typha));
        assert_eq!(limit(0.08, 0.05, 0.15), Some(Limit::Load));
        assert_eq!(limit(0.08, 0.05, 0.16), Some(Limit::Disturbed));
        assert_eq!(limit(0.0, 0.06, 0.0), Some(Limit::Disturbed));
        assert_eq!(super::limit(&PeerResult::new(Implementation::Go), &cores, 32), None);
    }

    #[test]
    fn few_clients_are_a_small_load() {
        let cores = Assignment::one_for_typha(&[0, 1, 2, 3]);
        assert_eq!(limit(&peer(0.5, 0.0, 0.5), &cores, 7), Some(Limit::Load));
        assert_eq!(limit(&peer(0.5, 0.0, 0.5), &cores, 8), Some(Limit::Disturbed));
        assert_eq!(limit(&peer(0.0, 0.0, 0.0), &Assignment::shared(&[0]), 32), Some(Limit::Load));
    }

    #[test]
    fn pairs_are_disturbed_by_others_only() {
        assert_eq!(limit_of_pair(&peer(0.5, 0.05, 0.5)), None);
        assert_eq!(limit_of_pair(&peer(0.0, 0.06, 0.0)), Some(Limit::Disturbed));
    }

    #[test]
    fn the_kernel_counts_ticks() {
        let ticks = Ticks { idle: 45, steal: 8, all: 108 };
        assert_eq!(core("cpu3 10 2 20 40 5 11 12 8 99 99"), Some((3, ticks)));
        assert_eq!((core("cpu  10 2 20 40 5 11 12 8 99 99"), core("ctxt 1234")), (None, None));
    }

    #[test]
    fn what_is_neither_idle_nor_ours_is_others() {
        let now = Instant::now();
        let at = |at, idle, steal, all| Counts { at, cores: vec![(3, Ticks { idle, steal, all })] };
        let counts = |idle, steal, all| at(now + Duration::from_secs(1), idle, steal, all);
        let of = |after: &Counts, used| shares(&at(now, 0, 0, 0), after, &[3], used);
        let (idle, others) = of(&counts(10, 0, 100), 700_000_000).unwrap();
        assert!((idle - 0.1).abs() < 1e-9 && (others - 0.2).abs() < 1e-9, "{idle} {others}");
        let (_, others) = of(&counts(10, 30, 100), 700_000_000).unwrap();
        assert!((others - 0.3).abs() < 1e-9, "{others}");
        assert_eq!(of(&counts(0, 0, 0), 1), None);
    }
}

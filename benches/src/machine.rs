//! The machine: its cores and which end runs on which of them, its limits, its name.

use std::fs;
use std::io;

use nix::sys::resource::{UsageWho, getrusage};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// A core, by the kernel's number.
pub(crate) type Core = usize;

/// The cores of both ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) typha: Vec<Core>,
    pub(crate) felix: Vec<Core>,
    /// Whether the ends have no core in common.
    pub(crate) disjoint: bool,
}

impl Assignment {
    /// Typha on one core, the load on all others.
    pub(crate) fn one_for_typha(cores: &[Core]) -> Self {
        match cores.split_last() {
            // The last one: the kernel prefers the first ones for its own work.
            Some((typha, felix)) if !felix.is_empty() => {
                Self { typha: vec![*typha], felix: felix.to_vec(), disjoint: true }
            }
            _ => Self::shared(cores),
        }
    }

    /// Half of the cores for each end, but at most so many.
    pub(crate) fn halves(cores: &[Core], most: usize) -> Self {
        Self::each(cores, most.min(cores.len() / 2)).unwrap_or_else(|| Self::shared(cores))
    }

    /// So many cores for each end, if there are enough.
    pub(crate) fn each(cores: &[Core], count: usize) -> Option<Self> {
        let typha = cores.get(cores.len().checked_sub(count)?..)?;
        let felix = cores.get(..count)?;
        let disjoint = count > 0 && 2 * count <= cores.len();
        disjoint.then(|| Self { typha: typha.to_vec(), felix: felix.to_vec(), disjoint })
    }

    /// Both ends on all of these cores.
    pub(crate) fn shared(cores: &[Core]) -> Self {
        Self { typha: cores.to_vec(), felix: cores.to_vec(), disjoint: false }
    }
}

/// The cores that this process may run on.
pub(crate) fn available_cores() -> io::Result<Vec<Core>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Runs a function on these cores only; a process that it starts stays on them.
pub(crate) fn on_cores<T>(cores: &[Core], run: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set)?;
    let result = run();
    sched_setaffinity(None, &before)?;
    Ok(result)
}

/// Raises the soft limit of file descriptors to the hard one: a connection is one, and the usual soft limit is 1024.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(|error| io::Error::other(format!("cannot raise the limit of file descriptors: {error}")))
}

/// How many connections a process may have open, beside the other files that it needs.
pub(crate) fn most_connections() -> usize {
    const OTHERS: u64 = 100;
    let limit = getrlimit(Resource::Nofile).maximum;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit.saturating_sub(OTHERS)).unwrap_or(usize::MAX))
}

/// Seconds of CPU time that these cores spent on anything but this process and its children that have ended. None where
/// the kernel does not count it.
pub(crate) fn seconds_of_others(cores: &[Core]) -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks = stat.lines().filter_map(busy_ticks).filter(|(core, _)| cores.contains(core));
    let busy = ticks.map(|(_, ticks)| ticks).sum::<u64>() as f64 / clock_ticks_per_second() as f64;
    let mut own = 0.0;
    for processes in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(processes).ok()?;
        for time in [usage.user_time(), usage.system_time()] {
            own += time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        }
    }
    Some(busy - own)
}

/// Of a line `cpu3 user nice system idle iowait irq softirq steal ...`: all but `idle` and `iowait`.
fn busy_ticks(line: &str) -> Option<(Core, u64)> {
    let (name, counts) = line.split_once(' ')?;
    let core = name.strip_prefix("cpu")?.parse().ok()?;
    let counts: Vec<u64> = counts.split_whitespace().map_while(|count| count.parse().ok()).collect();
    let [user, nice, system, _, _, irq, softirq, steal, ..] = counts.as_slice() else { return None };
    Some((core, user + nice + system + irq + softirq + steal))
}

/// The resident memory of a process, which is named as in `/proc`.
pub(crate) fn resident_bytes(process: &str) -> io::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::other(format!("/proc/{process}/statm: {statm}")))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// The ticks of user and of system time of a process with all of its threads, out of `/proc/PID/stat`.
pub(crate) fn cpu_ticks(stat: &str) -> Option<[u64; 2]> {
    // The name of the program, in brackets, may contain anything.
    let (_, columns) = stat.rsplit_once(") ")?;
    let mut columns = columns.split(' ').skip(11).map(|column| column.parse().ok());
    Some([columns.next()??, columns.next()??])
}

/// What the report has about it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    /// That the run could use.
    cores: usize,
    kernel: String,
}

impl Machine {
    pub(crate) fn this(cores: &[Core]) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        Self {
            cpu: known(model.and_then(|line| line.split_once(": ")).map_or("", |(_, model)| model.trim())),
            cores: cores.len(),
            kernel: known(read("/proc/sys/kernel/osrelease").trim()),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} core(s), Linux {}", self.cpu, self.cores, self.kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(typha: &[Core], felix: &[Core], disjoint: bool) -> Assignment {
        Assignment { typha: typha.to_vec(), felix: felix.to_vec(), disjoint }
    }

    #[test]
    fn typha_gets_one_core_and_the_load_the_others() {
        let of = |count| Assignment::one_for_typha(&(0..count).collect::<Vec<_>>());
        assert_eq!(of(1), assignment(&[0], &[0], false));
        assert_eq!(of(2), assignment(&[1], &[0], true));
        assert_eq!(of(4), assignment(&[3], &[0, 1, 2], true));
        assert_eq!(of(8), assignment(&[7], &[0, 1, 2, 3, 4, 5, 6], true));
    }

    #[test]
    fn both_ends_get_half_of_the_cores() {
        let of = |count, most| Assignment::halves(&(0..count).collect::<Vec<_>>(), most);
        assert_eq!(of(1, 9), assignment(&[0], &[0], false));
        assert_eq!(of(2, 9), assignment(&[1], &[0], true));
        assert_eq!(of(4, 9), assignment(&[2, 3], &[0, 1], true));
        assert_eq!(of(8, 9), assignment(&[4, 5, 6, 7], &[0, 1, 2, 3], true));
        assert_eq!(of(8, 2), assignment(&[6, 7], &[0, 1], true));
    }

    #[test]
    fn cores_are_what_the_process_may_use_not_what_there_are() {
        assert_eq!(Assignment::halves(&[3, 5, 9], 9), assignment(&[9], &[3], true));
        assert_eq!(Assignment::each(&[3, 5, 9], 2), None);
        assert_eq!(Assignment::each(&[3, 5, 9], 4), None);
        assert_eq!(Assignment::each(&[3, 5, 9], 0), None);
    }

    #[test]
    fn the_kernel_counts_ticks() {
        assert_eq!(busy_ticks("cpu3 10 2 20 40 5 11 12 8 99 99"), Some((3, 63)));
        assert_eq!((busy_ticks("cpu  10 2 20 40 5 11 12 8 99 99"), busy_ticks("ctxt 1234")), (None, None));
    }

    #[test]
    fn a_process_has_ticks_of_its_own() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 1";
        assert_eq!(cpu_ticks(stat), Some([50, 60]));
        assert_eq!((cpu_ticks("7 (a) S 1 7"), cpu_ticks("")), (None, None));
        assert!(cpu_ticks(&fs::read_to_string("/proc/self/stat").unwrap()).is_some());
        assert!(resident_bytes("self").unwrap() > 0);
    }

    #[test]
    fn the_cores_are_given_back() {
        let all = available_cores().unwrap();
        let inside = on_cores(&all[..1], || available_cores().unwrap()).unwrap();
        assert_eq!((inside, available_cores().unwrap()), (all[..1].to_vec(), all));
    }
}

//! Which cores each end runs on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A core, by the number that the kernel gives it.
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
            // The last one: the kernel likes the first ones for its own work.
            Some((typha, felix)) if !felix.is_empty() => {
                Self { typha: vec![*typha], felix: felix.to_vec(), disjoint: true }
            }
            _ => Self::shared(cores),
        }
    }

    /// A core for each end, or all for both.
    pub(crate) fn one_each(cores: &[Core]) -> Self {
        Self::each(cores, 1).unwrap_or_else(|| Self::shared(cores))
    }

    /// Half of the cores for each end.
    pub(crate) fn halves(cores: &[Core]) -> Self {
        Self::each(cores, cores.len() / 2).unwrap_or_else(|| Self::shared(cores))
    }

    /// So many cores for each end, if there are.
    pub(crate) fn each(cores: &[Core], count: usize) -> Option<Self> {
        let typha = cores.get(cores.len().checked_sub(count)?..)?;
        let felix = cores.get(..count)?;
        let disjoint = count > 0 && 2 * count <= cores.len();
        disjoint.then(|| Self { typha: typha.to_vec(), felix: felix.to_vec(), disjoint })
    }

    /// Both ends on all cores.
    pub(crate) fn shared(cores: &[Core]) -> Self {
        Self { typha: cores.to_vec(), felix: cores.to_vec(), disjoint: false }
    }
}

/// The cores that this process may run on.
pub(crate) fn available() -> io::Result<Vec<Core>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Runs something, most likely the start of a process, which inherits them, on these cores only.
pub(crate) fn on<T>(cores: &[Core], run: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set)?;
    let result = run();
    sched_setaffinity(None, &before)?;
    Ok(result)
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
        let of = |count| Assignment::halves(&(0..count).collect::<Vec<_>>());
        assert_eq!(of(1), assignment(&[0], &[0], false));
        assert_eq!(of(2), assignment(&[1], &[0], true));
        assert_eq!(of(4), assignment(&[2, 3], &[0, 1], true));
        assert_eq!(of(8), assignment(&[4, 5, 6, 7], &[0, 1, 2, 3], true));
    }

    #[test]
    fn cores_are_what_the_process_may_use_not_what_there_are() {
        assert_eq!(Assignment::halves(&[3, 5, 9]), assignment(&[9], &[3], true));
        assert_eq!(Assignment::each(&[3, 5, 9], 2), None);
        assert_eq!(Assignment::each(&[3, 5, 9], 4), None);
        assert_eq!(Assignment::each(&[3, 5, 9], 0), None);
    }

    #[test]
    fn the_cores_are_given_back() {
        let all = available().unwrap();
        let inside = on(&all[..1], || available().unwrap()).unwrap();
        assert_eq!((inside, available().unwrap()), (all[..1].to_vec(), all));
    }
}

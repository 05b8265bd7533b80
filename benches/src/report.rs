//! All that a run has to say.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use super::cores::{Assignment, Core};
use super::figures::{Figure, PeerResult, compare};
use super::floor::FloorResult;
use super::mode::Mode;
use super::plan::Growth;
use super::protocol::Implementation;
use super::targets::Target;

/// A run; its serialization is what `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) peers: Vec<Implementation>,
    /// Handshakes that were under way at a time.
    pub(crate) clients: usize,
    /// What was asked for, and what the run took.
    pub(crate) seconds_asked: f64,
    pub(crate) seconds_taken: f64,
    pub(crate) works: Vec<WorkResult>,
    pub(crate) growth: Vec<Curve>,
    /// Empty unless standard works were measured.
    pub(crate) targets: Vec<Target>,
    pub(crate) machine: Machine,
    /// Of the implementations, by peer.
    pub(crate) versions: BTreeMap<&'static str, String>,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
}

/// What came of one work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WorkResult {
    pub(crate) work: String,
    pub(crate) mode: Mode,
    pub(crate) typha_cores: usize,
    pub(crate) felix_cores: usize,
    /// Whether the ends have no core in common.
    pub(crate) disjoint_cores: bool,
    /// What the ratios among peers are about, which are taken in each round. By `typha_cpu_micros`, half of the time is a ratio of two; other figures
    /// are divided as they are.
    pub(crate) compared_by: Option<Figure>,
    pub(crate) floor: Option<FloorResult>,
    pub(crate) peers: Vec<PeerResult>,
}

impl WorkResult {
    /// With the peers compared with each other.
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
}

/// How the cost grows with something.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Curve {
    pub(crate) curve: Growth,
    /// What `x` counts.
    pub(crate) x_is: &'static str,
    pub(crate) points: Vec<Point>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) x: usize,
    pub(crate) result: WorkResult,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    /// That the run could use.
    pub(crate) cores: usize,
    pub(crate) kernel: String,
}

impl Machine {
    pub(crate) fn this(cores: &[Core]) -> Self {
        let unknown = || "unknown".to_owned();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let cpu = cpu.and_then(|line| line.split_once(':')).map(|(_, model)| model.trim().to_owned());
        let kernel =
            fs::read_to_string("/proc/sys/kernel/osrelease").map(|release| release.trim().to_owned());
        Self {
            cpu: cpu.unwrap_or_else(unknown),
            cores: cores.len(),
            kernel: kernel.unwrap_or_else(|_| unknown()),
        }
    }
}

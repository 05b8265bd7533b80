//! What this process has used so far, and may use.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::time::{ClockId, clock_gettime};

use super::Failure;
use crate::protocol::Usage;

/// Handshakes of Typha's end.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) accepted: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) resumed: AtomicU64,
}

pub(super) fn now(counts: &Counts) -> Result<Usage, Failure> {
    Ok(Usage {
        cpu_nanos: cpu_nanos(),
        resident_bytes: resident_bytes()?,
        accepted: counts.accepted.load(Relaxed),
        failed: counts.failed.load(Relaxed),
        resumed: counts.resumed.load(Relaxed),
    })
}

/// CPU time of the process, user and system.
pub(super) fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let [seconds, nanos] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or_default());
    seconds * 1_000_000_000 + nanos
}

fn resident_bytes() -> Result<u64, Failure> {
    const FILE: &str = "/proc/self/statm";
    let statm = fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
    let pages = statm.split(' ').nth(1).ok_or_else(|| format!("{FILE} has no second column: {statm}"))?;
    Ok(pages.parse::<u64>()? * rustix::param::page_size() as u64)
}

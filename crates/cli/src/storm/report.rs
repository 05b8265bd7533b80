//! The last line of a storm, and its exit code.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::kept::AtTheEnd;
use super::plan::Plan;
use super::stalled::Stood;
use super::tally::{Counts, Tally};
use crate::output::{FAILED, FOUND, SUCCESS};
use crate::percentile::percentile;

#[derive(Serialize)]
pub(super) struct Report {
    event: &'static str,
    typha: String,
    interrupted: bool,
    good: Kind,
    bad: Kind,
    elapsed_seconds: f64,
    handshakes_per_second: f64,
    latency_ms: Latency,
    /// How often a connection had to wait for a local port. If it did, the storm was weaker than planned.
    port_waits: u64,
    stalled: Stood,
    kept: AtTheEnd,
    #[serde(skip)]
    unreachable: bool,
}

/// The counts of the good or of the bad ones. All counts except the first add up to the first.
#[derive(Serialize)]
struct Kind {
    asked: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrongly_accepted: Option<u32>,
    unconfirmed: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_asked: Option<u32>,
    refused_by_peer: BTreeMap<String, u32>,
    rejected: BTreeMap<&'static str, u32>,
    timed_out: BTreeMap<&'static str, u32>,
    closed: u32,
    io: u32,
    not_tls: u32,
    tls: u32,
    dial_failed: u32,
    unfinished: u32,
    not_started: u32,
    first_failure: Option<String>,
    #[serde(skip)]
    as_they_should: u32,
}

/// Milliseconds of the accepted connections.
#[derive(Serialize)]
struct Latency {
    p50: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

/// The results of a storm.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) tally: Tally,
    pub(super) elapsed: Duration,
    pub(super) port_waits: u64,
    pub(super) stalled: Stood,
    pub(super) kept: AtTheEnd,
    pub(super) interrupted: bool,
    /// No address could be reached.
    pub(super) unresolved: bool,
}

impl Report {
    pub(super) fn new(typha: String, plan: &Plan, ended: Ended) -> Self {
        let Ended { tally: Tally { good, bad, mut accepted_nanos }, elapsed, .. } = ended;
        let nobody = good.connected + bad.connected + ended.stalled.opened == 0;
        let tried = good.ended + bad.ended > 0;
        let bad_asked = plan.bad_within(plan.handshakes);
        let seconds = elapsed.as_secs_f64();
        let per_second = if seconds > 0.0 { f64::from(good.accepted) / seconds } else { 0.0 };
        accepted_nanos.sort_unstable();
        let latency = |percent| percentile(&accepted_nanos, percent).map(|nanos| rounded(nanos as f64 / 1e6));
        Self {
            event: "storm",
            typha,
            interrupted: ended.interrupted,
            good: Kind::good(plan.handshakes - bad_asked, good),
            bad: Kind::bad(bad_asked, bad),
            elapsed_seconds: rounded(seconds),
            handshakes_per_second: rounded(per_second),
            latency_ms: Latency { p50: latency(50), p99: latency(99), max: latency(100) },
            port_waits: ended.port_waits,
            stalled: ended.stalled,
            kept: ended.kept,
            unreachable: ended.unresolved || (nobody && tried),
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        if self.unreachable {
            FAILED
        } else if [&self.good, &self.bad].iter().all(|kind| kind.as_they_should == kind.asked) {
            SUCCESS
        } else {
            FOUND
        }
    }
}

impl Kind {
    fn good(asked: u32, counts: Counts) -> Self {
        let (accepted, not_asked) = (counts.accepted, counts.not_asked);
        Self {
            accepted: Some(accepted),
            not_asked: Some(not_asked),
            as_they_should: accepted,
            ..Self::new(asked, counts)
        }
    }

    /// A Typha that requires no certificate accepts the bad ones as well.
    fn bad(asked: u32, counts: Counts) -> Self {
        let (accepted, refused) = (counts.accepted + counts.not_asked, counts.refused());
        Self { wrongly_accepted: Some(accepted), as_they_should: refused, ..Self::new(asked, counts) }
    }

    fn new(asked: u32, counts: Counts) -> Self {
        Self {
            asked,
            accepted: None,
            wrongly_accepted: None,
            unconfirmed: counts.unconfirmed,
            not_asked: None,
            refused_by_peer: counts.refused_by_peer(),
            rejected: counts.rejected,
            timed_out: counts.timed_out,
            closed: counts.closed,
            io: counts.io,
            not_tls: counts.not_tls,
            tls: counts.tls,
            dial_failed: counts.dial_failed,
            unfinished: counts.begun - counts.ended,
            not_started: asked - counts.begun,
            first_failure: counts.first_failure,
            as_they_should: 0,
        }
    }
}

/// Rounds to three decimals.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

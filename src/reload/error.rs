//! Why a look brought nothing that can be put in force.

use std::time::Duration;

use thiserror::Error;

use super::source::SourceError;
use crate::material::MaterialWarning;
use crate::text::WithCauses;

/// Why a look of the [`Reloader`](super::Reloader) brought nothing that can be put in force. The configuration
/// in force stays.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The clock of the policy gives no time, without which nothing new can be judged.
    #[error("the clock gives no time, so that what is new can not be judged")]
    NoTime,
    /// The source gives nothing: a file is missing or damaged, most often.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The reloader no longer works: its runtime has been shut down.
    #[error("nothing is reloaded any more: the runtime of the reloader has been shut down")]
    Stopped,
    /// The source took longer than [`ReloadOptions::load_timeout`](super::ReloadOptions::load_timeout).
    #[error("the source gave nothing within {} s; is it on a network that is down?", .0.as_secs_f64())]
    TimedOut(Duration),
    /// What the source gives was different at each look, so that it is taken for something half-written.
    #[error(
        "what is there was different at each of {looks} looks; write files anew and rename them, rather than in place"
    )]
    Unsettled {
        /// How many looks in a row found something else than the look before.
        looks: u32,
    },
    /// Something new that peers would refuse, or that is not what it is meant to be.
    #[error("{0}")]
    Unsuitable(MaterialWarning),
}

impl ReloadError {
    /// A stable label, such as `timed_out`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoTime => "no_time",
            Self::Source(_) => "source",
            Self::Stopped => "stopped",
            Self::TimedOut(_) => "timed_out",
            Self::Unsettled { .. } => "unsettled",
            Self::Unsuitable(_) => "unsuitable",
        }
    }

    /// Whether an operator would take the one for the other.
    pub(super) fn reads_as(&self, other: &Self) -> bool {
        WithCauses(self).to_string() == WithCauses(other).to_string()
    }
}

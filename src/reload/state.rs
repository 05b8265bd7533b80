//! The state of a reloader: what it has done, what is in force, and its last error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use rustls_pki_types::UnixTime;
use thiserror::Error;

use super::source::SourceError;
use crate::config_parts::ConfigParts;
use crate::material::MaterialWarning;
use crate::text::WithCauses;

/// The history of a [`Reloader`](super::Reloader), and the configuration in force.
///
/// If the program has installed a recorder of the `metrics` crate, the recorder gets the same values:
///
/// | metric | kind | what |
/// | --- | --- | --- |
/// | `typha_tls_snapshot_generation` | gauge | [`generation`](Self::generation) |
/// | `typha_tls_reloads{outcome="replaced"}` | counter | [`reloads`](Self::reloads) |
/// | `typha_tls_reloads{outcome="failed"}` | counter | [`failures`](Self::failures) |
/// | `typha_tls_last_reload_successful` | gauge | 0 while there is a [`last_error`](Self::last_error), otherwise 1 |
/// | `typha_tls_certificate_not_after_seconds{certificate,subject}` | gauge | [`not_after`](CertificateLifetime::not_after) in seconds since 1970, by the subjects of [`certificates`](Self::certificates): `certificate` is `own_leaf` or `ca`, and of several with one subject the earliest counts. 0 for what is no longer in force |
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReloadState {
    /// The generation in force, whether the reloader or the program put it there.
    pub generation: u64,
    /// When the configuration was put in force, by the clock of its policy. For the configuration that the reloader
    /// found when it started, it is the time of the start.
    pub loaded_at: UnixTime,
    /// Where the configuration comes from: the [description](super::TlsConfigSource::description) of the source. It is
    /// `the program` for the configuration at the start and those that the program put in force.
    pub loaded_from: String,
    /// How often the source was loaded.
    pub looks: u64,
    /// How often the reloader put another configuration in force.
    pub reloads: u64,
    /// How often a new configuration failed. Repeated loads of the same failure count once.
    pub failures: u64,
    /// Why the source's current contents are not in force; `None` if they are, or wait to settle.
    pub last_error: Option<Arc<ReloadError>>,
    /// The certificates in force: our own leaf if there is one, then all CAs.
    pub certificates: Vec<CertificateLifetime>,
}

/// The validity of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CertificateLifetime {
    /// Its subject, as text for people: `O="example", CN="ca"`.
    pub subject: String,
    /// Its kind: `own_leaf`, or `ca` for an entry of the bundle of CAs trusted for the other end.
    pub kind: &'static str,
    /// The begin of its validity.
    pub not_before: UnixTime,
    /// The end of its validity.
    pub not_after: UnixTime,
}

/// The kind of our own leaf; all others have `ca`.
pub(super) const OWN_LEAF: &str = "own_leaf";

const RELOADS: &str = "typha_tls_reloads";
const GENERATION: &str = "typha_tls_snapshot_generation";
const LAST_SUCCESSFUL: &str = "typha_tls_last_reload_successful";
const NOT_AFTER: &str = "typha_tls_certificate_not_after_seconds";

impl ReloadState {
    /// The state before the first load.
    pub(super) fn new(generation: u64, config: ConfigParts<'_>, from: &str) -> Self {
        describe_counter!(RELOADS, "changes of the configuration, by outcome");
        describe_gauge!(GENERATION, "the generation of the configuration in force");
        describe_gauge!(LAST_SUCCESSFUL, "0 while the new configuration can not be used, otherwise 1");
        describe_gauge!(NOT_AFTER, Unit::Seconds, "when a certificate in force expires, since 1970");
        let state = Self {
            generation,
            loaded_at: config.now(),
            loaded_from: from.to_owned(),
            looks: 0,
            reloads: 0,
            failures: 0,
            last_error: None,
            certificates: CertificateLifetime::all_of(config),
        };
        state.record_since(&state);
        state
    }

    pub(super) fn put_in_force(&mut self, generation: u64, config: ConfigParts<'_>, from: &str) {
        self.generation = generation;
        self.loaded_at = config.now();
        self.loaded_from = from.to_owned();
        self.certificates = CertificateLifetime::all_of(config);
    }

    /// Sends the changes to the metrics recorder. Counters are incremented, because several reloaders may share them.
    pub(super) fn record_since(&self, before: &Self) {
        counter!(RELOADS, "outcome" => "replaced").increment(self.reloads - before.reloads);
        counter!(RELOADS, "outcome" => "failed").increment(self.failures - before.failures);
        gauge!(GENERATION).set(self.generation as f64);
        gauge!(LAST_SUCCESSFUL).set(if self.last_error.is_none() { 1.0 } else { 0.0 });
        let mut ends = BTreeMap::new();
        // From the latest to the earliest, so that the earliest counts. Certificates no longer in force keep 0.
        let gone = before.certificates.iter().map(|certificate| (certificate, 0));
        let mut in_force: Vec<_> =
            self.certificates.iter().map(|one| (one, one.not_after.as_secs())).collect();
        in_force.sort_by_key(|(_, end)| std::cmp::Reverse(*end));
        for (certificate, end) in gone.chain(in_force) {
            ends.insert((certificate.kind, &certificate.subject), end);
        }
        for ((kind, subject), end) in ends {
            gauge!(NOT_AFTER, "certificate" => kind, "subject" => subject.clone()).set(end as f64);
        }
    }
}

impl CertificateLifetime {
    /// The time from `now` to the expiry; `None` if it has expired. It also counts the time before the start of the
    /// validity.
    pub fn time_left(&self, now: UnixTime) -> Option<Duration> {
        self.not_after.as_secs().checked_sub(now.as_secs()).map(Duration::from_secs)
    }

    /// All certificates of a configuration that can expire.
    pub(super) fn all_of(config: ConfigParts<'_>) -> Vec<Self> {
        let leaf = config.credentials.map(|own| Self {
            subject: own.subject().to_owned(),
            kind: OWN_LEAF,
            not_before: own.not_before(),
            not_after: own.not_after(),
        });
        let cas = config.trust_bundle.entries().iter().map(|entry| Self {
            subject: entry.subject.clone(),
            kind: "ca",
            not_before: entry.not_before,
            not_after: entry.not_after,
        });
        leaf.into_iter().chain(cas).collect()
    }
}

/// The outcome of [`Reloader::reload_now`](super::Reloader::reload_now).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reloaded {
    /// Another configuration is in force.
    Replaced {
        /// Its generation.
        generation: u64,
    },
    /// The source gives the configuration that is in force.
    Unchanged,
}

/// Why a load of the [`Reloader`](super::Reloader) put nothing in force. The configuration in force stays.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The clock of the policy gives no time, so a new configuration can not be validated. Label: `no_time`.
    #[error("the clock gives no time, so the new configuration can not be validated")]
    NoTime,
    /// The source gives no configuration, mostly because a file is missing or damaged. Label: `source`.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The reloader has stopped because its runtime was shut down. Label: `stopped`.
    #[error("nothing is reloaded any more: the runtime of the reloader has been shut down")]
    Stopped,
    /// The source took longer than [`ReloadOptions::load_timeout`](super::ReloadOptions::load_timeout). Label:
    /// `timed_out`.
    #[error("the source gave nothing within {} s; is it on a network that is down?", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The source gave something different at each load, so its files may be half-written. Label: `unsettled`.
    #[error(
        "the source gave something different at each of {looks} loads; write new files and rename them into place"
    )]
    Unsettled {
        /// How many loads in a row differed from the load before.
        looks: u32,
    },
    /// Peers would refuse the new material, or it is not what it should be. Label: `unsuitable`.
    #[error("{0}")]
    Unsuitable(MaterialWarning),
}

impl ReloadError {
    /// A stable label, such as `timed_out`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoTime => "no_time",
            Self::Source(_) => "source",
            Self::Stopped => "stopped",
            Self::TimedOut(_) => "timed_out",
            Self::Unsettled { .. } => "unsettled",
            Self::Unsuitable(_) => "unsuitable",
        }
    }

    /// Whether both errors read the same to an operator.
    pub(super) fn reads_as(&self, other: &Self) -> bool {
        WithCauses(self).to_string() == WithCauses(other).to_string()
    }
}

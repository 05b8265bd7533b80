//! What a reloader has done, what is in force, and why something else is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use rustls_pki_types::UnixTime;
use thiserror::Error;

use super::source::SourceError;
use crate::certificate::Certificate;
use crate::material::MaterialWarning;
use crate::text::WithCauses;
use crate::tls_config::TlsConfig;

/// What a [`Reloader`](super::Reloader) has done, and what is in force.
///
/// The recorder of the `metrics` crate gets the same, if the program has installed one:
///
/// | metric | kind | what |
/// | --- | --- | --- |
/// | `typha_tls_snapshot_generation` | gauge | [`generation`](Self::generation) |
/// | `typha_tls_reloads{outcome="replaced"}` | counter | [`reloads`](Self::reloads) |
/// | `typha_tls_reloads{outcome="failed"}` | counter | [`failures`](Self::failures) |
/// | `typha_tls_certificate_not_after_seconds{certificate,subject}` | gauge | [`not_after`](CertificateLifetime::not_after) in seconds since 1970, by the subjects of [`certificates`](Self::certificates): `certificate` is `own_leaf` or `ca`, and of several with one subject the earliest counts. 0 for what is no longer in force |
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReloadState {
    /// The generation in force, whoever put it there.
    pub generation: u64,
    /// When it was put in force, by the clock of its policy; of what the reloader found in force when it started, that
    /// moment.
    pub loaded_at: UnixTime,
    /// Where it comes from: the [description](super::TlsConfigSource::description) of the source, or `the program` for
    /// what was there at the start and what the program itself put in force.
    pub loaded_from: String,
    /// How often the source was asked.
    pub looks: u64,
    /// How often another configuration was put in force by the reloader.
    pub reloads: u64,
    /// How often something new could not be put in force. It counts once, however often it is looked at.
    pub failures: u64,
    /// Why what there is now is not in force; `None` when it is, or when it waits to settle.
    pub last_error: Option<Arc<ReloadError>>,
    /// Our own leaf, then all CAs of what is in force.
    pub certificates: Vec<CertificateLifetime>,
}

/// From when until when a certificate is valid.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CertificateLifetime {
    /// Its subject, for people: `O="example", CN="ca"`.
    pub subject: String,
    /// What it is to us: `own_leaf`, or `ca` for an entry of the bundle of CAs that are trusted for the other end.
    pub kind: &'static str,
    /// The begin of its validity.
    pub not_before: UnixTime,
    /// The end of its validity.
    pub not_after: UnixTime,
}

/// The kind of our own leaf; that of all others is `ca`.
pub(super) const OWN_LEAF: &str = "own_leaf";

const RELOADS: &str = "typha_tls_reloads";
const GENERATION: &str = "typha_tls_snapshot_generation";
const NOT_AFTER: &str = "typha_tls_certificate_not_after_seconds";

impl ReloadState {
    /// Of what is in force before anything was loaded.
    pub(super) fn new(generation: u64, config: &TlsConfig, from: &str) -> Self {
        describe_counter!(RELOADS, "changes of the configuration, by outcome");
        describe_gauge!(GENERATION, "the generation of the configuration in force");
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

    pub(super) fn put_in_force(&mut self, generation: u64, config: &TlsConfig, from: &str) {
        self.generation = generation;
        self.loaded_at = config.now();
        self.loaded_from = from.to_owned();
        self.certificates = CertificateLifetime::all_of(config);
    }

    /// Sends the recorder of metrics what changed. The counters are not ours alone: another reloader counts there, too.
    pub(super) fn record_since(&self, before: &Self) {
        counter!(RELOADS, "outcome" => "replaced").increment(self.reloads - before.reloads);
        counter!(RELOADS, "outcome" => "failed").increment(self.failures - before.failures);
        gauge!(GENERATION).set(self.generation as f64);
        let mut ends = BTreeMap::new();
        // From the latest to the earliest, which counts; 0 stays for those that are no longer in force.
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
    /// How long it is valid from `now` on, of which a time before its begin counts, too; `None` if it has expired.
    pub fn time_left(&self, now: UnixTime) -> Option<Duration> {
        self.not_after.as_secs().checked_sub(now.as_secs()).map(Duration::from_secs)
    }

    /// All certificates of a configuration that can expire.
    pub(super) fn all_of(config: &TlsConfig) -> Vec<Self> {
        let own = &config.material.credentials;
        let subject =
            own.chain().first().and_then(|leaf| Some(Certificate::parse(leaf).ok()?.subject_text()));
        let leaf = Self {
            subject: subject.unwrap_or_default(),
            kind: OWN_LEAF,
            not_before: own.not_before(),
            not_after: own.not_after(),
        };
        let cas = config.material.trust_bundle.entries().iter().map(|entry| Self {
            subject: entry.subject.clone(),
            kind: "ca",
            not_before: entry.not_before,
            not_after: entry.not_after,
        });
        std::iter::once(leaf).chain(cas).collect()
    }
}

/// What [`Reloader::reload_now`](super::Reloader::reload_now) did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reloaded {
    /// Another configuration is in force.
    Replaced {
        /// Its generation.
        generation: u64,
    },
    /// What is there is what is in force.
    Unchanged,
}

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

    /// Whether an operator would take the one for the other.
    pub(super) fn reads_as(&self, other: &Self) -> bool {
        WithCauses(self).to_string() == WithCauses(other).to_string()
    }
}

//! What a reloader has done, and what is in force.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use super::error::ReloadError;
use crate::certificate::Certificate;
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
    /// What it is.
    pub kind: CertificateKind,
    /// The begin of its validity.
    pub not_before: UnixTime,
    /// The end of its validity.
    pub not_after: UnixTime,
}

/// What a certificate is to us.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum CertificateKind {
    /// An entry of the bundle of CAs that are trusted for the other end.
    Ca,
    /// Our own leaf.
    OwnLeaf,
}

impl CertificateKind {
    /// A stable label: `ca` or `own_leaf`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::OwnLeaf => "own_leaf",
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
            kind: CertificateKind::OwnLeaf,
            not_before: own.not_before(),
            not_after: own.not_after(),
        };
        let cas = config.material.trust_bundle.entries().iter().map(|entry| Self {
            subject: entry.subject.clone(),
            kind: CertificateKind::Ca,
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

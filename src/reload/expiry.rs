//! Certificates in force that are about to expire, each told of once per threshold.

use std::fmt;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tracing::warn;

use super::state::{CertificateKind, CertificateLifetime};
use crate::text::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// When to warn that our own leaf or a CA is about to expire: once as each threshold is crossed, at its expiry, and every day after that.
///
/// By default 30, 7 and 1 days before. Where a third of the lifetime is less than 30 days, those would come too early, and it is the last
/// third, sixth and twelfth of the lifetime: whoever issues for a short time renews in the last third, so that it is too late by then.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ExpiryWarnings {
    /// How long before the end.
    pub before: Vec<Duration>,
    /// The same as parts of the lifetime (3: the last third), for certificates of which the largest of these parts is shorter than the
    /// longest of [`before`](Self::before). Empty: as for all others. 0 is passed over.
    pub short_lived: Vec<u32>,
}

impl Default for ExpiryWarnings {
    fn default() -> Self {
        Self { before: vec![30 * DAY, 7 * DAY, DAY], short_lived: vec![3, 6, 12] }
    }
}

impl ExpiryWarnings {
    /// Warnings these times before the end, whatever the lifetime. With none, expiry itself is still warned of.
    pub fn before(times: impl IntoIterator<Item = Duration>) -> Self {
        Self { before: times.into_iter().collect(), short_lived: Vec::new() }
    }

    /// The thresholds of a certificate, as times before its end.
    fn thresholds(&self, certificate: &CertificateLifetime) -> Vec<Duration> {
        let seconds = certificate.not_after.as_secs().saturating_sub(certificate.not_before.as_secs());
        let lifetime = Duration::from_secs(seconds);
        let parts: Vec<_> = self.short_lived.iter().filter_map(|&part| lifetime.checked_div(part)).collect();
        match (parts.iter().max(), self.before.iter().max()) {
            (Some(part), Some(before)) if part < before => parts,
            _ => self.before.clone(),
        }
    }

    /// 0 before all thresholds; each one that is crossed adds 1, as do the expiry and each day after it.
    fn stage(&self, certificate: &CertificateLifetime, now: UnixTime) -> u64 {
        let thresholds = self.thresholds(certificate);
        let all = thresholds.len() as u64;
        match certificate.time_left(now) {
            Some(left) => thresholds.into_iter().filter(|&before| left <= before).count() as u64,
            None => all + 1 + since(certificate.not_after, now).as_secs() / DAY.as_secs(),
        }
    }
}

fn since(then: UnixTime, now: UnixTime) -> Duration {
    Duration::from_secs(now.as_secs().saturating_sub(then.as_secs()))
}

/// Remembers which warnings were given.
pub(super) struct ExpiryWatch {
    warnings: ExpiryWarnings,
    told: Vec<(CertificateLifetime, u64)>,
}

impl ExpiryWatch {
    pub(super) fn new(warnings: ExpiryWarnings) -> Self {
        Self { warnings, told: Vec::new() }
    }

    /// The certificates to warn of now. Of several thresholds that were crossed meanwhile, there is one warning.
    fn due<'a>(
        &mut self,
        certificates: &'a [CertificateLifetime],
        now: UnixTime,
    ) -> Vec<&'a CertificateLifetime> {
        // A renewed one is another one, and what is no longer in force is forgotten.
        self.told.retain(|(told, _)| certificates.contains(told));
        let mut due = Vec::new();
        for certificate in certificates {
            let stage = self.warnings.stage(certificate, now);
            match self.told.iter_mut().find(|(told, _)| told == certificate) {
                Some((_, told)) if *told >= stage => continue,
                Some((_, told)) => *told = stage,
                None if stage == 0 => continue,
                None => self.told.push((certificate.clone(), stage)),
            }
            due.push(certificate);
        }
        due
    }

    pub(super) fn warn(&mut self, certificates: &[CertificateLifetime], now: UnixTime) {
        for certificate in self.due(certificates, now) {
            let text = Expiring { certificate, now };
            warn!(
                certificate = certificate.kind.as_str(),
                subject = certificate.subject,
                not_after = %Timestamp(certificate.not_after),
                "{text}"
            );
        }
    }
}

/// What expires, when, and what to do.
struct Expiring<'a> {
    certificate: &'a CertificateLifetime,
    now: UnixTime,
}

impl fmt::Display for Expiring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CertificateLifetime { subject, kind, not_after, .. } = self.certificate;
        let (what, consequence) = match kind {
            CertificateKind::OwnLeaf => ("our certificate", "every peer refuses us"),
            CertificateKind::Ca => ("the CA", "nothing it issued is accepted"),
        };
        let at = Timestamp(*not_after);
        match self.certificate.time_left(self.now) {
            Some(left) => write!(
                f,
                "{what} {subject} expires in {}, at {at}; after that {consequence}: ",
                Rounded(left)
            ),
            None => {
                let ago = Rounded(since(*not_after, self.now));
                write!(f, "{what} {subject} expired {ago} ago, at {at}; {consequence}: ")
            }
        }?;
        f.write_str(match kind {
            CertificateKind::OwnLeaf => "issue a new one, and see why it was not renewed",
            CertificateKind::Ca => {
                "add its successor to the CA file, then issue the certificates of the other end by that"
            }
        })
    }
}

/// A duration in the largest unit of which there are at least two, rounded down.
struct Rounded(Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(24 * 3600, "days"), (3600, "hours"), (60, "minutes")];
        match units.into_iter().find(|(unit, _)| seconds >= 2 * unit) {
            Some((unit, name)) => write!(f, "{} {name}", seconds / unit),
            None => write!(f, "{seconds} seconds"),
        }
    }
}

//! Warns about certificates in force that expire soon, once per threshold.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use tracing::warn;

use super::state::{CertificateLifetime, OWN_LEAF};
use crate::config_parts::ConfigParts;
use crate::material::{MaterialWarning, thresholds};
use crate::time::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Counts the thresholds that were crossed; the expiry and each day after it add 1.
fn stage(certificate: &CertificateLifetime, now: UnixTime) -> u64 {
    let thresholds = thresholds(certificate.not_before, certificate.not_after);
    match certificate.time_left(now) {
        Some(left) => thresholds.into_iter().filter(|&before| left <= before).count() as u64,
        None => thresholds.len() as u64 + 1 + since(certificate.not_after, now).as_secs() / DAY.as_secs(),
    }
}

fn since(then: UnixTime, now: UnixTime) -> Duration {
    Duration::from_secs(now.as_secs().saturating_sub(then.as_secs()))
}

/// Warns that our own leaf or a CA is about to expire. It remembers the warnings given: one per threshold, one at the
/// expiry, and one every day after that.
#[derive(Default)]
pub(super) struct ExpiryWatch {
    warned: Vec<(CertificateLifetime, u64)>,
    /// The warnings given about revocation lists.
    of_lists: Vec<MaterialWarning>,
    /// The generation that all of this is about.
    generation: u64,
}

impl ExpiryWatch {
    /// The certificates to warn about now. Several thresholds crossed since the last call cause one warning.
    fn due<'a>(
        &mut self,
        certificates: &'a [CertificateLifetime],
        now: UnixTime,
    ) -> Vec<&'a CertificateLifetime> {
        // A renewed certificate counts as another one. Certificates no longer in force are forgotten.
        self.warned.retain(|(warned, _)| certificates.contains(warned));
        let mut due = Vec::new();
        for certificate in certificates {
            let stage = stage(certificate, now);
            match self.warned.iter_mut().find(|(warned, _)| warned == certificate) {
                // The clock was wrong, or is wrong now. A warning given too early is repeated at its time.
                Some((_, warned)) if *warned >= stage => {
                    *warned = stage;
                    continue;
                }
                Some((_, warned)) => *warned = stage,
                None if stage == 0 => continue,
                None => self.warned.push((certificate.clone(), stage)),
            }
            due.push(certificate);
        }
        due
    }

    /// Warns about certificates that are about to expire or have expired since the last call. When a generation was put
    /// in force, its warnings were logged; they are not repeated.
    pub(super) fn warn(
        &mut self,
        generation: u64,
        config: ConfigParts<'_>,
        certificates: &[CertificateLifetime],
    ) {
        let Some(now) = config.policy.time_provider().current_time() else { return };
        let is_logged = std::mem::replace(&mut self.generation, generation) != generation;
        if is_logged {
            self.warned.clear();
        }
        let due = self.due(certificates, now);
        let of_lists = config.revocation_lists.warnings(now);
        let known = std::mem::replace(&mut self.of_lists, of_lists);
        if is_logged {
            return;
        }
        for certificate in due {
            let bundle = config.trust_bundle;
            let entry = bundle.entries().iter().find(|entry| {
                certificate.kind != OWN_LEAF
                    && (&entry.subject, entry.not_before, entry.not_after)
                        == (&certificate.subject, certificate.not_before, certificate.not_after)
            });
            if entry.is_some_and(|entry| bundle.is_renewed(entry, now)) {
                continue;
            }
            let is_pinned = entry.is_some_and(|entry| entry.can_issue.is_err());
            warn!(
                certificate = certificate.kind,
                subject = certificate.subject,
                not_after = %Timestamp(certificate.not_after),
                "{}",
                text(certificate, is_pinned, now)
            );
        }
        for warning in self.of_lists.iter().filter(|warning| !known.contains(warning)) {
            warn!(finding = warning.label(), "{warning}");
        }
    }
}

/// The certificate, its expiry and the remedy. An entry of the bundle that is no CA `is_pinned`.
fn text(
    CertificateLifetime { subject, kind, not_after, .. }: &CertificateLifetime,
    is_pinned: bool,
    now: UnixTime,
) -> String {
    let (what, consequence, remedy) = match *kind {
        OWN_LEAF => {
            ("our certificate", "every peer refuses us", "issue a new one, and see why it was not renewed")
        }
        _ if is_pinned => (
            "the peer certificate in the CA file",
            "it is not accepted",
            "add its successor, and remove this one when the peer presents the successor",
        ),
        _ => (
            "the CA",
            "nothing it issued is accepted",
            "add its successor to the CA file, then issue the certificates of the other end by that",
        ),
    };
    let at = Timestamp(*not_after);
    match now <= *not_after {
        true => {
            let left = rounded(since(now, *not_after));
            format!("{what} {subject} expires in {left}, at {at}; after that {consequence}: {remedy}")
        }
        false => {
            let ago = rounded(since(*not_after, now));
            format!("{what} {subject} expired {ago} ago, at {at}; {consequence}: {remedy}")
        }
    }
}

/// The duration in the largest unit of which there are at least two, rounded down.
fn rounded(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(24 * 3600, "days"), (3600, "hours"), (60, "minutes")];
    let (unit, name) = units.into_iter().find(|(unit, _)| seconds >= 2 * unit).unwrap_or((1, "seconds"));
    format!("{} {name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;
    /// The start of each validity.
    const BEGIN: u64 = 1_800_000_000;

    fn certificate(kind: &'static str, days: u64) -> CertificateLifetime {
        CertificateLifetime {
            subject: "CN=\"one\"".to_owned(),
            kind,
            not_before: at(0),
            not_after: at(days * 24),
        }
    }

    fn at(hours: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(BEGIN + hours * HOUR))
    }

    /// The hours before the expiry at which warnings come, if checked every hour until three days after.
    fn warned(days: u64) -> Vec<i64> {
        let certificates = [certificate(OWN_LEAF, days)];
        let mut watch = ExpiryWatch::default();
        let end = days * 24;
        (0..end + 3 * 24)
            .filter(|&hour| !watch.due(&certificates, at(hour)).is_empty())
            .map(|hour| end.cast_signed() - hour.cast_signed())
            .collect()
    }

    #[test]
    fn once_at_each_threshold_then_daily() {
        // The first hour after the expiry is -1, because the certificate is still valid at the expiry itself.
        let after = [-1, -24, -48];
        assert_eq!(warned(365), [[720, 168, 24], after].concat());
        assert_eq!(warned(90), [[720, 168, 24], after].concat());
        // A day: warnings at eight, four and two hours.
        assert_eq!(warned(1), [[8, 4, 2], after].concat());
        assert_eq!(warned(89), [[712, 356, 178], after].concat());
    }

    #[test]
    fn several_thresholds_at_once_are_one_warning() {
        let mut watch = ExpiryWatch::default();
        let one = [certificate("ca", 365)];
        let end = 365 * 24;
        assert_eq!(watch.due(&one, at(end - 2)).len(), 1);
        assert_eq!(watch.due(&one, at(end - 1)).len(), 0);
        // Setting the clock back causes no warning. A warning given too early is repeated at its time.
        assert_eq!(watch.due(&one, at(0)).len(), 0);
        assert_eq!(watch.due(&one, at(end - 2)).len(), 1);
        assert_eq!(watch.due(&one, at(10 * end)).len(), 1);
        assert_eq!(watch.due(&one, at(end - 1)).len(), 0);
        assert_eq!(watch.due(&one, at(end + 1)).len(), 1);
    }

    #[test]
    fn a_renewed_one_starts_afresh() {
        let mut watch = ExpiryWatch::default();
        let [old, new] = [100, 200].map(|days| [certificate(OWN_LEAF, days)]);
        assert_eq!(watch.due(&old, at(99 * 24 + 1)).len(), 1);
        assert_eq!(watch.due(&new, at(99 * 24 + 1)).len(), 0);
        assert_eq!(watch.due(&new, at(199 * 24 + 1)).len(), 1);
        // A certificate that comes back counts as new.
        assert_eq!(watch.due(&old, at(99 * 24 + 1)).len(), 1);
    }

    #[test]
    fn the_text_says_what_when_and_what_to_do() {
        let text = |kind, hours| text(&certificate(kind, 10), false, at(hours));
        assert_eq!(
            text(OWN_LEAF, 24),
            "our certificate CN=\"one\" expires in 9 days, at 2027-01-25T08:00:00Z; after that every peer refuses us: \
             issue a new one, and see why it was not renewed"
        );
        assert_eq!(
            text("ca", 14 * 24),
            "the CA CN=\"one\" expired 4 days ago, at 2027-01-25T08:00:00Z; nothing it issued is accepted: add its \
             successor to the CA file, then issue the certificates of the other end by that"
        );
        let rounded =
            [1, 119, 120, 7199, 7200, 172_799, 172_800].map(|seconds| rounded(Duration::from_secs(seconds)));
        assert_eq!(
            rounded,
            ["1 seconds", "119 seconds", "2 minutes", "119 minutes", "2 hours", "47 hours", "2 days"]
        );
    }
}

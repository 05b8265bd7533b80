//! Deadlines, and the display of points in time.

use std::fmt;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

/// In practice never: about 30 years. With much longer durations, `Instant` overflows and panics.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The moment in `timeout` from now, at most in [`FAR`].
pub(crate) fn deadline_in(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(FAR)
}

/// Shows a point in time as RFC 3339 in UTC.
pub(crate) struct Timestamp(pub(crate) UnixTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let formatted = i64::try_from(seconds)
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .and_then(|moment| moment.format(&Rfc3339).ok());
        match formatted {
            Some(text) => f.write_str(&text),
            None => write!(f, "{seconds} s after 1970"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000));
        assert_eq!(Timestamp(time).to_string(), "2023-11-14T22:13:20Z");
        let absurd = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
        assert_eq!(Timestamp(absurd).to_string(), "18446744073709551615 s after 1970");
    }
}

//! The rule when a certificate counts as expiring soon.

use std::time::Duration;

use rustls_pki_types::UnixTime;

/// Thresholds: times before the expiry, the longest first.
const BEFORE: [Duration; 3] =
    [Duration::from_secs(30 * 24 * 3600), Duration::from_secs(7 * 24 * 3600), Duration::from_secs(24 * 3600)];
/// Thresholds as fractions of the lifetime (3 = last third). Used when the last third is shorter than the longest time
/// in `BEFORE`, because short-lived certificates are usually renewed in their last third.
const SHORT_LIVED: [u32; 3] = [3, 6, 12];

/// The times before the expiry at which a warning is due, the longest first.
pub(crate) fn thresholds(not_before: UnixTime, not_after: UnixTime) -> [Duration; 3] {
    let lifetime = Duration::from_secs(not_after.as_secs().saturating_sub(not_before.as_secs()));
    if lifetime / SHORT_LIVED[0] < BEFORE[0] { SHORT_LIVED.map(|part| lifetime / part) } else { BEFORE }
}

/// Whether the first threshold is crossed, and the certificate has not expired.
pub(super) fn expires_soon(not_before: UnixTime, not_after: UnixTime, now: UnixTime) -> bool {
    let [first, ..] = thresholds(not_before, not_after);
    not_after.as_secs().checked_sub(now.as_secs()).is_some_and(|left| left <= first.as_secs())
}

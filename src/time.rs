//! Deadlines.

use std::time::Duration;

use tokio::time::Instant;

/// As good as never; `Instant` overflows and panics further out.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The moment that lies `timeout` ahead.
pub(crate) fn deadline_in(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(FAR)
}

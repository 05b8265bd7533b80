//! Slows down addresses whose handshakes keep failing.

use std::time::Duration;

use tokio::time::Instant;

/// The failures of one address since its last success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    count: u32,
    last: Option<Instant>,
}

/// Failures in a row that have no effect: a Felix may not be fully set up yet, or several share an address.
const LENIENCY: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A Felix that has been repaired waits no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// After this time without a failure, all failures are forgotten.
const MEMORY: Duration = Duration::from_secs(60);

impl Failures {
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Records a failure. Returns how long the address must pause before its next handshake.
    pub(super) fn failed(&mut self, now: Instant) -> Duration {
        if !self.remembered(now) {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last = Some(now);
        match self.count.checked_sub(LENIENCY) {
            None => Duration::ZERO,
            Some(beyond) => (FIRST_PAUSE * 2_u32.saturating_pow(beyond.min(16))).min(LONGEST_PAUSE),
        }
    }

    /// Whether the address gets one handshake at a time only.
    pub(super) fn slowed(&self, now: Instant) -> bool {
        self.count >= LENIENCY && self.remembered(now)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn remembered(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now < last + MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_after_ten_failures_in_a_row() {
        let now = Instant::now();
        let mut failures = Failures::default();
        let pauses: Vec<_> = (0..17).map(|_| failures.failed(now).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        assert!(failures.slowed(now));
        failures.succeeded();
        assert!(!failures.slowed(now));
        assert_eq!(failures.failed(now), Duration::ZERO);
    }

    #[test]
    fn failures_are_forgotten_after_a_minute() {
        let then = Instant::now();
        let mut failures = Failures::default();
        for _ in 0..20 {
            failures.failed(then);
        }
        assert!(failures.slowed(then + MEMORY - Duration::from_nanos(1)));
        assert!(!failures.slowed(then + MEMORY));
        assert_eq!(failures.failed(then + MEMORY), Duration::ZERO);
    }
}

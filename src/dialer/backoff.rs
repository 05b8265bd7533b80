//! How long to wait between rounds, and between connections.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use super::limits::DialerLimits;

/// Delays that double from one to the next up to a cap, and are never the same for two Felixes.
pub(super) struct Backoff {
    limits: ExponentialBuilder,
    delays: ExponentialBackoff,
    cap: Duration,
}

/// Below it, a loop around a delay is a busy one.
const SHORTEST: Duration = Duration::from_millis(1);

impl Backoff {
    pub(super) fn new(limits: &DialerLimits) -> Self {
        let cap = limits.backoff_cap.max(2 * SHORTEST);
        // backon adds up to as much again: half the cap leaves room for that.
        let longest = cap / 2;
        let limits = ExponentialBuilder::new()
            .with_min_delay(limits.backoff_first.clamp(SHORTEST, longest))
            .with_max_delay(longest)
            .without_max_times()
            .with_jitter();
        Self { limits, delays: limits.build(), cap }
    }

    /// The next delay: between the half and the whole of the cap when it has grown to its longest.
    pub(super) fn next(&mut self) -> Duration {
        // Without a number of times there is always a next one.
        self.delays.next().unwrap_or(self.cap).min(self.cap)
    }

    /// Begins again with the first delay.
    pub(super) fn reset(&mut self) {
        self.delays = self.limits.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(first: Duration, cap: Duration) -> DialerLimits {
        DialerLimits { backoff_first: first, backoff_cap: cap, ..DialerLimits::default() }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn delays_double_to_the_cap_with_jitter() {
        let bases = [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000].map(|base| base * MS);
        let mut seen = bases.map(|base| (base * 2, base));
        for _ in 0..2_000 {
            let mut backoff = Backoff::new(&DialerLimits::default());
            for (base, (least, most)) in bases.iter().zip(&mut seen) {
                let delay = backoff.next();
                assert!(delay >= *base && delay <= 2 * *base, "{delay:?} of {base:?}");
                assert!(delay <= Duration::from_secs(10), "{delay:?} is over the cap");
                (*least, *most) = ((*least).min(delay), (*most).max(delay));
            }
        }
        for (base, (least, most)) in bases.iter().zip(seen) {
            assert!(
                least < base.mul_f32(1.05) && most > base.mul_f32(1.95),
                "{least:?} to {most:?} of {base:?}"
            );
        }
    }

    #[test]
    fn a_reset_begins_anew() {
        let mut backoff = Backoff::new(&DialerLimits::default());
        assert!((0..20).map(|_| backoff.next()).last().unwrap() >= Duration::from_secs(5));
        backoff.reset();
        assert!(backoff.next() <= 200 * MS);
    }

    #[test]
    fn absurd_limits_are_brought_into_range() {
        for (first, cap, range) in [
            (Duration::ZERO, Duration::ZERO, MS..=2 * MS),
            (Duration::from_secs(60), 100 * MS, 50 * MS..=100 * MS),
            (Duration::MAX, Duration::MAX, Duration::MAX / 2..=Duration::MAX),
        ] {
            let mut backoff = Backoff::new(&limits(first, cap));
            for _ in 0..1_000 {
                let delay = backoff.next();
                assert!(range.contains(&delay), "{delay:?} of {range:?}");
            }
        }
    }
}

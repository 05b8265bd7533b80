//! The limits of a dialer.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// The limits of a [`FelixDialer`](super::FelixDialer): how long, how often and at what pace it tries.
///
/// ```
/// use typha_tls::dialer::DialerLimits;
///
/// let mut limits = DialerLimits::default();
/// limits.max_tries = Some(3);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DialerLimits {
    /// Timeout for one Typha, from the start of the dial until it has accepted us: TCP, TLS and acceptance together. It
    /// also limits a search for Typhas. Any duration. Default 10 s, which Calico allows for the dial alone.
    pub attempt_timeout: Duration,
    /// Timeout for one `connect` in total. Any duration. Default 2 min, enough for ten Typhas that use up their 10 s
    /// each. After it, an operator should see an error.
    pub connect_timeout: Duration,
    /// The first delay, without jitter; each later delay is twice as long. At least 1 ms; shorter values are raised.
    /// Default 100 ms, as in Calico.
    pub backoff_first: Duration,
    /// The longest delay, with jitter. At least 2 ms; shorter values are raised. Default 10 s: a Felix finds a
    /// restarted Typha within that time, and thousands of Felixes cause only a few hundred dials a second.
    pub backoff_cap: Duration,
    /// How long the dialer keeps a Typha that the source no longer returns. It tries such a Typha when the others fail.
    /// Any duration. Default 5 min, as in Calico: a Typha stays known while it restarts, or while a DNS server returns
    /// only some of the addresses. The dialer does not search while a connection lasts, so the first search after it
    /// may forget Typhas.
    pub forget_after: Duration,
    /// How long a Typha that has failed is tried after all the others. Any duration; 0 turns this off. Default 60 s,
    /// about the time that a Typha needs to restart.
    pub avoid_bad_for: Duration,
    /// Maximum number of attempts in one `connect`, at least 1. The default `None` is Calico's number: twice the number
    /// of Typhas known at the start or found by one search, whichever is more, and at least 6.
    pub max_tries: Option<usize>,
    /// Maximum number of rounds in one `connect`, at least 1; in a round every Typha is tried once. With the default
    /// `None`, only `max_tries` applies. `Some(1)` returns the error of the first round without a back-off.
    pub max_rounds: Option<usize>,
    /// How long a dial may take before the dialer also dials the next Typha. Any duration. Default 250 ms, as RFC 8305
    /// section 8 advises: longer than an honest round trip, too short to be noticed.
    pub head_start: Duration,
}

impl Default for DialerLimits {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(120),
            backoff_first: Duration::from_millis(100),
            backoff_cap: Duration::from_secs(10),
            forget_after: Duration::from_secs(5 * 60),
            avoid_bad_for: Duration::from_secs(60),
            max_tries: None,
            max_rounds: None,
            head_start: Duration::from_millis(250),
        }
    }
}

/// Calico assumes at least this number of Typhas.
const FEWEST_TYPHAS: usize = 3;

impl DialerLimits {
    /// The maximum number of attempts in one `connect` if `known` Typhas are known.
    pub(super) fn tries(&self, known: usize) -> usize {
        self.max_tries.map_or_else(|| 2 * known.max(FEWEST_TYPHAS), |tries| tries.max(1))
    }
}

/// Delays that double up to a cap, with jitter so that two Felixes have different delays.
pub(super) struct Backoff {
    limits: ExponentialBuilder,
    delays: ExponentialBackoff,
    cap: Duration,
}

/// A loop with a shorter delay would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

impl Backoff {
    pub(super) fn new(limits: &DialerLimits) -> Self {
        let cap = limits.backoff_cap.max(2 * SHORTEST);
        // backon adds up to the same amount as jitter; half the cap leaves room for that.
        let longest = cap / 2;
        let limits = ExponentialBuilder::new()
            .with_min_delay(limits.backoff_first.clamp(SHORTEST, longest))
            .with_max_delay(longest)
            .without_max_times()
            .with_jitter();
        Self { limits, delays: limits.build(), cap }
    }

    /// The next delay. At its longest, it is between half the cap and the cap.
    pub(super) fn next(&mut self) -> Duration {
        // Without a maximum number of delays, there is always a next one.
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

    #[test]
    fn tries_are_calico_s_unless_set() {
        let mut limits = DialerLimits::default();
        assert_eq!([0, 1, 3, 4, 50].map(|known| limits.tries(known)), [6, 6, 6, 8, 100]);
        limits.max_tries = Some(2);
        assert_eq!([0, 50].map(|known| limits.tries(known)), [2, 2]);
        limits.max_tries = Some(0);
        assert_eq!(limits.tries(9), 1);
    }

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

//! The bounds that a dialer keeps.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// How long, how often and at what pace a [`FelixDialer`](super::FelixDialer) tries.
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
    /// How long one Typha may take, from the start of the dial until it has accepted us: TCP, TLS and acceptance
    /// together. A search for Typhas may take as long too. Any length; 10 s, which is what Calico allows for the dial
    /// alone.
    pub attempt_timeout: Duration,
    /// How long one `connect` may take in all. Any length; 2 min, after which an operator wants to read what is wrong
    /// rather than wait on, and in which each of ten Typhas that do not answer has had its 10 s.
    pub connect_timeout: Duration,
    /// The first delay, jitter not included; each that follows is twice as long. At least 1 ms, and brought there if it
    /// is not; 100 ms, as in Calico.
    pub backoff_first: Duration,
    /// The longest delay, jitter included. At least 2 ms, and brought there if it is not; 10 s, so that a Felix finds a
    /// Typha that has come back within that time, while thousands of Felixes that look for it bring it a few hundred
    /// dials a second.
    pub backoff_cap: Duration,
    /// How long a Typha that is not found any more is kept, and tried when those that are found fail. Any length; 5
    /// min, as in Calico: a Typha that restarts, or a DNS server that gives a part of the addresses each time, does not
    /// make it unknown. While a connection lasts nothing is searched for, so that the first search after it may forget
    /// what it does not find.
    pub forget_after: Duration,
    /// How long a Typha that has failed is tried after all the others. Any length, 0 for not at all; 60 s, about the
    /// time that a Typha needs to be restarted.
    pub avoid_bad_for: Duration,
    /// How often one `connect` tries at most, at least once. `None`, the default, is what Calico does: twice the number
    /// of the Typhas known when it begins, or found at a time if that is more, or 6 if that is more.
    pub max_tries: Option<usize>,
    /// How often one `connect` tries every Typha, at least once. `None`, the default, means that only `max_tries`
    /// counts. `Some(1)` is for one who wants to be told at once.
    pub max_rounds: Option<usize>,
    /// How long a dial may take before the next Typha is dialled beside it. Any length; 250 ms, as RFC 8305 section 8
    /// advises: longer than an honest round trip, shorter than anyone notices.
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

/// What Calico takes a deployment for that has fewer Typhas.
const FEWEST_TYPHAS: usize = 3;

impl DialerLimits {
    /// How often one `connect` may try where there are so many Typhas.
    pub(super) fn tries(&self, known: usize) -> usize {
        self.max_tries.map_or_else(|| 2 * known.max(FEWEST_TYPHAS), |tries| tries.max(1))
    }
}

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

//! How long handshakes took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds; what took longer is in the last one, which has none. From what a handshake
/// takes on the same machine to Calico's bound.
pub(super) const BOUNDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// A histogram of durations.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DurationHistogram {
    /// For each upper bound in seconds, how many took at most so long, those of the smaller bounds included. As
    /// Prometheus counts; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all durations.
    pub sum: Duration,
}

impl DurationHistogram {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }
}

/// One that is being filled.
#[derive(Debug, Default)]
pub(super) struct Filling {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Filling {
    pub(super) fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let index = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> DurationHistogram {
        let mut count = 0;
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets = bounds.zip(&self.buckets).map(|(bound, bucket)| {
            count += bucket.load(Ordering::Relaxed);
            (bound, count)
        });
        DurationHistogram {
            buckets: buckets.collect(),
            sum: Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_all_up_to_their_bound() {
        let filling = Filling::default();
        for millis in [1, 2, 3, 250, 60_000] {
            filling.record(Duration::from_millis(millis));
        }
        let histogram = filling.snapshot();
        let counts: Vec<u64> = histogram.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5]);
        assert_eq!(histogram.buckets[0].0, 0.001);
        assert_eq!(histogram.buckets[12].0, f64::INFINITY);
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.sum, Duration::from_millis(60_256));
    }
}

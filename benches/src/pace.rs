//! How a share of the time becomes rounds of slices.

use std::time::{Duration, Instant};

/// Slices that are too short say little: less than this only if the time does not allow for more.
const SHORT: Duration = Duration::from_millis(250);
const LONG: Duration = Duration::from_millis(500);
/// Below this not even when there is no time at all.
const SHORTEST: Duration = Duration::from_millis(50);
const WARM_UP: Duration = Duration::from_millis(150);
/// So many rounds before slices get longer than short.
const ENOUGH_ROUNDS: u32 = 8;

/// The rounds of one work.
pub(crate) struct Pace {
    deadline: Instant,
    slice: Duration,
    least: usize,
    round: usize,
    began: Option<Instant>,
}

impl Pace {
    /// `per_round` is how many slices a round has, `least` how many rounds there are at least.
    pub(crate) fn new(deadline: Instant, per_round: usize, least: usize) -> Self {
        let left = deadline.saturating_duration_since(Instant::now());
        Self { deadline, slice: slice(left, per_round, least), least, round: 0, began: None }
    }

    /// How long each slice is.
    pub(crate) fn slice(&self) -> Duration {
        self.slice
    }

    pub(crate) fn warm_up(&self) -> Duration {
        self.slice.min(WARM_UP)
    }

    /// The number of the next round, if there is time for one.
    pub(crate) fn next_round(&mut self) -> Option<usize> {
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        let one = (now - began).checked_div(u32::try_from(self.round).unwrap_or(u32::MAX));
        // Half of a round too long is as far from the mark as half of a round too short.
        let time_left = now + one.unwrap_or_default() / 2 < self.deadline;
        if self.round >= self.least && !time_left {
            return None;
        }
        self.round += 1;
        Some(self.round - 1)
    }
}

fn slice(left: Duration, per_round: usize, least: usize) -> Duration {
    let per_round = u32::try_from(per_round.max(1)).unwrap_or(u32::MAX);
    let least = u32::try_from(least.max(1)).unwrap_or(u32::MAX);
    let each = left / per_round;
    // A warm-up of each comes first.
    let tight = each / (least + 1);
    if tight < SHORT { tight.max(SHORTEST) } else { (each / ENOUGH_ROUNDS).clamp(SHORT, LONG) }
}

/// As requests have it.
pub(crate) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// The order of a round: each round begins with another peer.
pub(crate) fn order(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |index| (index + round) % count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_as_long_as_the_time_allows() {
        let millis =
            |left, per_round, least| slice(Duration::from_millis(left), per_round, least).as_millis();
        assert_eq!(millis(0, 3, 3), 50);
        assert_eq!(millis(900, 3, 2), 100);
        assert_eq!(millis(4_600, 3, 3), 250);
        assert_eq!(millis(9_600, 3, 3), 400);
        assert_eq!(millis(60_000, 3, 3), 500);
    }

    #[test]
    fn each_round_begins_with_another_peer() {
        let orders: Vec<Vec<_>> = (0..4).map(|round| order(3, round).collect()).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
        assert_eq!(order(0, 1).count(), 0);
    }

    #[test]
    fn there_are_at_least_so_many_rounds() {
        let mut pace = Pace::new(Instant::now(), 3, 2);
        assert_eq!((pace.next_round(), pace.next_round(), pace.next_round()), (Some(0), Some(1), None));
    }
}

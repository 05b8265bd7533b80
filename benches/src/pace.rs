//! The time of a run: how a share of it becomes rounds of slices, and what people see of it.

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Short slices have rough figures: slices are shorter than this only if there is no time.
const SHORT: Duration = Duration::from_millis(250);
const LONG: Duration = Duration::from_millis(500);
/// Slices are never shorter than this.
const SHORTEST: Duration = Duration::from_millis(20);
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
        // Half a round too long is as good as half a round too short.
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

/// The items in the order of a round, with their places: each round begins with another one.
pub(crate) fn in_order<T>(items: &mut [T], round: usize) -> impl Iterator<Item = (usize, &mut T)> {
    let first = round % items.len().max(1);
    let (last, begin) = items.split_at_mut(first);
    (first..).zip(begin).chain((0..).zip(last))
}

/// What is measured now, on stderr: a bar on a terminal; elsewhere one line for each work.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    total: Duration,
    last: RefCell<String>,
}

impl Progress {
    pub(crate) fn new(total: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(millis(total));
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, began: Instant::now(), total, last: RefCell::default() }
    }

    pub(crate) fn show(&self, work: &str, what: &str) {
        match &self.bar {
            Some(bar) => {
                let passed = self.began.elapsed();
                bar.set_position(millis(passed));
                let left = self.total.saturating_sub(passed).as_secs_f64().ceil();
                bar.set_message(format!("{left:.0} s left  {work}: {what}"));
            }
            None if *self.last.borrow() != work => {
                work.clone_into(&mut self.last.borrow_mut());
                let _ = writeln!(std::io::stderr(), "measuring {work}");
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_as_long_as_the_time_allows() {
        let millis =
            |left, per_round, least| slice(Duration::from_millis(left), per_round, least).as_millis();
        assert_eq!(millis(0, 3, 3), 20);
        assert_eq!(millis(900, 3, 2), 100);
        assert_eq!(millis(4_600, 3, 3), 250);
        assert_eq!(millis(9_600, 3, 3), 400);
        assert_eq!(millis(60_000, 3, 3), 500);
    }

    #[test]
    fn each_round_begins_with_another_peer() {
        let order =
            |round| in_order(&mut [7, 8, 9], round).map(|(place, item)| (place, *item)).collect::<Vec<_>>();
        let orders: Vec<_> = (0..4).map(order).collect();
        let [a, b, c] = [(0, 7), (1, 8), (2, 9)];
        assert_eq!(orders, [[a, b, c], [b, c, a], [c, a, b], [a, b, c]]);
        assert_eq!(in_order(&mut [0; 0], 1).count(), 0);
    }

    #[test]
    fn there_are_at_least_so_many_rounds() {
        let mut pace = Pace::new(Instant::now(), 3, 2);
        assert_eq!((pace.next_round(), pace.next_round(), pace.next_round()), (Some(0), Some(1), None));
    }
}

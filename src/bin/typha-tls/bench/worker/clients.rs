//! Which Felix makes the next handshake: the usual one, or one that Typha has never seen.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::Failure;
use super::ends::FelixEnd;
use crate::bench::protocol::Fresh;

pub(super) struct Clients<F> {
    usual: Arc<F>,
    fresh: Vec<F>,
    share: f64,
    handed_out: AtomicUsize,
}

impl<F: FelixEnd> Clients<F> {
    /// Makes all that will be needed, before any clock starts.
    pub(super) fn new(usual: Arc<F>, fresh: Option<&Fresh>) -> Result<Self, Failure> {
        let share = fresh.map_or(0.0, |fresh| fresh.share);
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("the share of fresh leaves is {share}, not between 0 and 1").into());
        }
        let fresh = fresh.map_or(Ok(Vec::new()), |fresh| usual.fresh(fresh))?;
        Ok(Self { usual, fresh, share, handed_out: AtomicUsize::new(0) })
    }

    /// `None` when more fresh ones would be due than there are, and ever after.
    pub(super) fn next(&self) -> Option<&F> {
        let turn = self.handed_out.fetch_add(1, Relaxed);
        let [before, after] = [turn, turn + 1].map(|turn| due(turn, self.share));
        if after > self.fresh.len() {
            None
        } else if after > before {
            self.fresh.get(before)
        } else {
            Some(&self.usual)
        }
    }
}

/// How many fresh ones are due within so many turns: they are spread evenly.
fn due(turns: usize, share: f64) -> usize {
    (turns as f64 * share).floor() as usize
}

#[cfg(test)]
mod tests {
    use super::due;

    #[test]
    fn fresh_ones_are_spread_evenly() {
        let turns = |share| (1..=6).map(|turns| due(turns, share)).collect::<Vec<_>>();
        assert_eq!(turns(0.0), [0; 6]);
        assert_eq!(turns(0.5), [0, 1, 1, 2, 2, 3]);
        assert_eq!(turns(0.75), [0, 1, 2, 3, 3, 4]);
        assert_eq!(turns(1.0), [1, 2, 3, 4, 5, 6]);
    }
}

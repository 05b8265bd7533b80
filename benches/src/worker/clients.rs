//! Which Felix makes the next handshake: a usual one, or one that Typha has never seen.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::Failure;
use super::ends::FelixEnd;
use crate::protocol::{Chains, Fresh};

pub(super) struct Clients<F> {
    usual: Arc<[F]>,
    /// In place of the usual ones, if there are none.
    own: Arc<F>,
    fresh: Arc<[F]>,
    share: f64,
    handed_out: AtomicUsize,
}

impl<F: FelixEnd> Clients<F> {
    /// The Felix itself, always.
    pub(super) fn own(own: Arc<F>) -> Self {
        Self { usual: [].into(), own, fresh: [].into(), share: 0.0, handed_out: AtomicUsize::new(0) }
    }

    /// Makes all that will be needed, before any clock starts.
    pub(super) fn new(own: Arc<F>, usual: Option<&Chains>, fresh: Option<&Fresh>) -> Result<Self, Failure> {
        let share = fresh.map_or(0.0, |fresh| fresh.share);
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("the share of fresh leaves is {share}, not between 0 and 1").into());
        }
        let made = |chains: Option<&Chains>| chains.map_or(Ok(Vec::new()), |chains| own.with_chains(chains));
        let usual = made(usual)?.into();
        let fresh = made(fresh.map(|fresh| &fresh.chains))?.into();
        Ok(Self { usual, own, fresh, share, handed_out: AtomicUsize::new(0) })
    }

    /// The same ones, from the first one on.
    pub(super) fn begun_anew(&self) -> Self {
        let Self { usual, own, fresh, share, .. } = self;
        let [usual, fresh] = [usual, fresh].map(Arc::clone);
        Self { usual, own: own.clone(), fresh, share: *share, handed_out: AtomicUsize::new(0) }
    }

    /// The next, and whether it is a fresh one. `None` when more fresh ones would be due than there are, and ever after.
    pub(super) fn next(&self) -> Option<(&F, bool)> {
        let turn = self.handed_out.fetch_add(1, Relaxed);
        let [before, after] = [turn, turn + 1].map(|turn| due(turn, self.share));
        if after > self.fresh.len() {
            None
        } else if after > before {
            self.fresh.get(before).map(|felix| (felix, true))
        } else {
            let usual = turn.checked_rem(self.usual.len()).and_then(|index| self.usual.get(index));
            Some((usual.unwrap_or(&self.own), false))
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

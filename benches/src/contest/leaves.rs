//! The leaves of the clients: those that each Typha has seen before it is measured, and those that none has.

use std::time::Duration;

use super::super::crew::Crew;
use super::super::material::Material;
use super::super::process::BenchError;
use super::super::protocol::Fresh;
use super::{Contest, failed};

/// New leaves for the first slice, of which the speed is not known.
const FIRST_LEAVES: f64 = 500.0;
/// Leaves beyond those of the fastest slice.
const SPARE_LEAVES: f64 = 1.3;
/// A Typha sees no more leaves than this. This crate's remembers 16,384 at most, and to a newcomer that finds no room it
/// would do less than to one that it remembers.
const MOST_LEAVES: usize = 12_000;
/// For all usual leaves to be seen by one Typha.
const INTRODUCTION: Duration = Duration::from_secs(60);

impl Contest<'_> {
    /// Lets each Typha see all of the usual leaves, and tells the Felixes to take these.
    pub(crate) fn introduce(&mut self, title: &str, material: &mut Material) -> Result<(), BenchError> {
        if self.course.usual_leaves == 0 || self.seen > 0 {
            return Ok(());
        }
        self.course.context.progress.show(title, "getting to know the clients");
        let felixes = self.crew_len();
        self.usual = material.usual(felixes, self.course.usual_leaves.div_ceil(felixes))?;
        let as_fresh: Vec<_> =
            self.usual.iter().map(|chains| Fresh { chains: chains.clone(), share: 1.0 }).collect();
        self.tell_leaves(&as_fresh)?;
        let leaves = self.course.usual_leaves.div_ceil(felixes) * felixes;
        for index in 0..self.typhas.len() {
            let (answer, _) = self.handshakes(index, INTRODUCTION)?;
            if answer.fresh != leaves as u64 {
                let (_, typha, felix) = self.pair(index)?;
                let first = format!("{} of {leaves} leaves were used", answer.fresh);
                return Err(failed(felix.first(), typha.name(), 0, first));
            }
        }
        self.seen = leaves;
        self.tell_leaves(&[])
    }

    /// Makes the leaves for a round, each new to each Typha; before one has seen too many, it is replaced.
    pub(super) fn prepare(
        &mut self,
        title: &str,
        material: &mut Material,
        length: Duration,
    ) -> Result<(), BenchError> {
        if self.course.fresh_share <= 0.0 {
            return Ok(());
        }
        let mut wanted = self.fresh_leaves(length);
        if self.seen > 0 && self.seen + wanted > MOST_LEAVES {
            self.start_typhas(material)?;
            self.introduce(title, material)?;
            let leaves = (FIRST_LEAVES * self.course.fresh_share).ceil() as usize;
            self.tell_fresh(material, leaves)?;
            self.unmeasured(length)?;
            wanted = wanted.min(MOST_LEAVES - self.seen.min(MOST_LEAVES));
        }
        self.tell_fresh(material, wanted)
    }

    fn fresh_leaves(&self, length: Duration) -> usize {
        let expected = (self.fastest * length.as_secs_f64() * SPARE_LEAVES).max(FIRST_LEAVES);
        ((expected * self.course.fresh_share).ceil() as usize).min(MOST_LEAVES - self.course.usual_leaves)
    }

    fn tell_fresh(&mut self, material: &mut Material, leaves: usize) -> Result<(), BenchError> {
        let felixes = self.crew_len();
        let fresh = material.fresh(felixes, leaves.div_ceil(felixes).max(1), self.course.fresh_share)?;
        self.seen += leaves;
        self.tell_leaves(&fresh)
    }

    fn tell_leaves(&mut self, fresh: &[Fresh]) -> Result<(), BenchError> {
        let usual = &self.usual;
        self.felixes.iter_mut().try_for_each(|crew| crew.leaves(usual, fresh))
    }

    fn crew_len(&self) -> usize {
        self.felixes.first().map_or(1, Crew::len)
    }
}

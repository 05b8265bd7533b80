//! What the generator draws.

use fastrand::Rng;

use crate::differential::case::Case;
use crate::differential::certificate::Spec;

pub(super) fn one_of<T: Clone>(choices: &[T], rng: &mut Rng) -> T {
    choices[rng.usize(..choices.len())].clone()
}

/// A certificate of the path, mostly the leaf.
pub(super) fn any<'a>(case: &'a mut Case, rng: &mut Rng) -> &'a mut Spec {
    let index = if rng.bool() { 0 } else { rng.usize(1..=case.root) };
    &mut case.certificates[index]
}

pub(super) fn any_ca<'a>(case: &'a mut Case, rng: &mut Rng) -> &'a mut Spec {
    let index = rng.usize(1..=case.root);
    &mut case.certificates[index]
}

//! Changes of the chain that the peer sends.

use fastrand::Rng;

use super::draw::one_of;
use super::fields::BAD_TIMES;
use crate::differential::case::{Case, ca};
use crate::differential::certificate::{Damage, Time};
use crate::differential::keys::KeyType;

pub(super) fn ends_early(case: &mut Case, rng: &mut Rng) {
    let length = rng.usize(1..=case.chain.len());
    case.chain.truncate(length);
}

pub(super) fn shuffled(case: &mut Case, rng: &mut Rng) {
    if rng.bool() {
        case.chain.push(case.root);
    }
    let from = usize::from(rng.u8(..4) != 0);
    rng.shuffle(&mut case.chain[from..]);
}

pub(super) fn duplicates(case: &mut Case, rng: &mut Rng) {
    let count = one_of(&[1, 2, 5, 60], rng);
    let again = one_of(&case.chain, rng);
    case.chain.extend(vec![again; count]);
}

/// Certificates that are not of the path. Some of them are refused by a strict parser.
pub(super) fn superfluous(case: &mut Case, rng: &mut Rng) {
    let mut other = ca("another-ca", 0, (KeyType::P256, 6), rng);
    other.issuer = case.certificates.len();
    match rng.u8(..8) {
        0 => other.serial = vec![0xff],
        1 => other.damage = Some(Damage::TrailingData),
        2 => other.damage = Some(Damage::NoCertificate),
        3 => other.not_before = one_of(BAD_TIMES, rng),
        4 => other.not_after = Time::Utc("260201000000Z"),
        5 => other.version = 1,
        _ => {}
    }
    let other = case.add(other);
    let position = rng.usize(1..=case.chain.len());
    case.chain.insert(position, other);
    if rng.bool() {
        case.chain.push(case.root);
    }
}

/// Up to 9 intermediates, all with one key.
pub(super) fn long_path(case: &mut Case, rng: &mut Rng) {
    let count = rng.usize(4..=9);
    let mut below = case.root - 1;
    for number in 0..count {
        let index = case.certificates.len();
        let name = format!("long-{number}");
        let issuer = case.root;
        let spec = ca(&name, issuer, (KeyType::P256, 7), rng);
        case.certificates[below].issuer = index;
        case.certificates.push(spec);
        case.chain.push(index);
        below = index;
    }
}

//! Changes of the bundle, with leaves that are themselves in it.

use fastrand::Rng;

use crate::differential::case::{Case, ca, leaf};
use crate::differential::certificate::{
    BASIC_CONSTRAINTS, Damage, KEY_USAGE, SUBJECT_KEY_IDENTIFIER, Time, basic_constraints, key_usage,
};
use crate::differential::keys::KeyType;

/// Another CA that has the name of the root, but another key.
pub(super) fn same_name(case: &mut Case, rng: &mut Rng) {
    let mut other = case.certificates[case.root].clone();
    other.key = (KeyType::P256, 6);
    other.issuer = case.certificates.len();
    if rng.bool() {
        other.remove(SUBJECT_KEY_IDENTIFIER);
    }
    let other = case.add(other);
    match rng.u8(..3) {
        0 => case.bundle.push(other),
        1 => case.bundle.insert(0, other),
        _ => case.bundle = vec![other],
    }
}

/// A certificate of the root that has its key, but another period.
pub(super) fn renewed(case: &mut Case, rng: &mut Rng) {
    let mut other = case.certificates[case.root].clone();
    other.serial = vec![0x44];
    other.issuer = case.certificates.len();
    match rng.u8(..3) {
        0 => other.not_after = Time::Utc("260201000000Z"),
        1 => other.not_before = Time::Utc("260701000000Z"),
        _ => {}
    }
    let other = case.add(other);
    match rng.u8(..3) {
        0 => case.bundle.push(other),
        1 => case.bundle.insert(0, other),
        _ => case.bundle = vec![other],
    }
}

pub(super) fn intermediate_in_bundle(case: &mut Case, rng: &mut Rng) {
    let intermediate = rng.usize(1..=case.root);
    if rng.bool() {
        case.bundle = vec![intermediate];
    } else {
        case.bundle.push(intermediate);
    }
}

/// The CA and the leaves of both ends.
pub(super) fn operator(case: &mut Case, rng: &mut Rng) {
    let mut other = leaf(case.role.peer(), rng);
    other.key = (KeyType::P256, 5);
    let other = case.add(other);
    case.bundle.extend([other, 0]);
}

/// Entries of which no path needs any.
pub(super) fn other_entry(case: &mut Case, rng: &mut Rng) {
    let index = case.certificates.len();
    let mut other =
        if rng.bool() { leaf(case.role, rng) } else { ca("another-ca", 0, (KeyType::P256, 6), rng) };
    (other.key, other.issuer) = ((KeyType::P256, 6), index);
    match rng.u8(..12) {
        0 => other.serial = vec![0xff],
        1 => other.damage = Some(Damage::TrailingData),
        2 => other.damage = Some(Damage::NoCertificate),
        3 => other.not_before = Time::Utc("2601010000Z"),
        4 => other.has_unique_identifiers = true,
        5 => other.version = 1,
        6 => other.version = 2,
        7 => other.not_after = Time::Utc("260201000000Z"),
        8 => other.damage = Some(Damage::Signature),
        _ => {}
    }
    let other = case.add(other);
    let position = rng.usize(..=case.bundle.len());
    case.bundle.insert(position, other);
}

pub(super) fn without_ca(case: &mut Case, rng: &mut Rng) {
    other_entry(case, rng);
    case.bundle.retain(|&index| index != case.root);
    if case.bundle.is_empty() {
        case.bundle = vec![case.root];
    }
}

pub(super) fn pinned(case: &mut Case, rng: &mut Rng) {
    case.bundle.insert(rng.usize(..=case.bundle.len()), 0);
    mark_as_ca(case, rng);
}

pub(super) fn pinned_of_unknown(case: &mut Case, rng: &mut Rng) {
    case.bundle = vec![0];
    mark_as_ca(case, rng);
}

pub(super) fn pinned_self_signed(case: &mut Case, rng: &mut Rng) {
    let leaf = &mut case.certificates[0];
    leaf.issuer = 0;
    if leaf.key.0 == KeyType::P224 {
        leaf.key = (KeyType::P256, 0);
    }
    case.chain = vec![0];
    mark_as_ca(case, rng);
    match rng.u8(..5) {
        0 => case.bundle.push(0),
        1 => {
            // The bundle has another certificate with the same name and the same key.
            let mut other = case.certificates[0].clone();
            other.serial = vec![0x45];
            other.issuer = case.certificates.len();
            if rng.bool() {
                other.set(BASIC_CONSTRAINTS, true, basic_constraints(Some(true), None));
                other.remove(KEY_USAGE);
            }
            let other = case.add(other);
            case.bundle = vec![other];
        }
        _ => case.bundle = vec![0],
    }
}

pub(super) fn mark_as_ca(case: &mut Case, rng: &mut Rng) {
    if rng.u8(..3) == 0 {
        let leaf = &mut case.certificates[0];
        leaf.set(BASIC_CONSTRAINTS, true, basic_constraints(Some(true), None));
        leaf.set(KEY_USAGE, true, key_usage(&[2, 0x84]));
    }
}

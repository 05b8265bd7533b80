//! Changes of the other fields of a certificate, and of its signature.

use fastrand::Rng;

use super::draw::{any, one_of};
use crate::differential::case::Case;
use crate::differential::certificate::{Damage, Time};
use crate::differential::keys::{Hash, KeyType};

pub(super) fn serial(case: &mut Case, rng: &mut Rng) {
    let octets: &[&[u8]] = &[
        &[0],
        &[],
        &[0x80],
        &[0xff],
        &[0xff, 0x7f],
        &[0xff, 0xff],
        &[0, 1],
        &[0, 0x80],
        &[0, 0],
        &[0x7f; 20],
        &[0x7f; 21],
        &[0x7f; 40],
    ];
    any(case, rng).serial = one_of(octets, rng).to_vec();
}

pub(super) fn hash(case: &mut Case, rng: &mut Rng) {
    let key_type =
        one_of(&[KeyType::P256, KeyType::P256, KeyType::P384, KeyType::P521, KeyType::Rsa2048], rng);
    let hash = one_of(&[Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512], rng);
    let index = rng.usize(..=case.root);
    let issuer = case.certificates[index].issuer;
    set_key(case, issuer, key_type);
    case.certificates[index].hash = Some(hash);
}

pub(super) fn key_types(case: &mut Case, rng: &mut Rng) {
    let choices = [
        KeyType::Ed25519,
        KeyType::P384,
        KeyType::P521,
        KeyType::Rsa1024,
        KeyType::Rsa1024,
        KeyType::Rsa2048,
        KeyType::P224,
    ];
    let key_type = one_of(&choices, rng);
    let index = if key_type == KeyType::P224 || rng.bool() { 0 } else { rng.usize(1..=case.root) };
    // The key of a self-signed leaf signs, which P-224 can not.
    if key_type != KeyType::P224 || case.certificates[0].issuer != 0 {
        set_key(case, index, key_type);
    }
}

/// A leaf has the first key of its type, a CA the second one.
fn set_key(case: &mut Case, index: usize, key_type: KeyType) {
    if index == 0 || !matches!(key_type, KeyType::P256) {
        case.certificates[index].key = (key_type, usize::from(index != 0));
    }
}

pub(super) fn damage(case: &mut Case, rng: &mut Rng) {
    let damage = one_of(
        &[
            Damage::Algorithms,
            Damage::NoCertificate,
            Damage::Signature,
            Damage::Signature,
            Damage::TrailingData,
        ],
        rng,
    );
    let spec = any(case, rng);
    spec.damage = Some(damage);
    if damage == Damage::Algorithms && rng.bool() {
        spec.version = 1;
    }
}

/// Times in unusual forms.
const TIMES: &[Time] = &[
    Time::Utc("2601010000Z"),
    Time::Utc("260101000000+0100"),
    Time::Utc("2601010000-0100"),
    Time::Utc("500101000000Z"),
    Time::Utc("691231235959Z"),
    Time::Utc("700101000000Z"),
    Time::Generalized("20260101000000Z"),
    Time::Generalized("20260101000000+0100"),
    Time::Generalized("19000101000000Z"),
    Time::Generalized("00000101000000Z"),
];

/// Times that are malformed.
pub(crate) const BAD_TIMES: &[Time] = &[
    Time::Utc("260101000000"),
    Time::Utc("260101000060Z"),
    Time::Utc("260229000000Z"),
    Time::Generalized("20260101000000"),
    Time::Generalized("20260101000000.5Z"),
    Time::Generalized("202601010000Z"),
];

const LATE_TIMES: &[Time] = &[
    Time::Utc("2701010000Z"),
    Time::Utc("491231235959Z"),
    Time::Generalized("20270101000000Z"),
    Time::Generalized("20270101000000-0100"),
    Time::Generalized("20490101000000Z"),
    Time::Generalized("20500101000000Z"),
    Time::Generalized("99991231235959Z"),
];

pub(super) fn time_forms(case: &mut Case, rng: &mut Rng) {
    let spec = any(case, rng);
    match rng.u8(..3) {
        0 => spec.not_before = one_of(BAD_TIMES, rng),
        1 => spec.not_before = one_of(TIMES, rng),
        _ => spec.not_after = one_of(LATE_TIMES, rng),
    }
}

/// Around the time of the check.
pub(super) fn validity(case: &mut Case, rng: &mut Rng) {
    let spec = any(case, rng);
    match rng.u8(..6) {
        0 => spec.not_after = Time::Utc("260531235959Z"),
        1 => spec.not_after = Time::Utc("260601000000Z"),
        2 => spec.not_before = Time::Utc("260601000000Z"),
        3 => spec.not_before = Time::Utc("260601000001Z"),
        4 => spec.not_before = Time::Utc("261231000000Z"),
        _ => spec.not_after = Time::Utc("260101000000Z"),
    }
}

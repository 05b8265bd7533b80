//! Changes of the subject, and of what is required of it.

use fastrand::Rng;

use super::draw::{any, one_of};
use crate::differential::case::{Case, names_of};
use crate::differential::certificate::{
    Attribute, BMP_STRING, COMMON_NAME, IA5_STRING, NUMERIC_STRING, PRINTABLE_STRING, TELETEX_STRING,
    UNIVERSAL_STRING, UTF8_STRING,
};

/// String types and values of a Common Name, and what Go or this library reads.
const COMMON_NAMES: &[(u8, &[u8], &str)] = &[
    (UTF8_STRING, "täst".as_bytes(), "täst"),
    (UTF8_STRING, b"a\0b", "a\0b"),
    (UTF8_STRING, b"\xff", "x"),
    (PRINTABLE_STRING, b"typha-client", "typha-client"),
    (PRINTABLE_STRING, b"*&?", "*&?"),
    (PRINTABLE_STRING, b"a_b", "a_b"),
    (IA5_STRING, b"a_b", "a_b"),
    (IA5_STRING, b"f\xe9lix", "félix"),
    (TELETEX_STRING, b"f\xe9lix", "félix"),
    (NUMERIC_STRING, b"12 3", "12 3"),
    (NUMERIC_STRING, b"12a", "12a"),
    (BMP_STRING, b"\0t\0y", "ty"),
    (BMP_STRING, b"\0t\0y\0\0", "ty"),
    (BMP_STRING, b"\0t\0y\0\0", "ty\0"),
    (BMP_STRING, b"\0t\0", "t"),
    (BMP_STRING, b"\xd8\x3d\xde\x00", "\u{1f600}"),
    (BMP_STRING, b"\xff\xfe", "\u{fffe}"),
    (BMP_STRING, b"\xd8\x3d", "x"),
    (UNIVERSAL_STRING, b"\0\0\0t", "t"),
    (0x1a, b"typha", "typha"),
    (0x04, b"typha", "typha"),
];

pub(super) fn common_name(case: &mut Case, rng: &mut Rng) {
    let (tag, value, required) = one_of(COMMON_NAMES, rng);
    let leaf = &mut case.certificates[0];
    leaf.subject.retain(|attribute| attribute.oid != COMMON_NAME);
    leaf.subject.push(Attribute { oid: COMMON_NAME, tag, value: value.to_vec() });
    case.required_common_name = Some(required.to_owned());
    // With the URI, the name only has to be read.
    case.required_uri = (rng.u8(..3) == 0).then(|| names_of(case.role).1.to_owned());
}

pub(super) fn common_names(case: &mut Case, rng: &mut Rng) {
    let right = names_of(case.role).0;
    let choices: [&[&str]; 6] =
        [&[right, "Users"], &["Users", right], &[right, ""], &["", right], &[], &[right, right]];
    let values = one_of(&choices, rng);
    let leaf = &mut case.certificates[0];
    leaf.subject.retain(|attribute| attribute.oid != COMMON_NAME);
    leaf.subject.extend(values.iter().map(|value| Attribute {
        oid: COMMON_NAME,
        tag: UTF8_STRING,
        value: value.as_bytes().to_vec(),
    }));
    case.required_common_name = Some(right.to_owned());
    case.required_uri = None;
}

/// A set without attributes.
pub(crate) const EMPTY_SET: &[u8] = &[0x31, 0];
/// O=x, with data after the value.
pub(crate) const DATA_AFTER_VALUE: &[u8] = &[0x31, 12, 0x30, 10, 6, 3, 0x55, 4, 10, 0x0c, 1, b'x', 5, 0];
/// An attribute that is no text.
pub(crate) const NUMBER: &[u8] = &[0x31, 10, 0x30, 8, 6, 3, 0x55, 4, 10, 0x02, 1, 7];
/// Two attributes in one set: O=x, OU=y.
const TWO_IN_A_SET: &[u8] =
    &[0x31, 20, 0x30, 8, 6, 3, 0x55, 4, 10, 0x0c, 1, b'x', 0x30, 8, 6, 3, 0x55, 4, 11, 0x0c, 1, b'y'];

pub(super) fn subject(case: &mut Case, rng: &mut Rng) {
    any(case, rng).subject_end = one_of(&[EMPTY_SET, DATA_AFTER_VALUE, NUMBER, TWO_IN_A_SET], rng);
}

pub(super) fn required(case: &mut Case, rng: &mut Rng) {
    let (name, uri) = names_of(case.role);
    let (wrong_name, wrong_uri) = names_of(case.role.peer());
    let (name, uri) = one_of(
        &[
            (Some(wrong_name), None),
            (None, Some(wrong_uri)),
            (Some(wrong_name), Some(wrong_uri)),
            (Some(name), Some(wrong_uri)),
            (Some(wrong_name), Some(uri)),
        ],
        rng,
    );
    (case.required_common_name, case.required_uri) = (name.map(str::to_owned), uri.map(str::to_owned));
}

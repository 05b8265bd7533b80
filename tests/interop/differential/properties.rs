//! Properties of certificates that make a difference.

use super::certificate::{
    AUTHORITY_KEY_IDENTIFIER, Damage, Extension, NAME_CONSTRAINTS, SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_KEY_IDENTIFIER, Spec, Time, UNKNOWN_EXTENSION,
};
use super::changes::fields::BAD_TIMES;
use super::der::{elements, is_element};

pub(super) fn value<'a>(spec: &'a Spec, oid: &[u8]) -> Option<&'a Vec<u8>> {
    spec.extension(oid).map(|extension| &extension.value)
}

pub(super) fn times(spec: &Spec) -> [&Time; 2] {
    [&spec.not_before, &spec.not_after]
}

pub(super) fn is_short_or_has_offset(time: &Time) -> bool {
    match time {
        Time::Utc(text) => text.len() == "2601010000Z".len() || text.contains(['+', '-']),
        Time::Generalized(text) => text.contains(['+', '-']),
    }
}

pub(super) fn is_before_1970(time: &Time) -> bool {
    match time {
        Time::Utc(text) => ("50".."70").contains(&&text[..2]),
        Time::Generalized(text) => &text[..4] < "1970",
    }
}

pub(super) fn has_malformed_extension(spec: &Spec) -> bool {
    spec.version == 3
        && spec.extensions.iter().any(|extension| {
            extension.oid != UNKNOWN_EXTENSION && !is_element(&extension.value)
                || spec.extensions.iter().filter(|other| other.oid == extension.oid).count() > 1
        })
}

/// Whether Go can not parse it.
pub(super) fn is_unreadable_for_go(spec: &Spec) -> bool {
    let is_bad_serial = matches!(*spec.serial, [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..]);
    let is_bad_time = |time: &Time| BAD_TIMES.contains(time);
    let is_critical_identifier = |extension: &Extension| {
        extension.critical && [AUTHORITY_KEY_IDENTIFIER, SUBJECT_KEY_IDENTIFIER].contains(&extension.oid)
    };
    is_bad_serial
        || times(spec).into_iter().any(is_bad_time)
        || spec.damage.is_some_and(|damage| damage != Damage::Signature)
        || has_malformed_extension(spec)
        || spec.version == 3 && spec.extensions.iter().any(is_critical_identifier)
}

/// Whether name constraints of the CA mention this kind of name.
pub(super) fn constrains(spec: &Spec, kind: u8) -> bool {
    let value = value(spec, NAME_CONSTRAINTS).map(Vec::as_slice).unwrap_or_default();
    let inside = |(_, contents)| elements(contents);
    // The sequence, the permitted and the excluded subtrees, the subtrees, their names.
    let names = elements(value).into_iter().flat_map(inside).flat_map(inside).flat_map(inside);
    names.into_iter().any(|(tag, _)| tag == kind)
}

pub(super) fn last_common_name(spec: &Spec) -> Option<(u8, &[u8])> {
    spec.common_names().next_back().map(|attribute| (attribute.tag, &*attribute.value))
}

/// The subject alternative names of this kind.
pub(super) fn names_of_kind(spec: &Spec, kind: u8) -> Vec<&[u8]> {
    let value = value(spec, SUBJECT_ALTERNATIVE_NAME).map(Vec::as_slice).unwrap_or_default();
    let names = elements(value).into_iter().flat_map(|(_, names)| elements(names));
    names.filter(|(tag, _)| *tag == kind).map(|(_, name)| name).collect()
}

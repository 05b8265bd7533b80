//! Changes of extensions.

use fastrand::Rng;

use super::alternative_names::{NO_HOST_NAMES, WITHOUT_HOST_NAME};
use super::draw::{any, any_ca, one_of};
use crate::differential::case::{Case, names_of, purpose};
use crate::differential::certificate::{
    AUTHORITY_KEY_IDENTIFIER, BASIC_CONSTRAINTS, CERTIFICATE_POLICIES, DIGITAL_SIGNATURE, DIRECTORY_NAME,
    DNS_NAME, EXTENDED_KEY_USAGE, IP_ADDRESS, KEY_CERT_SIGN, KEY_USAGE, NAME_CONSTRAINTS, NO_USAGE,
    OTHER_NAME, POLICY_CONSTRAINTS, Purpose, RFC822_NAME, SUBJECT_ALTERNATIVE_NAME, SUBJECT_KEY_IDENTIFIER,
    UNKNOWN_EXTENSION, URI, basic_constraints, certificate_policies, extended_key_usage, key_usage,
    name_constraints, names, policy_constraints,
};
use crate::differential::der::{OCTET_STRING, element, sequence};

pub(super) fn authority_key_identifier(case: &mut Case, rng: &mut Rng) {
    let critical = rng.bool();
    let spec = any(case, rng);
    match rng.u8(..4) {
        0 => spec.remove(AUTHORITY_KEY_IDENTIFIER),
        1 => spec.remove(SUBJECT_KEY_IDENTIFIER),
        2 => spec.set(AUTHORITY_KEY_IDENTIFIER, critical, sequence(&[element(0x80, &[7; 20])])),
        _ => spec.set(SUBJECT_KEY_IDENTIFIER, critical, element(OCTET_STRING, &[7; 20])),
    }
}

pub(super) fn set_basic_constraints(case: &mut Case, rng: &mut Rng) {
    let spec = any(case, rng);
    if rng.u8(..5) == 0 {
        return spec.remove(BASIC_CONSTRAINTS);
    }
    let ca = one_of(&[None, Some(false), Some(true), Some(true)], rng);
    let path_length = one_of(&[None, Some(0), Some(0), Some(1), Some(127), Some(255), Some(256)], rng);
    spec.set(BASIC_CONSTRAINTS, rng.bool(), basic_constraints(ca, path_length));
}

pub(super) fn set_extended_key_usage(case: &mut Case, rng: &mut Rng) {
    let (role, peer) = (purpose(case.role), purpose(case.role.peer()));
    let choices: [&[Purpose]; 8] = [
        &[],
        &[role],
        &[peer],
        &[Purpose::Any],
        &[role, peer],
        &[Purpose::CodeSigning],
        &[Purpose::Unknown],
        &[Purpose::Unknown, role],
    ];
    let spec = any(case, rng);
    match rng.usize(..=choices.len()) {
        8 => spec.remove(EXTENDED_KEY_USAGE),
        index => spec.set(EXTENDED_KEY_USAGE, rng.bool(), extended_key_usage(choices[index])),
    }
}

pub(super) fn set_key_usage(case: &mut Case, rng: &mut Rng) {
    let spec = any(case, rng);
    match one_of(&[None, Some(KEY_CERT_SIGN), Some(DIGITAL_SIGNATURE), Some(NO_USAGE)], rng) {
        None => spec.remove(KEY_USAGE),
        Some(bits) => spec.set(KEY_USAGE, rng.bool(), key_usage(bits)),
    }
}

pub(super) fn policies(case: &mut Case, rng: &mut Rng) {
    let critical = rng.bool();
    let spec = any(case, rng);
    if rng.bool() {
        spec.set(POLICY_CONSTRAINTS, critical, policy_constraints());
    } else {
        spec.set(CERTIFICATE_POLICIES, critical, certificate_policies());
    }
}

pub(super) fn unknown_extension(case: &mut Case, rng: &mut Rng) {
    let critical = rng.u8(..4) != 0;
    any(case, rng).set(UNKNOWN_EXTENSION, critical, b"not DER".to_vec());
}

pub(super) fn extension_twice(case: &mut Case, rng: &mut Rng) {
    let spec = any(case, rng);
    if spec.extensions.is_empty() {
        return;
    }
    let extension = one_of(&spec.extensions, rng);
    spec.extensions.push(extension);
}

/// An extension with data that does not belong there, or with another type.
pub(super) fn malformed_extension(case: &mut Case, rng: &mut Rng) {
    let spec = any(case, rng);
    if spec.extensions.is_empty() {
        return;
    }
    let index = rng.usize(..spec.extensions.len());
    let value = &mut spec.extensions[index].value;
    match rng.u8(..4) {
        0 => value.push(0),
        1 => *value = b"not DER".to_vec(),
        2 => value.clear(),
        // A length that is not in its shortest form.
        _ => *value = [&[value[0], 0x82, 0], &value[1..]].concat(),
    }
}

pub(super) fn set_name_constraints(case: &mut Case, rng: &mut Rng) {
    let organization = sequence(&[]);
    let choices: [&[(u8, &[u8])]; 14] = [
        &[],
        &[(DNS_NAME, b"example")],
        &[(DNS_NAME, b".example")],
        &[(DNS_NAME, b"other.test")],
        &[(DNS_NAME, b"")],
        &[(URI, b"cluster.local")],
        &[(URI, b".local")],
        &[(URI, b"other.test")],
        &[(DIRECTORY_NAME, &organization)],
        &[(RFC822_NAME, b"example")],
        &[(RFC822_NAME, b"felix@example")],
        &[(IP_ADDRESS, &[10, 0, 0, 0, 255, 0, 0, 0])],
        &[(OTHER_NAME, &[6, 1, 0x2a])],
        &[(URI, b"cluster.local"), (DNS_NAME, b"example")],
    ];
    let (first, second) = (one_of(&choices, rng), one_of(&choices, rng));
    let value = match rng.u8(..3) {
        0 => name_constraints(first, &[]),
        1 => name_constraints(&[], first),
        _ => name_constraints(first, second),
    };
    // A leaf without the required URI, but with names of all kinds.
    if rng.bool() {
        case.required_common_name = Some(names_of(case.role).0.to_owned());
        let all: [(u8, &[u8]); 4] = [
            (DNS_NAME, if rng.bool() { one_of(NO_HOST_NAMES, rng) } else { b"felix.example" }),
            (URI, if rng.bool() { one_of(WITHOUT_HOST_NAME, rng) } else { b"https://cluster.local/" }),
            (RFC822_NAME, b"felix@example"),
            (IP_ADDRESS, &[10, 1, 2, 3]),
        ];
        let end = rng.usize(2..=all.len());
        let chosen = one_of(&[0..1, 0..end, 1..end], rng);
        case.certificates[0].set(SUBJECT_ALTERNATIVE_NAME, false, names(&all[chosen]));
    }
    any_ca(case, rng).set(NAME_CONSTRAINTS, rng.bool(), value);
}

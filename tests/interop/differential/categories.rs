//! The differences that `docs/differences.md` lists.

use super::cases::Case;
use super::certificate::{
    BASIC_CONSTRAINTS, BMP_STRING, CERTIFICATE_POLICIES, DIRECTORY_NAME, DNS_NAME, Damage,
    EXTENDED_KEY_USAGE, Extension, IP_ADDRESS, KEY_USAGE, NAME_CONSTRAINTS, NO_USAGE, NUMERIC_STRING,
    OTHER_NAME, POLICY_CONSTRAINTS, RFC822_NAME, SUBJECT_ALTERNATIVE_NAME, Spec, Time, UNKNOWN_EXTENSION,
    UNKNOWN_NAME, URI, extended_key_usage, key_usage, name_constraints,
};
use super::changes::{
    BAD_TIMES, DATA_AFTER_VALUE, EMPTY_SET, NO_HOST_NAMES, NOT_NORMAL, NUMBER, UNREADABLE_FOR_GO,
    WHITE_SPACE, WITHOUT_HOST_NAME,
};
use super::der::{elements, is_element};
use super::keys::KeyType;

/// Who accepts a chain that the other one refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Go,
    Ours,
}

/// A kind of difference: a chain with a property that one side refuses for a reason.
pub(super) struct Category {
    pub(super) accepted_by: Side,
    /// How `docs/differences.md` names it.
    pub(super) documented: &'static str,
    /// The labels of our refusal, or what the error of Go contains.
    reasons: &'static [&'static str],
    is_shown_by: fn(&Case) -> bool,
}

impl Category {
    pub(super) fn explains(&self, accepted_by: Side, reason: &str, case: &Case) -> bool {
        let is_reason = |known: &&str| match accepted_by {
            Side::Go => reason.split(':').next() == Some(known),
            Side::Ours => reason.contains(known),
        };
        // Beside the path with the property there is one to a CA of the same name, and its label is reported.
        let is_hidden = accepted_by == Side::Go
            && has_cas_of_one_name(case)
            && ["ca_key_mismatch", "invalid_signature"].iter().any(is_reason);
        self.accepted_by == accepted_by
            && (is_hidden || self.reasons.iter().any(is_reason))
            && (self.is_shown_by)(case)
    }
}

const fn go(
    documented: &'static str,
    reasons: &'static [&'static str],
    is_shown_by: fn(&Case) -> bool,
) -> Category {
    Category { accepted_by: Side::Go, documented, reasons, is_shown_by }
}

const fn ours(
    documented: &'static str,
    reasons: &'static [&'static str],
    is_shown_by: fn(&Case) -> bool,
) -> Category {
    Category { accepted_by: Side::Ours, documented, reasons, is_shown_by }
}

pub(super) const CATEGORIES: &[Category] = &[
    go("A leaf that is marked as a CA", &["ca_used_as_leaf"], |case| {
        case.leaf().is_ca() && !case.is_pinned()
    }),
    go("An X.509 version 1 or 2 leaf", &["unsupported_version"], |case| case.leaf().version < 3),
    go("A CA of X.509 version 2", &["bundle"], |case| case.trusted().any(|spec| spec.version == 2)),
    go("unique identifiers", &["bundle", "malformed_certificate"], |case| {
        case.involved().any(|spec| spec.version > 1 && spec.has_unique_identifiers)
    }),
    go("A time without seconds", &["bundle", "malformed_certificate"], |case| {
        case.involved().flat_map(times).any(is_short_or_has_offset)
    }),
    go("A time before 1970", &["bundle", "malformed_certificate"], |case| {
        case.involved().flat_map(times).any(is_before_1970)
    }),
    go("An empty extended key usage", &["ca_unusable", "malformed_certificate"], |case| {
        let empty = extended_key_usage(&[]);
        case.involved().any(|spec| value(spec, EXTENDED_KEY_USAGE) == Some(&empty))
    }),
    go("A CA with a key usage without any bit", &["ca_unusable"], |case| {
        case.issuers().any(|spec| value(spec, KEY_USAGE) == Some(&key_usage(NO_USAGE)))
    }),
    go("A critical extension about certificate policies", &["unhandled_critical_extension"], |case| {
        let is_policy = |extension: &Extension| {
            extension.critical && [CERTIFICATE_POLICIES, POLICY_CONSTRAINTS].contains(&extension.oid)
        };
        case.involved().any(|spec| spec.extensions.iter().any(is_policy))
    }),
    go("An RSA key of less than 2048", &["unsupported_key_size", "invalid_signature"], |case| {
        case.involved().any(|spec| spec.key.0 == KeyType::Rsa1024)
    }),
    go("A key that rustls can not use", &["unsupported_algorithm"], |case| {
        case.leaf().key.0 == KeyType::P224
    }),
    go("More than 6 intermediates", &["path_too_long"], |case| case.chain.len() > 7),
    go("More than 48 certificates", &["too_complex"], |case| case.chain.len() > 48),
    go("A path length of more than 255", &["malformed_certificate"], |case| {
        let is_long = |value: &Vec<u8>| value.ends_with(&[2, 2, 1, 0]);
        case.involved().any(|spec| value(spec, BASIC_CONSTRAINTS).is_some_and(is_long))
    }),
    go("A URI SAN below a CA", &["uri_name_constraint", "name_constraint_violation"], |case| {
        case.issuers().any(|spec| constrains(spec, URI)) && !sans(case.leaf(), URI).is_empty()
    }),
    go("An e-mail SAN below a CA", &["name_constraint_violation"], |case| {
        case.issuers().any(|spec| constrains(spec, RFC822_NAME)) && !sans(case.leaf(), RFC822_NAME).is_empty()
    }),
    go("A DNS SAN that is no host name", &["malformed_certificate"], |case| {
        case.issuers().any(|spec| constrains(spec, DNS_NAME))
            && sans(case.leaf(), DNS_NAME).iter().any(|name| NO_HOST_NAMES.contains(name))
    }),
    go("Any certificate below a CA", &["name_constraint_violation"], |case| {
        case.issuers().any(|spec| constrains(spec, DIRECTORY_NAME))
    }),
    go("A URI SAN that is empty", &["malformed_certificate"], |case| {
        sans(case.leaf(), URI).iter().any(|uri| WHITE_SPACE.iter().any(|(known, _)| known == uri))
    }),
    go("A URI SAN that matches only in", &["identity_mismatch"], |case| {
        sans(case.leaf(), URI).iter().any(|uri| {
            let required = case.required_uri.as_deref();
            NOT_NORMAL.iter().any(|(known, normal)| known == uri && required == Some(normal))
        })
    }),
    go("A SAN of an unknown kind", &["malformed_certificate"], |case| {
        !sans(case.leaf(), UNKNOWN_NAME).is_empty()
    }),
    go("A Common Name that is a NumericString", &["malformed_certificate"], |case| {
        last_common_name(case.leaf()).is_some_and(|(tag, _)| tag == NUMERIC_STRING)
    }),
    go("A Common Name that is a BMPString", &["identity_mismatch"], |case| {
        last_common_name(case.leaf())
            .is_some_and(|(tag, value)| tag == BMP_STRING && value.ends_with(&[0, 0]))
    }),
    go("A subject with an empty set", &["malformed_certificate"], |case| {
        [EMPTY_SET, DATA_AFTER_VALUE].contains(&case.leaf().subject_end)
    }),
    go("A malformed or repeated extension", &["malformed_certificate", "bundle"], |case| {
        case.involved().any(has_malformed_extension)
    }),
    go("A CA file with an entry", &["bundle"], |case| case.trusted().any(is_unreadable_for_go)),
    ours("A URI SAN that Go can not parse", &["x509: cannot parse URI"], |case| {
        sans(case.leaf(), URI).iter().any(|uri| UNREADABLE_FOR_GO.contains(uri))
    }),
    ours("A URI SAN that Go writes in another form", &["identity refused"], |case| {
        sans(case.leaf(), URI).iter().any(|uri| {
            let required = case.required_uri.as_deref().map(str::as_bytes);
            NOT_NORMAL.iter().any(|(known, _)| known == uri && required == Some(known))
        })
    }),
    ours("A Common Name that is a BMPString with surrogates", &["invalid BMPString"], |case| {
        let is_refused =
            |unit: &[u8]| matches!(unit, [0xd8..=0xdf, _] | [0xfd, 0xd0..=0xef] | [0xff, 0xfe | 0xff]);
        last_common_name(case.leaf())
            .is_some_and(|(tag, value)| tag == BMP_STRING && value.chunks(2).any(is_refused))
    }),
    ours("A Common Name that is a BMPString and ends with a NUL", &["identity refused"], |case| {
        let is_bmp = |(tag, value): (u8, &[u8])| tag == BMP_STRING && value.ends_with(&[0, 0]);
        last_common_name(case.leaf()).is_some_and(is_bmp)
            && case.required_common_name.as_ref().is_some_and(|name| name.ends_with('\0'))
    }),
    ours("A critical subject alternative name", &["x509: unhandled critical extension"], |case| {
        case.leaf().extension(SUBJECT_ALTERNATIVE_NAME).is_some_and(|names| {
            let known = [DNS_NAME, RFC822_NAME, IP_ADDRESS, URI];
            names.critical && names.value.get(2).is_none_or(|kind| !known.contains(kind))
        })
    }),
    ours("Critical name constraints", &["x509: unhandled critical extension", "unknown authority"], |case| {
        case.issuers().any(|spec| constrains(spec, OTHER_NAME))
    }),
    ours("A URI SAN without a host name", &["not authorized to sign for this name"], |case| {
        case.issuers().any(|spec| spec.extension(NAME_CONSTRAINTS).is_some())
            && sans(case.leaf(), URI).iter().any(|uri| WITHOUT_HOST_NAME.contains(uri))
    }),
    ours("A DNS SAN that is no host name", &["not authorized to sign for this name"], |case| {
        case.issuers().any(|spec| spec.extension(NAME_CONSTRAINTS).is_some())
            && sans(case.leaf(), DNS_NAME).iter().any(|name| NO_HOST_NAMES.contains(name))
    }),
    ours("A policy constraint", &["invalid policies"], |case| {
        let mut sent = std::iter::once(case.leaf()).chain(case.sent_issuers());
        sent.any(|spec| spec.extension(POLICY_CONSTRAINTS).is_some())
    }),
    ours("A certificate that is not needed", &["x509: "], |case| {
        case.sent_issuers().any(is_unreadable_for_go)
    }),
    ours("A CA with a name", &["no CA in the bundle", "unknown authority", "invalid RDNSequence"], |case| {
        case.issuers().any(|spec| spec.subject_end == NUMBER)
    }),
    ours("A CA with empty name constraints", &["no CA in the bundle", "empty name constraints"], |case| {
        case.issuers().any(|spec| value(spec, NAME_CONSTRAINTS) == Some(&name_constraints(&[], &[])))
    }),
];

fn has_cas_of_one_name(case: &Case) -> bool {
    let names: Vec<_> = case.trusted().map(Spec::name).collect();
    (1..names.len()).any(|index| names[..index].contains(&names[index]))
}

fn value<'a>(spec: &'a Spec, oid: &[u8]) -> Option<&'a Vec<u8>> {
    spec.extension(oid).map(|extension| &extension.value)
}

fn times(spec: &Spec) -> [&Time; 2] {
    [&spec.not_before, &spec.not_after]
}

fn is_short_or_has_offset(time: &Time) -> bool {
    match time {
        Time::Utc(text) => text.len() == "2601010000Z".len() || text.contains(['+', '-']),
        Time::Generalized(text) => text.contains(['+', '-']),
    }
}

fn is_before_1970(time: &Time) -> bool {
    match time {
        Time::Utc(text) => ("50".."70").contains(&&text[..2]),
        Time::Generalized(text) => &text[..4] < "1970",
    }
}

fn has_malformed_extension(spec: &Spec) -> bool {
    spec.version == 3
        && spec.extensions.iter().any(|extension| {
            extension.oid != UNKNOWN_EXTENSION && !is_element(&extension.value)
                || spec.extensions.iter().filter(|other| other.oid == extension.oid).count() > 1
        })
}

/// Whether Go can not parse it.
fn is_unreadable_for_go(spec: &Spec) -> bool {
    let is_bad_serial = matches!(*spec.serial, [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..]);
    let is_bad_time = |time: &Time| BAD_TIMES.contains(time);
    is_bad_serial
        || times(spec).into_iter().any(is_bad_time)
        || spec.damage.is_some_and(|damage| damage != Damage::Signature)
        || has_malformed_extension(spec)
}

/// Whether name constraints of the CA mention this kind of name.
fn constrains(spec: &Spec, kind: u8) -> bool {
    let value = value(spec, NAME_CONSTRAINTS).map(Vec::as_slice).unwrap_or_default();
    let inside = |(_, contents)| elements(contents);
    // The sequence, the permitted and the excluded subtrees, the subtrees, their names.
    let names = elements(value).into_iter().flat_map(inside).flat_map(inside).flat_map(inside);
    names.into_iter().any(|(tag, _)| tag == kind)
}

fn last_common_name(spec: &Spec) -> Option<(u8, &[u8])> {
    spec.common_names().next_back().map(|attribute| (attribute.tag, &*attribute.value))
}

/// The subject alternative names of this kind.
fn sans(spec: &Spec, kind: u8) -> Vec<&[u8]> {
    let value = value(spec, SUBJECT_ALTERNATIVE_NAME).map(Vec::as_slice).unwrap_or_default();
    let names = elements(value).into_iter().flat_map(|(_, names)| elements(names));
    names.filter(|(tag, _)| *tag == kind).map(|(_, name)| name).collect()
}

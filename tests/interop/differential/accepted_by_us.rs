//! What this library accepts and Go refuses.

use super::case::Case;
use super::category::{Category, NO_CA};
use super::certificate::{
    BMP_STRING, DNS_NAME, Damage, IP_ADDRESS, NAME_CONSTRAINTS, OTHER_NAME, POLICY_CONSTRAINTS, RFC822_NAME,
    SUBJECT_ALTERNATIVE_NAME, Spec, URI, name_constraints,
};
use super::changes::alternative_names::{NO_HOST_NAMES, NOT_NORMAL, UNREADABLE_FOR_GO, WITHOUT_HOST_NAME};
use super::changes::subject::NUMBER;
use super::properties::{constrains, is_unreadable_for_go, last_common_name, names_of_kind, value};

const fn category(
    documented: &'static str,
    errors: &'static [&'static str],
    property: fn(&Case) -> bool,
) -> Category {
    Category::of_case_refused_by_go(documented, errors, property)
}

/// The beginnings of the errors of Go's parser.
const PARSE_ERRORS: &[&str] = &[
    "x509: malformed ",
    "x509: invalid ",
    "x509: negative serial number",
    "x509: trailing data",
    "x509: certificate contains duplicate extension",
    "x509: authority key identifier incorrectly marked critical",
    "x509: subject key identifier incorrectly marked critical",
    "x509: inner and outer signature algorithm identifiers don't match",
];

/// Go's errors if it skips the CA in the bundle: that is all there is, or there are others.
const SKIPPED_CA: [&str; 2] = [NO_CA, "x509: certificate signed by unknown authority"];

pub(super) const ACCEPTED_BY_US: &[Category] = &[
    // Names.
    category("A URI SAN that Go can not parse", &["x509: cannot parse URI", NO_CA], |case| {
        names_of_kind(case.leaf(), URI).iter().any(|uri| UNREADABLE_FOR_GO.contains(uri))
    }),
    category("A URI SAN that Go writes in another form", &["identity refused"], |case| {
        names_of_kind(case.leaf(), URI).iter().any(|uri| {
            let required = case.required_uri.as_deref().map(str::as_bytes);
            NOT_NORMAL.iter().any(|(known, _)| known == uri && required == Some(known))
        })
    }),
    category("A Common Name that is a BMPString with surrogates", &["invalid BMPString", NO_CA], |case| {
        let is_refused =
            |unit: &[u8]| matches!(unit, [0xd8..=0xdf, _] | [0xfd, 0xd0..=0xef] | [0xff, 0xfe | 0xff]);
        last_common_name(case.leaf())
            .is_some_and(|(tag, value)| tag == BMP_STRING && value.chunks(2).any(is_refused))
    }),
    category("A Common Name that is a BMPString and ends with a NUL", &["identity refused"], |case| {
        let is_bmp = |(tag, value): (u8, &[u8])| tag == BMP_STRING && value.ends_with(&[0, 0]);
        last_common_name(case.leaf()).is_some_and(is_bmp)
            && case.required_common_name.as_ref().is_some_and(|name| name.ends_with('\0'))
    }),
    category("A critical subject alternative name", &["x509: unhandled critical extension"], |case| {
        let known = |kind: &u8| !names_of_kind(case.leaf(), *kind).is_empty();
        case.leaf().extension(SUBJECT_ALTERNATIVE_NAME).is_some_and(|names| names.critical)
            && ![DNS_NAME, RFC822_NAME, IP_ADDRESS, URI].iter().any(known)
    }),
    category(
        "A CA with a name that has an attribute without text",
        &[NO_CA, "invalid RDNSequence"],
        |case| case.involved().any(|spec| case.certificates[spec.issuer].subject_end == NUMBER),
    ),
    // Name constraints.
    category(
        "A CA with empty name constraints",
        &[SKIPPED_CA[0], SKIPPED_CA[1], "x509: empty name constraints"],
        |case| case.issuers().any(|spec| value(spec, NAME_CONSTRAINTS) == Some(&name_constraints(&[], &[]))),
    ),
    category(
        "A CA with critical name constraints for another kind of name",
        &["x509: unhandled critical extension"],
        |case| case.issuers().any(|spec| constrains(spec, OTHER_NAME)),
    ),
    category(
        "A URI SAN without a host name, below a CA",
        &["not authorized to sign for this name"],
        |case| {
            case.issuers().any(|spec| spec.extension(NAME_CONSTRAINTS).is_some())
                && names_of_kind(case.leaf(), URI).iter().any(|uri| WITHOUT_HOST_NAME.contains(uri))
        },
    ),
    category("A DNS SAN that is no host name, below a CA", &["x509: cannot parse dnsName"], |case| {
        case.issuers().any(|spec| spec.extension(NAME_CONSTRAINTS).is_some())
            && names_of_kind(case.leaf(), DNS_NAME).iter().any(|name| NO_HOST_NAMES.contains(name))
    }),
    // The chain and the CA file.
    category("A policy constraint", &["candidate chains with invalid policies"], |case| {
        case.sent().any(|spec| spec.extension(POLICY_CONSTRAINTS).is_some())
    }),
    category("A sent certificate that no path needs and that Go can not parse", PARSE_ERRORS, |case| {
        case.sent_without_need().any(is_unreadable_for_go)
    }),
    category("A CA of X.509 version 1 with two signature algorithms", &SKIPPED_CA, |case| {
        let has_two = |spec: &Spec| spec.version == 1 && spec.damage == Some(Damage::Algorithms);
        case.trusted().any(has_two)
    }),
    category(
        "A leaf with the name, the key and the subject alternative names of its CA",
        &["x509: certificate signed by unknown authority"],
        |case| {
            let leaf = case.leaf();
            let names = |spec| value(spec, SUBJECT_ALTERNATIVE_NAME);
            case.trusted().any(|ca| {
                ca.is_ca() && ca.name() == leaf.name() && ca.key == leaf.key && names(ca) == names(leaf)
            })
        },
    ),
];

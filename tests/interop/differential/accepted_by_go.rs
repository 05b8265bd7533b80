//! What Go accepts and this library refuses.

use super::case::Case;
use super::category::{BUNDLE, Category};
use super::certificate::{
    BASIC_CONSTRAINTS, BMP_STRING, CERTIFICATE_POLICIES, DIRECTORY_NAME, DNS_NAME, EXTENDED_KEY_USAGE,
    KEY_USAGE, NO_USAGE, NUMERIC_STRING, POLICY_CONSTRAINTS, RFC822_NAME, Spec, UNKNOWN_NAME, URI,
    extended_key_usage, key_usage,
};
use super::changes::alternative_names::{NO_HOST_NAMES, NOT_NORMAL, WHITE_SPACE};
use super::changes::subject::{DATA_AFTER_VALUE, EMPTY_SET};
use super::keys::KeyType;
use super::properties::{
    constrains, has_malformed_extension, is_before_1970, is_short_or_has_offset, is_unreadable_for_go,
    last_common_name, names_of_kind, times, value,
};

const fn case(
    documented: &'static str,
    labels: &'static [&'static str],
    property: fn(&Case) -> bool,
) -> Category {
    Category::of_case_refused_by_us(documented, labels, property)
}

const fn certificate(
    documented: &'static str,
    labels: &'static [&'static str],
    property: fn(&Spec) -> bool,
) -> Category {
    Category::of_certificate_refused_by_us(documented, labels, property)
}

/// The labels that we report instead, if another CA of the bundle has the name of the one that Go takes.
const OF_ANOTHER_CA: &[&str] = &["ca_key_mismatch", "expired", "invalid_signature", "not_yet_valid"];

pub(super) const ACCEPTED_BY_GO: &[Category] = &[
    // Versions and fields.
    case("An X.509 version 1 or 2 leaf", &["unsupported_version"], |case| case.leaf().version < 3),
    certificate("A CA of X.509 version 2", &[BUNDLE], |spec| spec.version == 2),
    certificate("A certificate with unique identifiers", &[BUNDLE, "malformed_certificate"], |spec| {
        spec.has_unique_identifiers
    }),
    certificate("A time without seconds or with an offset", &[BUNDLE, "malformed_certificate"], |spec| {
        times(spec).into_iter().any(is_short_or_has_offset)
    }),
    certificate("A time before 1970", &[BUNDLE, "malformed_certificate"], |spec| {
        times(spec).into_iter().any(is_before_1970)
    }),
    case("A subject with an empty set or with data after a value", &["malformed_certificate"], |case| {
        [EMPTY_SET, DATA_AFTER_VALUE].contains(&case.leaf().subject_end)
    }),
    // Keys.
    case("An RSA key of less than 2048 bits", &["unsupported_key_size"], |case| {
        case.involved().any(|spec| spec.key.0 == KeyType::Rsa1024)
    }),
    // The label is that of a certificate that such a CA signed.
    case("An RSA key of less than 2048 bits", &["ca_key_mismatch", "invalid_signature"], |case| {
        case.issuers().any(|spec| spec.key.0 == KeyType::Rsa1024)
    }),
    case("A key that rustls can not use in a handshake", &["unsupported_algorithm"], |case| {
        case.leaf().key.0 == KeyType::P224
    }),
    // Extensions.
    case("A leaf that is marked as a CA", &["ca_used_as_leaf"], |case| {
        case.leaf().is_ca() && !case.is_pinned()
    }),
    certificate(
        "An empty extended key usage",
        &["ca_unusable", "malformed_certificate", "wrong_key_usage"],
        |spec| value(spec, EXTENDED_KEY_USAGE) == Some(&extended_key_usage(&[])),
    ),
    certificate("A CA with a key usage without any bit", &["ca_unusable"], |spec| {
        value(spec, KEY_USAGE) == Some(&key_usage(NO_USAGE))
    }),
    certificate("A path length of more than 255", &["malformed_certificate"], |spec| {
        value(spec, BASIC_CONSTRAINTS).is_some_and(|value| value.ends_with(&[2, 2, 1, 0]))
    }),
    certificate(
        "A critical extension about certificate policies",
        &["unhandled_critical_extension", "ca_unusable"],
        |spec| {
            let policies = [CERTIFICATE_POLICIES, POLICY_CONSTRAINTS];
            spec.extensions.iter().any(|extension| extension.critical && policies.contains(&extension.oid))
        },
    ),
    certificate(
        "A malformed or repeated extension",
        &["malformed_certificate", BUNDLE],
        has_malformed_extension,
    ),
    // Name constraints.
    case("A URI SAN below a CA", &["uri_name_constraint"], is_constrained_by_uris),
    case("A URI SAN below a CA", &["name_constraint_violation"], |case| {
        is_constrained_by_uris(case) && has_white_space(case)
    }),
    case("A URI SAN below a CA", OF_ANOTHER_CA, |case| {
        has_cas_of_one_name(case) && is_constrained_by_uris(case)
    }),
    case("An e-mail SAN below a CA", &["name_constraint_violation"], is_constrained_by_addresses),
    case("An e-mail SAN below a CA", OF_ANOTHER_CA, |case| {
        has_cas_of_one_name(case) && is_constrained_by_addresses(case)
    }),
    case(
        "A DNS SAN that is no host name, below a CA",
        &["malformed_certificate"],
        is_constrained_by_dns_names,
    ),
    case("A DNS SAN that is no host name, below a CA", OF_ANOTHER_CA, |case| {
        has_cas_of_one_name(case) && is_constrained_by_dns_names(case)
    }),
    case("Any certificate below a CA", &["name_constraint_violation"], is_constrained_by_directory_names),
    case("Any certificate below a CA", OF_ANOTHER_CA, |case| {
        has_cas_of_one_name(case) && is_constrained_by_directory_names(case)
    }),
    // Names.
    case("A URI SAN that is empty", &["malformed_certificate"], has_white_space),
    case("A URI SAN that matches only in Go's normalized form", &["identity_mismatch"], |case| {
        names_of_kind(case.leaf(), URI).iter().any(|uri| {
            let required = case.required_uri.as_deref();
            NOT_NORMAL.iter().any(|(known, normal)| known == uri && required == Some(normal))
        })
    }),
    case("A SAN of an unknown kind", &["malformed_certificate"], |case| {
        !names_of_kind(case.leaf(), UNKNOWN_NAME).is_empty()
    }),
    case("A Common Name that is a NumericString", &["malformed_certificate"], |case| {
        last_common_name(case.leaf()).is_some_and(|(tag, _)| tag == NUMERIC_STRING)
    }),
    case("A Common Name that is a BMPString and matches", &["identity_mismatch"], |case| {
        last_common_name(case.leaf())
            .is_some_and(|(tag, value)| tag == BMP_STRING && value.ends_with(&[0, 0]))
    }),
    // The chain and the CA file.
    case("More than 6 intermediates in a path", &["path_too_long"], has_more_than_6_intermediates),
    // The label is that of a certificate beside the path.
    case("More than 6 intermediates in a path", &["unsupported_version"], |case| {
        has_more_than_6_intermediates(case) && case.sent_issuers().any(|spec| spec.version == 1)
    }),
    case("More than 48 certificates in a chain", &["too_complex"], |case| case.chain.len() > 48),
    certificate("A CA file with an entry that Go can not parse", &[BUNDLE], is_unreadable_for_go),
];

fn is_constrained_by_uris(case: &Case) -> bool {
    case.issuers().any(|spec| constrains(spec, URI)) && !names_of_kind(case.leaf(), URI).is_empty()
}

fn is_constrained_by_addresses(case: &Case) -> bool {
    let names = names_of_kind(case.leaf(), RFC822_NAME);
    case.issuers().any(|spec| constrains(spec, RFC822_NAME)) && !names.is_empty()
}

fn is_constrained_by_dns_names(case: &Case) -> bool {
    let names = names_of_kind(case.leaf(), DNS_NAME);
    case.issuers().any(|spec| constrains(spec, DNS_NAME))
        && names.iter().any(|name| NO_HOST_NAMES.contains(name))
}

fn is_constrained_by_directory_names(case: &Case) -> bool {
    case.issuers().any(|spec| constrains(spec, DIRECTORY_NAME))
}

fn has_white_space(case: &Case) -> bool {
    names_of_kind(case.leaf(), URI).iter().any(|uri| WHITE_SPACE.iter().any(|(known, _)| known == uri))
}

/// Beside them, the path has the leaf and the CA.
fn has_more_than_6_intermediates(case: &Case) -> bool {
    case.path().len() > 8
}

fn has_cas_of_one_name(case: &Case) -> bool {
    let names: Vec<_> = case.trusted().map(Spec::name).collect();
    (1..names.len()).any(|index| names[..index].contains(&names[index]))
}

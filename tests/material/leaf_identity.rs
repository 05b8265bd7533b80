//! Who a certificate says it is: Common Name and URI SANs of real certificates, and the strictness with which they are
//! read. An independent parser is the oracle.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rustls_pki_types::CertificateDer;
use typha_tls::identity::PeerIdentity;
use typha_tls::testing::{CertificateSpec, StringType, TestCa, TestLeaf};
use x509_cert::der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

const SAN: &[u64] = &[2, 5, 29, 17];

fn certificate(spec: CertificateSpec) -> CertificateDer<'static> {
    TestLeaf::self_signed(spec).unwrap().chain()[0].clone()
}

fn identity(spec: CertificateSpec) -> PeerIdentity {
    PeerIdentity::from_certificate(&certificate(spec)).unwrap()
}

fn uris(identity: &PeerIdentity) -> Vec<&str> {
    identity.uri_sans().collect()
}

#[track_caller]
fn assert_malformed(certificate: &CertificateDer<'_>, problem: &str, context: &str) {
    match PeerIdentity::from_certificate(certificate) {
        Ok(identity) => panic!("{context}: read as {identity}"),
        Err(error) => assert_eq!(error.to_string(), format!("malformed certificate: {problem}"), "{context}"),
    }
}

// Common Names.

#[test]
fn the_common_name_of_each_string_type() {
    for (string_type, name) in [
        (StringType::Utf8, "typha-client"),
        (StringType::Utf8, "Typha \u{1f600} \u{e9}\0\n*"),
        (StringType::Printable, "Typha Client (1) '+,-./:="),
        (StringType::Ia5, "typha@client_*\u{1}"),
        (StringType::Teletex, "typha-client"),
        (StringType::Bmp, "typha-client \u{e9}\u{4e2d}"),
    ] {
        let spec = CertificateSpec::unnamed().common_name_as(string_type, name);
        assert_eq!(identity(spec).common_name(), Some(name), "{string_type:?}");
    }
    for string_type in [StringType::Utf8, StringType::Printable, StringType::Ia5, StringType::Bmp] {
        let spec = CertificateSpec::leaf("typha-client").common_name_as(string_type, "");
        assert_eq!(identity(spec).common_name(), None, "empty {string_type:?}");
    }
}

#[test]
fn a_universal_string_is_refused() {
    for spec in [
        CertificateSpec::unnamed().common_name_as(StringType::Universal, "typha-client"),
        CertificateSpec::leaf("typha-client").common_name_as(StringType::Universal, "x"),
        CertificateSpec::unnamed().common_name_as(StringType::Universal, "x").common_name("typha-client"),
    ] {
        let certificate = certificate(spec.uri_san("spiffe://td/felix"));
        assert_malformed(&certificate, "a name has a value of an unsupported string type", "");
    }
}

#[test]
fn the_last_common_name_counts() {
    for (names, expected) in [
        (&[][..], None),
        (&["typha-client"], Some("typha-client")),
        (&["Users", "typha-client"], Some("typha-client")),
        (&["typha-client", "Users"], Some("Users")),
        (&["typha-client", ""], None),
        (&["", "typha-client"], Some("typha-client")),
        (&[""], None),
    ] {
        let spec = names.iter().fold(CertificateSpec::unnamed(), |spec, name| spec.common_name(name));
        assert_eq!(identity(spec).common_name(), expected, "{names:?}");
    }
}

/// A DER element of less than 64 KiB.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let header = match length {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header, contents.to_vec()].concat()
}

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const DOMAIN_COMPONENT: &[u8] = &[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 100, 1, 25];

fn attribute(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    element(0x30, &[element(0x06, oid), element(tag, value)].concat())
}

/// One relative distinguished name of these attributes.
fn rdn(attributes: &[Vec<u8>]) -> Vec<u8> {
    element(0x31, &attributes.concat())
}

/// The end of the element that begins at `start`, and where its contents begin.
fn bounds(der: &[u8], start: usize) -> (usize, usize) {
    let (length, header) = match der[start + 1] {
        0x82 => (usize::from(u16::from_be_bytes([der[start + 2], der[start + 3]])), 4),
        0x81 => (usize::from(der[start + 2]), 3),
        short => (usize::from(short), 2),
    };
    (start + header, start + header + length)
}

/// A certificate with this subject, whatever it is. Nothing here looks at the signature.
fn with_subject(subject: &[u8]) -> CertificateDer<'static> {
    let der = certificate(CertificateSpec::unnamed().uri_san("spiffe://td/felix"));
    let (outer, _) = bounds(&der, 0);
    let (tbs, tbs_end) = bounds(&der, outer);
    let mut position = tbs;
    // Version, serial number, signature, issuer, validity; then the subject.
    for _ in 0..5 {
        position = bounds(&der, position).1;
    }
    let subject_end = bounds(&der, position).1;
    let tbs = [&der[tbs..position], subject, &der[subject_end..tbs_end]].concat();
    element(0x30, &[&element(0x30, &tbs), &der[tbs_end..]].concat()).into()
}

#[test]
fn subjects_of_several_attributes() {
    let name = |oid, value: &str| attribute(oid, 0x0c, value.as_bytes());
    for (subject, expected) in [
        // As Active Directory writes them.
        (
            vec![
                rdn(&[attribute(DOMAIN_COMPONENT, 0x16, b"com")]),
                rdn(&[name(COMMON_NAME, "Users")]),
                rdn(&[name(COMMON_NAME, "typha-client")]),
            ],
            Some("typha-client"),
        ),
        (
            vec![rdn(&[name(COMMON_NAME, "typha-client")]), rdn(&[name(ORGANIZATION, "last")])],
            Some("typha-client"),
        ),
        (vec![rdn(&[name(COMMON_NAME, "a"), name(COMMON_NAME, "b")])], Some("b")),
        (vec![rdn(&[name(COMMON_NAME, "a"), name(ORGANIZATION, "b")])], Some("a")),
        (vec![rdn(&[attribute(COMMON_NAME, 0x14, b"caf\xe9")])], Some("caf\u{e9}")),
        (vec![rdn(&[attribute(COMMON_NAME, 0x1e, b"\0t\xd8\x3d\xde\x00")])], Some("t\u{1f600}")),
        (vec![rdn(&[attribute(COMMON_NAME, 0x13, b"*.typha? & co")])], Some("*.typha? & co")),
        (vec![rdn(&[attribute(ORGANIZATION, 0x12, b"12 3")]), rdn(&[name(COMMON_NAME, "x")])], Some("x")),
        (vec![rdn(&[name(ORGANIZATION, "typha-client")])], None),
        (vec![], None),
    ] {
        let certificate = with_subject(&element(0x30, &subject.concat()));
        let identity = PeerIdentity::from_certificate(&certificate).unwrap();
        assert_eq!(identity.common_name(), expected, "{subject:x?}");
        assert_eq!(uris(&identity), ["spiffe://td/felix"]);
    }
}

#[test]
fn a_name_that_is_not_valid_in_its_type_spoils_the_leaf() {
    let good = rdn(&[attribute(COMMON_NAME, 0x0c, b"typha-client")]);
    for (tag, value, problem) in [
        (0x0c, &b"\xff"[..], "a UTF8String in a name is not valid UTF-8"),
        (0x13, b"typha_client", "a PrintableString in a name has a character outside its set"),
        (0x13, b"typha\0", "a PrintableString in a name has a character outside its set"),
        (0x16, b"caf\xe9", "an IA5String in a name is not ASCII"),
        (0x1e, b"\0t\0", "a BMPString in a name has an odd number of octets"),
        (0x1e, b"\xd8\x3d\0t", "a BMPString in a name is not valid UTF-16"),
        (0x12, b"12a", "a NumericString in a name has a character outside its set"),
        (0x1c, b"\0\0\0t", "a name has a value of an unsupported string type"),
        (0x04, b"t", "a name has a value of an unsupported string type"),
    ] {
        for oid in [COMMON_NAME, ORGANIZATION] {
            let bad = rdn(&[attribute(oid, tag, value)]);
            for subject in [[bad.clone(), good.clone()], [good.clone(), bad.clone()]] {
                let certificate = with_subject(&element(0x30, &subject.concat()));
                assert_malformed(&certificate, problem, &format!("{tag:#x} {value:x?}"));
            }
        }
    }
    let number = with_subject(&element(0x30, &rdn(&[attribute(COMMON_NAME, 0x12, b"123")])));
    assert_malformed(&number, "the Common Name is of an unsupported string type", "NumericString");
}

#[test]
fn a_subject_that_is_no_strict_der() {
    let value = attribute(COMMON_NAME, 0x0c, b"typha-client");
    let long_length = [&[0x0c, 0x81, 1][..], b"x"].concat();
    for subject in [
        element(0x30, &element(0x31, &[])),
        element(0x30, &element(0x30, &value)),
        element(0x30, &rdn(&[element(0x31, &value[2..])])),
        element(0x30, &rdn(&[element(0x30, &[element(0x06, COMMON_NAME), long_length].concat())])),
        element(0x30, &rdn(&[element(0x30, &[&value[2..], &[5, 0]].concat())])),
        element(0x30, &rdn(&[element(0x30, &element(0x06, COMMON_NAME))])),
        element(0x30, &[rdn(std::slice::from_ref(&value)), vec![0x31]].concat()),
        element(0x31, &rdn(std::slice::from_ref(&value))),
    ] {
        let error = PeerIdentity::from_certificate(&with_subject(&subject)).unwrap_err().to_string();
        assert!(
            [
                "malformed certificate: the subject is not valid DER",
                "malformed certificate: it is not a DER-encoded X.509 certificate"
            ]
            .contains(&&*error),
            "{subject:x?}: {error}"
        );
    }
}

// Subject alternative names.

#[test]
fn uri_sans_are_read_in_order_and_byte_for_byte() {
    let many: Vec<_> = (0..100).map(|index| format!("spiffe://td/{index}")).collect();
    let odd = ["SPIFFE://TD/%41", "https://user@h:1/p?q#f", "urn:x", "a", "spiffe://td/a", "spiffe://td/a"];
    for expected in [many, odd.map(str::to_owned).to_vec(), Vec::new()] {
        let spec = expected.iter().fold(CertificateSpec::leaf("felix"), |spec, uri| spec.uri_san(uri));
        let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let spec = addresses.into_iter().fold(spec.dns_san("felix.example"), CertificateSpec::ip_san);
        let identity = identity(spec);
        assert_eq!(uris(&identity), expected);
        assert_eq!(identity.uri_sans().len(), expected.len());
        assert_eq!(identity.common_name(), Some("felix"));
    }
}

/// A leaf with a good Common Name and this value of an extension.
fn with_extension(oid: &[u64], value: &[u8]) -> CertificateDer<'static> {
    certificate(CertificateSpec::leaf("typha-client").extension(oid, false, value))
}

#[test]
fn other_kinds_of_names_are_passed_over() {
    let names = [
        element(0xa0, &[element(0x06, &[0x2a, 3]), element(0xa0, &element(0x0c, b"upn"))].concat()),
        element(0x81, b"felix@example"),
        element(0x82, b"felix.example"),
        element(0xa4, &element(0x30, &[])),
        element(0x86, b"spiffe://td/felix"),
        element(0x87, &[127, 0, 0, 1]),
        element(0x88, &[0x2a, 3]),
    ];
    let value = element(0x30, &names.concat());
    let identity = PeerIdentity::from_certificate(&with_extension(SAN, &value)).unwrap();
    assert_eq!(uris(&identity), ["spiffe://td/felix"]);
    let none = PeerIdentity::from_certificate(&with_extension(SAN, &[0x30, 0])).unwrap();
    assert_eq!((none.common_name(), uris(&none)), (Some("typha-client"), vec![]));
}

#[test]
fn a_malformed_san_spoils_the_leaf() {
    let good = element(0x86, b"spiffe://td/felix");
    let san = |name: &[u8]| element(0x30, &[&good, name].concat());
    let whole = san(&[]);
    let extension = "the extension 2.5.29.17 is malformed";
    let uri = "a URI SAN is empty or has white space, a control character or a byte outside ASCII";
    let address = "an IP address SAN has neither 4 nor 16 octets";
    let ascii = "a DNS or e-mail SAN is not ASCII";
    let unknown = "the subject alternative name has an unknown kind of name";
    let length = u8::try_from(good.len()).unwrap();
    for (value, problem) in [
        // The outer element.
        (vec![], extension),
        (whole[..whole.len() - 1].to_vec(), extension),
        ([&whole[..], &[0]].concat(), extension),
        ([&whole[..], &whole[..]].concat(), extension),
        ([&[0x30, 0x81, length], &good[..]].concat(), extension),
        ([&[0x30, 0x82, 0, length], &good[..]].concat(), extension),
        ([&[0x30, 0x80], &good[..], &[0, 0]].concat(), extension),
        (element(0x31, &good), extension),
        (element(0x04, &good), extension),
        (good.clone(), extension),
        // The names.
        (san(&[0x86]), extension),
        (san(&[0x86, 5, b'a']), extension),
        (san(&[0x86, 0x81, 1, b'a']), extension),
        (san(&[0x86, 0x82, 0, 1, b'a']), extension),
        (san(&[0x9f, 0x1f, 1, b'a']), extension),
        (san(&element(0x86, b"")), uri),
        (san(&element(0x86, b"spiffe://td/a\0")), uri),
        (san(&element(0x86, b"spiffe://td/felix\0.evil")), uri),
        (san(&element(0x86, b"spiffe://td/a b")), uri),
        (san(&element(0x86, b"spiffe://td/a\n")), uri),
        (san(&element(0x86, b"spiffe://td/a\x7f")), uri),
        (san(&element(0x86, "spiffe://td/\u{e9}".as_bytes())), uri),
        (san(&element(0x86, b"spiffe://td/\xff")), uri),
        (san(&element(0x87, b"")), address),
        (san(&element(0x87, &[1, 2, 3])), address),
        (san(&element(0x87, &[1, 2, 3, 4, 5])), address),
        (san(&element(0x87, &[0; 17])), address),
        (san(&element(0x82, b"felix.ex\xe4mple")), ascii),
        (san(&element(0x81, b"felix@ex\xe4mple")), ascii),
        (san(&element(0x89, b"a")), unknown),
        (san(&element(0xa6, b"a")), extension),
    ] {
        assert_malformed(&with_extension(SAN, &value), problem, &format!("{value:x?}"));
    }
    for tag in [0x06, 0x0c, 0x16, 0x30, 0xc6, 0x46] {
        let error =
            PeerIdentity::from_certificate(&with_extension(SAN, &san(&element(tag, b"a")))).unwrap_err();
        let text = error.to_string();
        assert!([extension, unknown].iter().any(|problem| text.ends_with(problem)), "{tag:#x}: {text}");
    }
}

/// What these kinds of names hold decides nothing here, but a leaf is read strictly or not at all.
#[test]
fn a_malformed_name_of_another_kind_spoils_the_leaf() {
    let mut read = Vec::new();
    for name in [
        element(0xa4, &[]),
        element(0xa4, &element(0x04, b"")),
        element(0xa4, &element(0x30, &element(0x31, b""))),
        element(0xa0, b"\xff"),
        element(0x88, b""),
        element(0x88, b"\xff"),
    ] {
        let value = element(0x30, &name);
        if PeerIdentity::from_certificate(&with_extension(SAN, &value)).is_ok() {
            read.push(value);
        }
    }
    assert!(read.is_empty(), "{read:02x?}");
}

// Other extensions.

#[test]
fn an_extension_that_occurs_twice_spoils_the_leaf() {
    let san = element(0x30, &element(0x86, b"spiffe://td/felix"));
    let leaf = || CertificateSpec::leaf("typha-client");
    let key_usage = [3, 2, 7, 0x80];
    for spec in [
        leaf().uri_san("spiffe://td/felix").extension(SAN, false, &san),
        leaf().extension(SAN, false, &san).extension(SAN, true, &san),
        leaf().extension(&[1, 2, 3, 4], false, &[5, 0]).extension(&[1, 2, 3, 4], false, &[5, 0]),
        leaf().extension(&[1, 2, 3, 4], false, &[1]).extension(SAN, false, &san).extension(
            &[1, 2, 3, 4],
            true,
            &[],
        ),
        leaf().extension(&[2, 5, 29, 15], true, &key_usage), // beside that of every leaf
    ] {
        assert_malformed(&certificate(spec), "an extension occurs twice", "");
    }
}

#[test]
fn an_extension_that_nobody_knows_may_hold_anything() {
    for value in [&b""[..], b"\xff", b"\x30\x05", b"text"] {
        for critical in [false, true] {
            let spec = CertificateSpec::leaf("typha-client").extension(&[1, 2, 3, 4], critical, value);
            assert_eq!(identity(spec).common_name(), Some("typha-client"));
        }
    }
}

const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const SERVER_AUTH: &[u8] = &[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];

fn name_of(oid: &[u64]) -> String {
    oid.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
}

#[test]
fn a_malformed_extension_spoils_the_leaf() {
    let usage = element(0x30, SERVER_AUTH);
    for (oid, value) in [
        (EXTENDED_KEY_USAGE, vec![]),
        (EXTENDED_KEY_USAGE, usage[..usage.len() - 1].to_vec()),
        (EXTENDED_KEY_USAGE, [&usage[..], &[0]].concat()),
        (EXTENDED_KEY_USAGE, [&[0x30, 0x81, 10], SERVER_AUTH].concat()),
        (EXTENDED_KEY_USAGE, SERVER_AUTH.to_vec()),
        (EXTENDED_KEY_USAGE, element(0x30, &SERVER_AUTH[..6])),
        (BASIC_CONSTRAINTS, vec![]),
        (BASIC_CONSTRAINTS, vec![5, 0]),
        (BASIC_CONSTRAINTS, element(0x30, &[1, 2, 0xff, 0xff])),
        (BASIC_CONSTRAINTS, element(0x30, &[1, 1, 0xff, 2, 1, 0xff])),
        (BASIC_CONSTRAINTS, element(0x30, &[1, 1, 0xff, 5, 0])),
        (BASIC_CONSTRAINTS, [&element(0x30, &[])[..], &[5, 0]].concat()),
        (&[2, 5, 29, 30], vec![4, 0]),
        (&[2, 5, 29, 14], vec![2, 1, 0]),
        (&[2, 5, 29, 31], vec![4, 0]),
        (&[2, 5, 29, 32], vec![4, 0]),
        (&[1, 3, 6, 1, 5, 5, 7, 1, 1], vec![4, 0]),
    ] {
        let problem = format!("the extension {} is malformed", name_of(oid));
        assert_malformed(&with_extension(oid, &value), &problem, &format!("{value:x?}"));
    }
}

/// A leaf issued by a CA has a key usage and an authority key identifier; this replaces a part of one.
fn with_replaced(from: &[u8], to: &[u8]) -> CertificateDer<'static> {
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let mut der = ca.issue(CertificateSpec::leaf("typha-client")).unwrap().chain()[0].to_vec();
    assert_eq!(from.len(), to.len());
    let places: Vec<_> = der.windows(from.len()).enumerate().filter(|(_, window)| *window == from).collect();
    let [(place, _)] = places[..] else { panic!("{} places of {from:x?}", places.len()) };
    der[place..place + to.len()].copy_from_slice(to);
    der.into()
}

const KEY_USAGE_VALUE: &[u8] = &[4, 4, 3, 2, 7, 0x80];
const AUTHORITY_KEY_IDENTIFIER_VALUE: &[u8] = &[4, 24, 0x30, 22, 0x80, 20];

#[test]
fn a_malformed_key_usage_or_authority_key_identifier_spoils_the_leaf() {
    assert!(PeerIdentity::from_certificate(&with_replaced(KEY_USAGE_VALUE, KEY_USAGE_VALUE)).is_ok());
    for (from, to, oid) in [
        (KEY_USAGE_VALUE, &[4, 4, 4, 2, 7, 0x80], "2.5.29.15"),
        (KEY_USAGE_VALUE, &[4, 4, 3, 2, 8, 0x80], "2.5.29.15"),
        (KEY_USAGE_VALUE, &[4, 4, 3, 1, 7, 0x80], "2.5.29.15"),
        (KEY_USAGE_VALUE, &[4, 4, 3, 3, 7, 0x80], "2.5.29.15"),
        (KEY_USAGE_VALUE, &[4, 4, 3, 0x81, 1, 0], "2.5.29.15"),
        (AUTHORITY_KEY_IDENTIFIER_VALUE, &[4, 24, 0x31, 22, 0x80, 20], "2.5.29.35"),
        (AUTHORITY_KEY_IDENTIFIER_VALUE, &[4, 24, 0x30, 21, 0x80, 20], "2.5.29.35"),
        (AUTHORITY_KEY_IDENTIFIER_VALUE, &[4, 24, 0x30, 23, 0x80, 20], "2.5.29.35"),
    ] {
        let problem = format!("the extension {oid} is malformed");
        assert_malformed(&with_replaced(from, to), &problem, &format!("{to:x?}"));
    }
}

/// x509-parser stops reading inside of an extension where it does not understand it.
#[test]
fn an_extension_is_strict_der_also_inside() {
    let mut read = Vec::new();
    for certificate in [
        (
            "purposes and something else",
            with_extension(EXTENDED_KEY_USAGE, &element(0x30, &[SERVER_AUTH, &[5, 0]].concat())),
        ),
        (
            "a purpose of a length that is not minimal",
            with_extension(EXTENDED_KEY_USAGE, &element(0x30, &[&[6, 0x81], &SERVER_AUTH[1..]].concat())),
        ),
        (
            "a BOOLEAN that is neither 00 nor FF",
            with_extension(BASIC_CONSTRAINTS, &element(0x30, &[1, 1, 1])),
        ),
        (
            "a key identifier that is cut",
            with_replaced(AUTHORITY_KEY_IDENTIFIER_VALUE, &[4, 24, 0x30, 22, 0x80, 21]),
        ),
        (
            "a key identifier and one octet more",
            with_replaced(AUTHORITY_KEY_IDENTIFIER_VALUE, &[4, 24, 0x30, 22, 0x80, 19]),
        ),
        (
            "a key identifier of another tag",
            with_replaced(AUTHORITY_KEY_IDENTIFIER_VALUE, &[4, 24, 0x30, 22, 4, 20]),
        ),
    ] {
        if PeerIdentity::from_certificate(&certificate.1).is_ok() {
            read.push(certificate.0);
        }
    }
    assert!(read.is_empty(), "{read:#?}");
}

// The whole certificate.

#[test]
fn what_is_no_certificate() {
    let good = certificate(CertificateSpec::leaf("typha-client"));
    let cut = "it is not a DER-encoded X.509 certificate";
    assert_malformed(&CertificateDer::from([&good[..], &[0]].concat()), cut, "");
    for length in 0..good.len() {
        assert_malformed(&CertificateDer::from(&good[..length]), cut, &length.to_string());
    }
}

/// What x509-cert reads: the last Common Name, if its type has a reader there, and the URI SANs.
fn oracle(der: &[u8]) -> Option<(Option<String>, Vec<String>)> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    let mut names = certificate.tbs_certificate.subject.0.iter().flat_map(|rdn| rdn.0.iter());
    let common_name = names.rfind(|name| name.oid.as_bytes() == COMMON_NAME);
    let text = match common_name {
        None => None,
        Some(name) if [Tag::Utf8String, Tag::PrintableString, Tag::Ia5String].contains(&name.value.tag()) => {
            Some(String::from_utf8(name.value.value().to_vec()).ok()?)
        }
        Some(name) if name.value.tag() == Tag::TeletexString => {
            Some(name.value.value().iter().copied().map(char::from).collect())
        }
        Some(name) if name.value.tag() == Tag::BmpString => {
            let (pairs, rest) = name.value.value().as_chunks::<2>();
            let units: Vec<_> = pairs.iter().map(|&pair| u16::from_be_bytes(pair)).collect();
            Some(String::from_utf16(&units).ok().filter(|_| rest.is_empty())?)
        }
        Some(_) => return None,
    };
    let mut uris = Vec::new();
    let extensions = certificate.tbs_certificate.extensions.iter().flatten();
    for extension in extensions.filter(|extension| extension.extn_id.to_string() == name_of(SAN)) {
        let names = SubjectAltName::from_der(extension.extn_value.as_bytes()).ok()?;
        uris.extend(names.0.iter().filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
            _ => None,
        }));
    }
    Some((text.filter(|text| !text.is_empty()), uris))
}

/// Whether both parsers accept the certificate; if they do, they must agree.
fn both_read_the_same(der: &CertificateDer<'_>, context: &str) -> bool {
    let (Ok(ours), Some((common_name, uri_sans))) = (PeerIdentity::from_certificate(der), oracle(der)) else {
        return false;
    };
    assert_eq!(ours.common_name(), common_name.as_deref(), "{context}");
    assert_eq!(uris(&ours), uri_sans, "{context}");
    true
}

#[test]
fn no_damage_is_read_differently_than_by_another_parser() {
    let spec = CertificateSpec::leaf("Users").common_name("typha-client").uri_san("spiffe://td/felix");
    let good = certificate(spec.dns_san("felix").ip_san(Ipv4Addr::LOCALHOST.into()));
    assert!(both_read_the_same(&good, "undamaged"));
    let mut read = 0;
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut damaged = good.to_vec();
            damaged[position] ^= 1 << bit;
            let context = format!("bit {bit} of octet {position}");
            read += usize::from(both_read_the_same(&damaged.into(), &context));
        }
    }
    // Most bits are of keys, times and the signature.
    assert!(read > good.len() * 2, "{read} of {}", good.len() * 8);
}

#[test]
fn the_oracle_can_write_what_it_reads() {
    let good = certificate(CertificateSpec::leaf("typha-client"));
    let parsed = x509_cert::Certificate::from_der(&good).unwrap();
    assert_eq!(parsed.to_der().unwrap(), good.as_ref());
}

fn common_name() -> impl Strategy<Value = (StringType, String)> {
    prop_oneof![
        ".{0,20}".prop_map(|name| (StringType::Utf8, name)),
        "[A-Za-z0-9 '()+,./:=-]{0,20}".prop_map(|name| (StringType::Printable, name)),
        "[\\x00-\\x7f]{0,20}".prop_map(|name| (StringType::Ia5, name)),
        "[ -~]{0,20}".prop_map(|name| (StringType::Teletex, name)),
        "[\\x01-\u{d7ff}]{0,20}".prop_map(|name| (StringType::Bmp, name)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(5473),
        ..ProptestConfig::default()
    })]

    #[test]
    fn names_are_those_that_another_parser_reads(
        names in prop::collection::vec(common_name(), 0..3),
        uri_sans in prop::collection::vec("[!-~]{1,40}", 0..5),
        dns_sans in prop::collection::vec("[a-z]{1,9}", 0..2),
    ) {
        let spec = names.iter().fold(CertificateSpec::unnamed(), |spec, (string_type, name)| {
            spec.common_name_as(*string_type, name)
        });
        let spec = uri_sans.iter().fold(spec, |spec, uri| spec.uri_san(uri));
        let spec = dns_sans.iter().fold(spec, |spec, name| spec.dns_san(name));
        let certificate = certificate(spec);
        prop_assert!(both_read_the_same(&certificate, "generated"));
        let identity = PeerIdentity::from_certificate(&certificate).unwrap();
        let last = names.last().map(|(_, name)| &**name).filter(|name| !name.is_empty());
        prop_assert_eq!(identity.common_name(), last);
        prop_assert_eq!(uris(&identity), uri_sans);
    }
}

//! What is changed in a good chain, in what the peer sends, and in what the other end trusts and requires.

use fastrand::Rng;
use typha_tls::RequiredIdentity;

use super::cases::{Case, ca, leaf, names_of, purpose};
use super::certificate::{
    AUTHORITY_KEY_IDENTIFIER, Attribute, BASIC_CONSTRAINTS, BMP_STRING, CERTIFICATE_POLICIES, COMMON_NAME,
    DIGITAL_SIGNATURE, DIRECTORY_NAME, DNS_NAME, Damage, EXTENDED_KEY_USAGE, IA5_STRING, IP_ADDRESS,
    KEY_CERT_SIGN, KEY_USAGE, NAME_CONSTRAINTS, NO_USAGE, NUMERIC_STRING, OTHER_NAME, POLICY_CONSTRAINTS,
    PRINTABLE_STRING, Purpose, REGISTERED_ID, RFC822_NAME, SUBJECT_ALTERNATIVE_NAME, SUBJECT_KEY_IDENTIFIER,
    Spec, TELETEX_STRING, Time, UNIVERSAL_STRING, UNKNOWN_EXTENSION, UNKNOWN_NAME, URI, UTF8_STRING,
    basic_constraints, certificate_policies, extended_key_usage, key_usage, name_constraints, names,
    policy_constraints,
};
use super::der::{OBJECT_IDENTIFIER, OCTET_STRING, element, sequence};
use super::keys::{Hash, KeyType};

#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) name: &'static str,
    pub(super) apply: fn(&mut Case, &mut Rng),
}

const fn change(name: &'static str, apply: fn(&mut Case, &mut Rng)) -> Change {
    Change { name, apply }
}

/// Those of which there are many kinds stand several times.
pub(super) const CHANGES: &[Change] = &[
    change("none", |_, _| {}),
    change("authority key identifier", authority_key_identifier),
    change("basic constraints", set_basic_constraints),
    change("basic constraints", set_basic_constraints),
    change("bundle of a CA with the same name", same_name),
    change("bundle of a renewed CA", renewed),
    change("bundle of the intermediate", intermediate_in_bundle),
    change("bundle of the operator", operator),
    change("bundle with another entry", other_entry),
    change("bundle without the CA", without_ca),
    change("certificate policies", policies),
    change("chain ends early", ends_early),
    change("chain in another order", shuffled),
    change("chain with duplicates", duplicates),
    change("chain with superfluous certificates", superfluous),
    change("Common Name", common_name),
    change("Common Name", common_name),
    change("Common Names", common_names),
    change("damage", damage),
    change("extended key usage", set_extended_key_usage),
    change("extended key usage", set_extended_key_usage),
    change("extension that is malformed", malformed_extension),
    change("extension twice", extension_twice),
    change("extension unknown", unknown_extension),
    change("hash", hash),
    change("identity required", required),
    change("key", key_types),
    change("key usage", set_key_usage),
    change("long path", long_path),
    change("name constraints", set_name_constraints),
    change("name constraints", set_name_constraints),
    change("name constraints", set_name_constraints),
    change("names", other_names),
    change("pinned leaf", pinned),
    change("pinned leaf", pinned),
    change("pinned leaf, self-signed", pinned_self_signed),
    change("pinned leaf, self-signed", pinned_self_signed),
    change("pinned leaf of an unknown CA", pinned_of_unknown),
    change("serial", serial),
    change("subject", subject),
    change("time", time_forms),
    change("time", validity),
    change("unique identifiers", |case, rng| any(case, rng).has_unique_identifiers = true),
    change("URI SAN", uri),
    change("URI SAN", uri),
    change("URI SAN", uri),
    change("version", |case, rng| any(case, rng).version = rng.u8(1..3)),
];

fn one_of<T: Clone>(choices: &[T], rng: &mut Rng) -> T {
    choices[rng.usize(..choices.len())].clone()
}

/// A certificate of the path, mostly the leaf.
fn any<'a>(case: &'a mut Case, rng: &mut Rng) -> &'a mut Spec {
    let index = if rng.bool() { 0 } else { rng.usize(1..=case.root) };
    &mut case.certificates[index]
}

fn any_ca<'a>(case: &'a mut Case, rng: &mut Rng) -> &'a mut Spec {
    let index = rng.usize(1..=case.root);
    &mut case.certificates[index]
}

// Extensions.

fn authority_key_identifier(case: &mut Case, rng: &mut Rng) {
    let critical = rng.bool();
    let spec = any(case, rng);
    match rng.u8(..4) {
        0 => spec.remove(AUTHORITY_KEY_IDENTIFIER),
        1 => spec.remove(SUBJECT_KEY_IDENTIFIER),
        2 => spec.set(AUTHORITY_KEY_IDENTIFIER, critical, sequence(&[element(0x80, &[7; 20])])),
        _ => spec.set(SUBJECT_KEY_IDENTIFIER, critical, element(OCTET_STRING, &[7; 20])),
    }
}

fn set_basic_constraints(case: &mut Case, rng: &mut Rng) {
    let spec = any(case, rng);
    if rng.u8(..5) == 0 {
        return spec.remove(BASIC_CONSTRAINTS);
    }
    let ca = one_of(&[None, Some(false), Some(true), Some(true)], rng);
    let path_length = one_of(&[None, Some(0), Some(0), Some(1), Some(127), Some(255), Some(256)], rng);
    spec.set(BASIC_CONSTRAINTS, rng.bool(), basic_constraints(ca, path_length));
}

fn set_extended_key_usage(case: &mut Case, rng: &mut Rng) {
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

fn set_key_usage(case: &mut Case, rng: &mut Rng) {
    let spec = any(case, rng);
    match one_of(&[None, Some(KEY_CERT_SIGN), Some(DIGITAL_SIGNATURE), Some(NO_USAGE)], rng) {
        None => spec.remove(KEY_USAGE),
        Some(bits) => spec.set(KEY_USAGE, rng.bool(), key_usage(bits)),
    }
}

fn policies(case: &mut Case, rng: &mut Rng) {
    let critical = rng.bool();
    let spec = any(case, rng);
    if rng.bool() {
        spec.set(POLICY_CONSTRAINTS, critical, policy_constraints());
    } else {
        spec.set(CERTIFICATE_POLICIES, critical, certificate_policies());
    }
}

fn unknown_extension(case: &mut Case, rng: &mut Rng) {
    let critical = rng.u8(..4) != 0;
    any(case, rng).set(UNKNOWN_EXTENSION, critical, b"not DER".to_vec());
}

fn extension_twice(case: &mut Case, rng: &mut Rng) {
    let spec = any(case, rng);
    if spec.extensions.is_empty() {
        return;
    }
    let extension = one_of(&spec.extensions, rng);
    spec.extensions.push(extension);
}

/// An extension with data that does not belong there, or with another type.
fn malformed_extension(case: &mut Case, rng: &mut Rng) {
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

fn set_name_constraints(case: &mut Case, rng: &mut Rng) {
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
            (DNS_NAME, if rng.u8(..4) == 0 { one_of(NO_HOST_NAMES, rng) } else { b"felix.example" }),
            (URI, if rng.bool() { one_of(WITHOUT_HOST_NAME, rng) } else { b"https://cluster.local/" }),
            (RFC822_NAME, b"felix@example"),
            (IP_ADDRESS, &[10, 1, 2, 3]),
        ];
        case.certificates[0].set(
            SUBJECT_ALTERNATIVE_NAME,
            false,
            names(&all[rng.usize(..2)..rng.usize(2..=4)]),
        );
    }
    any_ca(case, rng).set(NAME_CONSTRAINTS, rng.bool(), value);
}

/// What no name server knows.
pub(super) const NO_HOST_NAMES: &[&[u8]] = &[b"", b"*.felix example"];

/// Kinds of subject alternative names.
fn other_names(case: &mut Case, rng: &mut Rng) {
    let organization = sequence(&[]);
    let other_name =
        [element(OBJECT_IDENTIFIER, &[0x2a, 3]), element(0xa0, &element(UTF8_STRING, b"x"))].concat();
    let choices: [&[(u8, &[u8])]; 13] = [
        &[],
        &[(DNS_NAME, b"felix.example")],
        &[(DNS_NAME, NO_HOST_NAMES[0])],
        &[(DNS_NAME, NO_HOST_NAMES[1])],
        &[(DNS_NAME, b"f\xe9lix")],
        &[(RFC822_NAME, b"felix@example")],
        &[(RFC822_NAME, b"f\xe9lix")],
        &[(IP_ADDRESS, &[10, 0, 0, 1])],
        &[(IP_ADDRESS, &[10, 0, 0, 1, 2])],
        &[(DIRECTORY_NAME, &organization)],
        &[(OTHER_NAME, &other_name)],
        &[(REGISTERED_ID, &[0x2a, 3])],
        &[(UNKNOWN_NAME, b"unknown")],
    ];
    let mut chosen = one_of(&choices, rng).to_vec();
    let (name, uri) = names_of(case.role);
    if rng.bool() {
        chosen.push((URI, uri.as_bytes()));
    }
    case.required_common_name = Some(name.to_owned());
    case.certificates[0].set(SUBJECT_ALTERNATIVE_NAME, rng.bool(), names(&chosen));
}

/// URIs, and what is required of them if it is not the URI itself. Both Go and this library can read them or neither.
const URIS: &[(&[u8], Option<&str>)] = &[
    (b"https://host/x?", None),
    (b"https://user:secret@host/", None),
    (b"//host/x", None),
    (b"spiffe://CLUSTER.local/felix", Some("spiffe://cluster.local/felix")),
    (b"spiffe://cluster.local/%66elix", Some("spiffe://cluster.local/felix")),
    (b"https://host/\x7f", None),
    (b"https://host/\n", None),
    (b"https://host/\0", None),
    (b"https://host/\xff", None),
    (b" https://host/", None),
];

pub(super) const WITHOUT_HOST_NAME: &[&[u8]] =
    &[b"https://[::1]/", b"https://10.0.0.1:443/", b"urn:uuid:1", b"typha", b"a:b:c", b"https:///x"];

/// URIs that Go writes in another form, which is the second one.
pub(super) const NOT_NORMAL: &[(&[u8], &str)] = &[
    (b"SPIFFE://cluster.local/felix", "spiffe://cluster.local/felix"),
    (b"spiffe://cluster.local/felix#", "spiffe://cluster.local/felix"),
    (b"HTTPS://host/x", "https://host/x"),
    (b"https://host/{x}", "https://host/%7Bx%7D"),
    (b"https://host/x#", "https://host/x"),
];

/// What is no URI for this library.
pub(super) const WHITE_SPACE: &[(&[u8], &str)] = &[
    (b"", ""),
    (b"https://host/a b", "https://host/a%20b"),
    (b"https://h\xc3\xb6st/", "https://h\u{f6}st/"),
];

/// What is no URI for Go, which looks into the parts of it.
pub(super) const UNREADABLE_FOR_GO: &[&[u8]] = &[
    b"https://host/%zz",
    b"https://a..b/",
    b"https://host./",
    b"https://[::1/",
    b"https://host:port/",
    b"https://h%6fst/",
    b"://host",
    b"1a:b",
];

fn uri(case: &mut Case, rng: &mut Rng) {
    let (uri, other) = match rng.u8(..4) {
        0 => one_of(URIS, rng),
        1 => (one_of(if rng.bool() { UNREADABLE_FOR_GO } else { WITHOUT_HOST_NAME }, rng), None),
        choice => {
            let (uri, other) = one_of(if choice == 2 { NOT_NORMAL } else { WHITE_SPACE }, rng);
            (uri, rng.bool().then_some(other))
        }
    };
    case.certificates[0].set(
        SUBJECT_ALTERNATIVE_NAME,
        false,
        names(&[(DNS_NAME, b"felix.example"), (URI, uri)]),
    );
    let can_be_required = |uri: &&str| RequiredIdentity::uri_san(uri).is_ok();
    let required = other.or(std::str::from_utf8(uri).ok()).filter(can_be_required);
    case.required_uri = required.map(str::to_owned);
    // Mostly the URI decides. Otherwise it only has to be read.
    let by_name = required.is_none() || rng.u8(..3) == 0;
    case.required_common_name = by_name.then(|| names_of(case.role).0.to_owned());
}

// The subject.

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

fn common_name(case: &mut Case, rng: &mut Rng) {
    let (tag, value, required) = one_of(COMMON_NAMES, rng);
    let leaf = &mut case.certificates[0];
    leaf.subject.retain(|attribute| attribute.oid != COMMON_NAME);
    leaf.subject.push(Attribute { oid: COMMON_NAME, tag, value: value.to_vec() });
    case.required_common_name = Some(required.to_owned());
    // With the URI, the name only has to be read.
    case.required_uri = (rng.u8(..3) == 0).then(|| names_of(case.role).1.to_owned());
}

fn common_names(case: &mut Case, rng: &mut Rng) {
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

// What else may be in a name.

/// A set without attributes.
pub(super) const EMPTY_SET: &[u8] = &[0x31, 0];
/// O=x, with data after the value.
pub(super) const DATA_AFTER_VALUE: &[u8] = &[0x31, 12, 0x30, 10, 6, 3, 0x55, 4, 10, 0x0c, 1, b'x', 5, 0];
/// An attribute that is no text.
pub(super) const NUMBER: &[u8] = &[0x31, 10, 0x30, 8, 6, 3, 0x55, 4, 10, 0x02, 1, 7];
/// Two attributes in one set: O=x, OU=y.
const TWO_IN_A_SET: &[u8] =
    &[0x31, 20, 0x30, 8, 6, 3, 0x55, 4, 10, 0x0c, 1, b'x', 0x30, 8, 6, 3, 0x55, 4, 11, 0x0c, 1, b'y'];

fn subject(case: &mut Case, rng: &mut Rng) {
    any(case, rng).subject_end = one_of(&[EMPTY_SET, DATA_AFTER_VALUE, NUMBER, TWO_IN_A_SET], rng);
}

fn required(case: &mut Case, rng: &mut Rng) {
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

// Other parts of certificates.

fn serial(case: &mut Case, rng: &mut Rng) {
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

fn hash(case: &mut Case, rng: &mut Rng) {
    let key_type =
        one_of(&[KeyType::P256, KeyType::P256, KeyType::P384, KeyType::P521, KeyType::Rsa2048], rng);
    let hash = one_of(&[Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512], rng);
    let index = rng.usize(..=case.root);
    let issuer = case.certificates[index].issuer;
    set_key(case, issuer, key_type);
    case.certificates[index].hash = Some(hash);
}

fn key_types(case: &mut Case, rng: &mut Rng) {
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

fn damage(case: &mut Case, rng: &mut Rng) {
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
    any(case, rng).damage = Some(damage);
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
pub(super) const BAD_TIMES: &[Time] = &[
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

fn time_forms(case: &mut Case, rng: &mut Rng) {
    let spec = any(case, rng);
    match rng.u8(..3) {
        0 => spec.not_before = one_of(BAD_TIMES, rng),
        1 => spec.not_before = one_of(TIMES, rng),
        _ => spec.not_after = one_of(LATE_TIMES, rng),
    }
}

/// Around the time of the check.
fn validity(case: &mut Case, rng: &mut Rng) {
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

// What the peer sends.

fn ends_early(case: &mut Case, rng: &mut Rng) {
    let length = rng.usize(1..=case.chain.len());
    case.chain.truncate(length);
}

fn shuffled(case: &mut Case, rng: &mut Rng) {
    if rng.bool() {
        case.chain.push(case.root);
    }
    let from = usize::from(rng.u8(..4) != 0);
    rng.shuffle(&mut case.chain[from..]);
}

fn duplicates(case: &mut Case, rng: &mut Rng) {
    let count = one_of(&[1, 2, 5, 60], rng);
    let again = one_of(&case.chain, rng);
    case.chain.extend(vec![again; count]);
}

/// Certificates that are not of the path. Some of them are refused by a strict parser.
fn superfluous(case: &mut Case, rng: &mut Rng) {
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
fn long_path(case: &mut Case, rng: &mut Rng) {
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

// What the other end trusts.

/// Another CA that has the name of the root, but another key.
fn same_name(case: &mut Case, rng: &mut Rng) {
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
fn renewed(case: &mut Case, rng: &mut Rng) {
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

fn intermediate_in_bundle(case: &mut Case, rng: &mut Rng) {
    let intermediate = rng.usize(1..=case.root);
    if rng.bool() {
        case.bundle = vec![intermediate];
    } else {
        case.bundle.push(intermediate);
    }
}

/// The CA and the leaves of both ends.
fn operator(case: &mut Case, rng: &mut Rng) {
    let mut other = leaf(case.role.peer(), rng);
    other.key = (KeyType::P256, 5);
    let other = case.add(other);
    case.bundle.extend([other, 0]);
}

/// Entries of which no path needs any.
fn other_entry(case: &mut Case, rng: &mut Rng) {
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

fn without_ca(case: &mut Case, rng: &mut Rng) {
    other_entry(case, rng);
    case.bundle.retain(|&index| index != case.root);
    if case.bundle.is_empty() {
        case.bundle = vec![case.root];
    }
}

// A leaf that is itself in the bundle.

fn pinned(case: &mut Case, rng: &mut Rng) {
    case.bundle.insert(rng.usize(..=case.bundle.len()), 0);
    mark_as_ca(case, rng);
}

fn pinned_of_unknown(case: &mut Case, rng: &mut Rng) {
    case.bundle = vec![0];
    mark_as_ca(case, rng);
}

fn pinned_self_signed(case: &mut Case, rng: &mut Rng) {
    let leaf = &mut case.certificates[0];
    leaf.issuer = 0;
    if leaf.key.0 == KeyType::P224 {
        leaf.key = (KeyType::P256, 0);
    }
    case.chain = vec![0];
    match rng.u8(..5) {
        0 => case.bundle.push(0),
        1 => {
            // The bundle has the certificate that this one replaces: the same name and the same key.
            let mut before = case.certificates[0].clone();
            before.serial = vec![0x45];
            before.issuer = case.certificates.len();
            let before = case.add(before);
            case.bundle = vec![before];
        }
        _ => case.bundle = vec![0],
    }
    mark_as_ca(case, rng);
}

fn mark_as_ca(case: &mut Case, rng: &mut Rng) {
    if rng.u8(..3) == 0 {
        let both = key_usage(&[2, 0x84]);
        for spec in case.certificates.iter_mut().filter(|spec| spec.key == (KeyType::P256, 0)) {
            spec.set(BASIC_CONSTRAINTS, true, basic_constraints(Some(true), None));
            spec.set(KEY_USAGE, true, both.clone());
        }
    }
}

//! Changes of the subject alternative names.

use fastrand::Rng;
use typha_tls::RequiredIdentity;

use super::draw::one_of;
use crate::differential::case::{Case, names_of};
use crate::differential::certificate::{
    DIRECTORY_NAME, DNS_NAME, IP_ADDRESS, OTHER_NAME, REGISTERED_ID, RFC822_NAME, SUBJECT_ALTERNATIVE_NAME,
    UNKNOWN_NAME, URI, UTF8_STRING, names,
};
use crate::differential::der::{OBJECT_IDENTIFIER, element, sequence};

/// What no name server knows.
pub(crate) const NO_HOST_NAMES: &[&[u8]] = &[b"", b"*.felix example"];

/// Kinds of subject alternative names.
pub(super) fn other_names(case: &mut Case, rng: &mut Rng) {
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

pub(crate) const WITHOUT_HOST_NAME: &[&[u8]] =
    &[b"https://[::1]/", b"https://10.0.0.1:443/", b"urn:uuid:1", b"typha", b"a:b:c", b"https:///x"];

/// URIs that Go writes in another form, which is the second one.
pub(crate) const NOT_NORMAL: &[(&[u8], &str)] = &[
    (b"SPIFFE://cluster.local/felix", "spiffe://cluster.local/felix"),
    (b"spiffe://cluster.local/felix#", "spiffe://cluster.local/felix"),
    (b"HTTPS://host/x", "https://host/x"),
    (b"https://host/{x}", "https://host/%7Bx%7D"),
    (b"https://host/x#", "https://host/x"),
];

/// What is no URI for this library.
pub(crate) const WHITE_SPACE: &[(&[u8], &str)] = &[
    (b"", ""),
    (b"https://host/a b", "https://host/a%20b"),
    (b"https://h\xc3\xb6st/", "https://h\u{f6}st/"),
];

/// What is no URI for Go, which looks into the parts of it.
pub(crate) const UNREADABLE_FOR_GO: &[&[u8]] = &[
    b"https://host/%zz",
    b"https://a..b/",
    b"https://host./",
    b"https://[::1/",
    b"https://host:port/",
    b"https://h%6fst/",
    b"://host",
    b"1a:b",
];

pub(super) fn uri(case: &mut Case, rng: &mut Rng) {
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

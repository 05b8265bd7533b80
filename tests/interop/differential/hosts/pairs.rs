//! Pairs of a certificate and a host, drawn by a generator with a fixed seed.

use std::fmt;
use std::net::IpAddr;

use fastrand::Rng;

use crate::differential::certificate::{
    BASIC_CONSTRAINTS, DIGITAL_SIGNATURE, DNS_NAME, EXTENDED_KEY_USAGE, IP_ADDRESS, KEY_CERT_SIGN, KEY_USAGE,
    Purpose, RFC822_NAME, SUBJECT_ALTERNATIVE_NAME, Spec, URI, basic_constraints, extended_key_usage,
    key_usage, names,
};
use crate::differential::keys::KeyType;

/// A server's certificate with a good chain, and the host that was dialled.
pub(super) struct Pair {
    pub(super) leaf: Spec,
    /// The subject alternative names of the leaf: tags and values.
    pub(super) names: Vec<(u8, Vec<u8>)>,
    pub(super) host: String,
}

impl Pair {
    /// The names of one kind.
    pub(super) fn of_kind(&self, kind: u8) -> impl Iterator<Item = &[u8]> {
        self.names.iter().filter(move |(tag, _)| *tag == kind).map(|(_, name)| &**name)
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {:?}, names [", self.host)?;
        for (tag, name) in &self.names {
            write!(f, " {tag:x} \"{}\"", name.escape_ascii())?;
        }
        f.write_str(" ]")
    }
}

const LABEL_OF_63: &str = "a23456789012345678901234567890123456789012345678901234567890123";

/// DNS names of certificates.
const DNS_NAMES: &[&[u8]] = &[
    b"etcd.example.org",
    b"ETCD.Example.ORG",
    b"localhost",
    b"etcd",
    b"a.etcd.example.org",
    // Wildcards.
    b"*.example.org",
    b"*.Example.ORG",
    b"*.org",
    b"*",
    b"*.",
    b"etcd*.example.org",
    b"*etcd.example.org",
    b"e*d.example.org",
    b"etcd.*.org",
    b"etcd.example.*",
    b"*.*.org",
    b"xn--*.example.org",
    b"*.xn--bcher-kva.example",
    b"**.example.org",
    // Final dots, and labels without text.
    b"etcd.example.org.",
    b"*.example.org.",
    b"etcd.example.org..",
    b"etcd..org",
    b".example.org",
    b".",
    b"",
    // International names.
    b"xn--bcher-kva.example.org",
    b"XN--bcher-KVA.example.org",
    "b\u{fc}cher.example.org".as_bytes(),
    b"b\xfccher.example.org",
    // Characters.
    b"my_etcd.example.org",
    b"_etcd.example.org",
    b"-etcd.example.org",
    b"etcd-.example.org",
    b"etcd--1.example.org",
    b"etcd.example.org\0.evil.org",
    b"\0",
    b"etcd.example.org ",
    b" etcd.example.org",
    b"etcd example.org",
    b"etcd.example.org:2379",
    b"https://etcd.example.org",
    // Numbers.
    b"10.0.0.1",
    b"10.0.0.1.",
    b"*.0.0.1",
    b"1.2.3",
    b"etcd.123",
    b"1.etcd.example.org",
    b"0x0a000001",
    b"::1",
    b"[::1]",
    b"fe80::1%eth0",
];

const IP_ADDRESSES: &[&str] = &[
    "10.0.0.1",
    "127.0.0.1",
    "::ffff:10.0.0.1",
    "::10.0.0.1",
    "::1",
    "2001:db8::1",
    "fe80::1",
    "0.0.0.0",
    "::",
    "::ffff:0.0.0.0",
];

/// Hosts beside those that are derived from a name of the certificate.
const HOSTS: &[&str] = &[
    "",
    ".",
    "*",
    "etcd.example.org",
    "other.example.org",
    "example.org",
    "a.b.example.org",
    "xn--bcher-kva.example.org",
    "b\u{fc}cher.example.org",
    "localhost",
    "10.0.0.1",
    "010.0.0.1",
    "10.1",
    "167772161",
    "10.0.0.256",
    "10.0.0.1:2379",
    "::1",
    "::1%lo",
    "fe80::1%eth0",
    "[fe80::1%25eth0]",
    "2001:db8:0:0:0:0:0:1",
    "::ffff:a00:1",
    "::ffff:10.0.0.1",
    "0.0.0.0",
    "::",
];

fn long_names() -> Vec<Vec<u8>> {
    let rest = |length| "b".repeat(length);
    [
        format!("{LABEL_OF_63}.example.org"),
        format!("{LABEL_OF_63}4.example.org"),
        format!("{LABEL_OF_63}.{LABEL_OF_63}.{LABEL_OF_63}.{}", rest(61)),
        format!("{LABEL_OF_63}.{LABEL_OF_63}.{LABEL_OF_63}.{}", rest(62)),
        format!("*.{LABEL_OF_63}.{LABEL_OF_63}.{LABEL_OF_63}.{}", rest(59)),
        vec!["a"; 400].join("."),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// The root, which signs all leaves.
pub(super) fn ca() -> Spec {
    let mut ca = Spec::new("etcd-ca", 0, (KeyType::P256, 1));
    ca.set(BASIC_CONSTRAINTS, true, basic_constraints(Some(true), None));
    ca.set(KEY_USAGE, true, key_usage(KEY_CERT_SIGN));
    ca
}

pub(super) fn pairs(count: usize) -> Vec<Pair> {
    let mut rng = Rng::with_seed(2);
    let long_names = long_names();
    (0..count).map(|_| pair(&long_names, &mut rng)).collect()
}

fn pair(long_names: &[Vec<u8>], rng: &mut Rng) -> Pair {
    let count = [0, 1, 1, 1, 1, 2, 3][rng.usize(..7)];
    let names: Vec<_> = (0..count).map(|_| name(long_names, rng)).collect();
    let host = match rng.choice(&names) {
        Some(name) if rng.u8(..4) > 0 => host_of(name, rng),
        _ => rng.choice(HOSTS).unwrap().to_string(),
    };
    // A Common Name never counts.
    let common_name = if rng.bool() { &host } else { "etcd" };
    let mut leaf = Spec::new(common_name, 0, (KeyType::P256, 0));
    leaf.set(KEY_USAGE, true, key_usage(DIGITAL_SIGNATURE));
    leaf.set(EXTENDED_KEY_USAGE, false, extended_key_usage(&[Purpose::ServerAuth]));
    // Either no extension, or an empty one.
    if !names.is_empty() || rng.bool() {
        let listed: Vec<_> = names.iter().map(|(tag, name)| (*tag, &**name)).collect();
        leaf.set(SUBJECT_ALTERNATIVE_NAME, false, self::names(&listed));
    }
    Pair { leaf, names, host }
}

/// A subject alternative name.
fn name(long_names: &[Vec<u8>], rng: &mut Rng) -> (u8, Vec<u8>) {
    match rng.u8(..20) {
        0..13 => (DNS_NAME, rng.choice(DNS_NAMES).unwrap().to_vec()),
        13 => (DNS_NAME, rng.choice(long_names).unwrap().clone()),
        14..18 => {
            let address = match rng.choice(IP_ADDRESSES).unwrap().parse().unwrap() {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            // Sometimes too short for an address.
            let length = if rng.u8(..10) == 0 { address.len() - 1 } else { address.len() };
            (IP_ADDRESS, address[..length].to_vec())
        }
        18 => (URI, b"https://etcd.example.org/".to_vec()),
        _ => (RFC822_NAME, b"root@etcd.example.org".to_vec()),
    }
}

/// A host that is, or nearly is, a name of the certificate.
fn host_of((tag, name): &(u8, Vec<u8>), rng: &mut Rng) -> String {
    let mut host = match (*tag, &**name) {
        (IP_ADDRESS, octets) => match (<[u8; 4]>::try_from(octets), <[u8; 16]>::try_from(octets)) {
            (Ok(octets), _) => IpAddr::from(octets).to_string(),
            (_, Ok(octets)) => IpAddr::from(octets).to_string(),
            _ => "10.0.0.1".to_owned(),
        },
        (DNS_NAME, name) => String::from_utf8_lossy(name).into_owned(),
        _ => "etcd.example.org".to_owned(),
    };
    if rng.u8(..4) > 0 {
        let label = *rng.choice(&["x", "etcd", "", "xn--bcher-kva", "my_etcd", "a.b", "-", "1"]).unwrap();
        host = host.replacen('*', label, 1);
    }
    match rng.u8(..16) {
        0 => host.push('.'),
        1 => host.push_str(".."),
        2 => host = host.trim_end_matches('.').to_owned(),
        3 => host = host.to_ascii_uppercase(),
        4 => host = host.to_ascii_uppercase() + ".",
        5 => host = format!("[{host}]"),
        6 => host = format!("::ffff:{host}"),
        7 => host = format!("{host}%eth0"),
        8 => host = format!("x.{host}"),
        9 => host = host.split_once('.').map_or(host.clone(), |(_, rest)| rest.to_owned()),
        10 => host = host.replace("::ffff:", ""),
        _ => {}
    }
    host
}

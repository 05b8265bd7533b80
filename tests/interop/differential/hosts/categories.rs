//! The kinds of differences, and how one is recognised. All are of pairs that Go accepts and this library refuses.

use std::net::{IpAddr, Ipv4Addr};

use super::pairs::Pair;
use crate::differential::certificate::{DNS_NAME, IP_ADDRESS};

/// A kind of difference: this library refuses, for a reason, what has a property.
pub(super) struct Category {
    /// What `docs/differences.md` says.
    pub(super) documented: &'static str,
    /// The label of our refusal.
    reason: &'static str,
    property: fn(&Pair) -> bool,
}

/// The label if the host can not be built.
pub(super) const HOST: &str = "host";

const HOST_MISMATCH: &str = "host_mismatch";

impl Category {
    pub(super) fn explains(&self, label: &str, pair: &Pair) -> bool {
        label == self.reason && (self.property)(pair)
    }
}

const fn category(documented: &'static str, reason: &'static str, property: fn(&Pair) -> bool) -> Category {
    Category { documented, reason, property }
}

pub(super) const CATEGORIES: &[Category] = &[
    // Hosts that can not be built.
    category("A host that is a wildcard", HOST, |pair| pair.host.contains('*')),
    category("An IPv6 address with a zone", HOST, |pair| pair.host.contains('%')),
    category("An unspecified address", HOST, |pair| {
        let address = bare(&pair.host).parse().map(|address: IpAddr| address.to_canonical());
        address.is_ok_and(|address| address.is_unspecified())
    }),
    category("An IPv4 address in brackets", HOST, |pair| {
        pair.host.starts_with('[') && bare(&pair.host).parse::<Ipv4Addr>().is_ok()
    }),
    category("A host whose last label is a number", HOST, |pair| {
        labels(&pair.host).next_back().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
    }),
    category("A host of more than 253 bytes", HOST, |pair| {
        without_final_dot(&pair.host).len() > 253 || labels(&pair.host).any(|label| label.len() > 63)
    }),
    category("A host with a label that is empty", HOST, |pair| labels(&pair.host).any(is_no_label)),
    // Names of certificates that do not count.
    category("A wildcard above a single label", HOST_MISMATCH, |pair| {
        pair.of_kind(DNS_NAME).any(|name| name == b"*.org")
    }),
    category("A DNS name with a final dot", HOST_MISMATCH, |pair| {
        pair.of_kind(DNS_NAME)
            .any(|name| name.eq_ignore_ascii_case(pair.host.as_bytes()) && name.ends_with(b"."))
    }),
    category(
        "An IPv4 address that is written as an IPv6 address in the certificate",
        HOST_MISMATCH,
        |pair| {
            let octets = |name: &[u8]| <[u8; 16]>::try_from(name).ok();
            let addresses = pair.of_kind(IP_ADDRESS).filter_map(octets).map(IpAddr::from);
            let mapped = addresses.filter(|address| address.to_canonical().is_ipv4());
            let host = bare(&pair.host).parse().map(|host: IpAddr| host.to_canonical());
            host.is_ok_and(|host| mapped.map(|address| address.to_canonical()).any(|address| address == host))
        },
    ),
];

/// The host without the brackets of a URI.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

fn without_final_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn labels(host: &str) -> impl DoubleEndedIterator<Item = &str> {
    without_final_dot(host).split('.')
}

/// Whether no DNS name can have this label.
fn is_no_label(label: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    label.is_empty() || label.starts_with('-') || label.ends_with('-') || !label.bytes().all(is_usual)
}

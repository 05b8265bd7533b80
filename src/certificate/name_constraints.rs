//! The name that name constraints do not permit (RFC 5280 section 4.2.1.10). webpki decides; this finds what to tell.

use std::net::IpAddr;

use x509_parser::extensions::{GeneralName, GeneralSubtree};

use super::Certificate;
use crate::text::Quoted;

impl Certificate<'_> {
    /// Whether name constraints on URIs are among the extensions.
    pub(crate) fn constrains_uris(&self) -> bool {
        let is_uri = |subtree: &GeneralSubtree<'_>| matches!(subtree.base, GeneralName::URI(_));
        self.subtrees().is_some_and(|[permitted, excluded]| permitted.iter().chain(excluded).any(is_uri))
    }

    /// The first DNS name or IP address in `below`, as text, that the name constraints of this CA do not permit.
    pub(crate) fn forbidden_name(&self, below: &Certificate<'_>) -> Option<String> {
        let [permitted, excluded] = self.subtrees()?;
        let names = below.x509.subject_alternative_name().ok().flatten()?;
        let is_forbidden = |name: &&GeneralName<'_>| {
            let is_within = |subtree: &GeneralSubtree<'_>| contains(&subtree.base, name);
            let of_its_kind = permitted.iter().filter_map(is_within).collect::<Vec<_>>();
            excluded.iter().any(|subtree| is_within(subtree) == Some(true))
                || !of_its_kind.is_empty() && !of_its_kind.contains(&true)
        };
        names.value.general_names.iter().find(is_forbidden).and_then(text)
    }

    /// The permitted and the excluded subtrees.
    fn subtrees(&self) -> Option<[&[GeneralSubtree<'_>]; 2]> {
        let constraints = self.x509.name_constraints().ok().flatten()?.value;
        let subtrees = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
        Some(subtrees.map(|subtrees| subtrees.as_deref().unwrap_or_default()))
    }
}

/// Whether a subtree contains a name; `None` if they are of different kinds.
fn contains(base: &GeneralName<'_>, name: &GeneralName<'_>) -> Option<bool> {
    match (base, name) {
        (GeneralName::DNSName(base), GeneralName::DNSName(name)) => {
            let (base, name) = (base.to_ascii_lowercase(), name.to_ascii_lowercase());
            Some(name.strip_suffix(&base).is_some_and(|rest| {
                rest.is_empty() || rest.ends_with('.') || base.is_empty() || base.starts_with('.')
            }))
        }
        (GeneralName::IPAddress(base), GeneralName::IPAddress(name)) if base.len() == 2 * name.len() => {
            let (network, mask) = base.split_at(name.len());
            let mut octets = name.iter().zip(network).zip(mask);
            Some(octets.all(|((name, network), mask)| name & mask == network & mask))
        }
        _ => None,
    }
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("the DNS name {}", Quoted(name))),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)).ok()?;
            Some(format!("the IP address {address}"))
        }
        _ => None,
    }
}

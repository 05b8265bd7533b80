//! What differs between two snapshots, in words.

use std::fmt;

use crate::certificate::Certificate;
use crate::material::{BundleEntry, Material};
use crate::snapshot::SnapshotParts;
use crate::text::Timestamp;

/// What differs between the parts in force before and now.
pub(super) struct Changes<'a> {
    old: &'a SnapshotParts,
    new: &'a SnapshotParts,
}

/// Subjects that are listed.
const LIMIT: usize = 5;

impl<'a> Changes<'a> {
    pub(super) fn between(old: &'a SnapshotParts, new: &'a SnapshotParts) -> Self {
        Self { old, new }
    }

    /// Who issued our own leaf, if the old bundle had a CA that our chain leads to and the new one has none. Where all ends have the
    /// same CA file, it shows that a CA went before its leaves did.
    pub(super) fn issuer_that_went(&self) -> Option<String> {
        if is_anchored(&self.new.material) || !is_anchored(&self.old.material) {
            return None;
        }
        let chain = self.new.material.credentials.chain();
        let top = chain.iter().rev().find_map(|certificate| Certificate::parse(certificate).ok())?;
        let entries = self.old.material.trust_bundle.entries();
        let issuer = entries.iter().find(|entry| entry.is_named(top.issuer_der()));
        Some(issuer.map_or_else(|| "its CA".to_owned(), |issuer| issuer.subject.clone()))
    }
}

/// Whether the bundle has a CA by the name that our own chain leads to.
fn is_anchored(material: &Material) -> bool {
    let entries = material.trust_bundle.entries();
    material
        .credentials
        .chain()
        .iter()
        .filter_map(|certificate| Certificate::parse(certificate).ok())
        .any(|certificate| entries.iter().any(|entry| entry.is_named(certificate.issuer_der())))
}

impl fmt::Display for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (&*self.old.material, &*self.new.material);
        let mut changes = Vec::new();
        let (before, now) = (old.trust_bundle.entries(), new.trust_bundle.entries());
        for (what, of, not_in) in [("added", now, before), ("removed", before, now)] {
            let subjects = missing(of, not_in);
            if !subjects.is_empty() {
                changes.push(format!("CA {what}: {}", Subjects(&subjects)));
            }
        }
        let [old_chain, new_chain] = [old, new].map(|material| material.credentials.chain());
        if old_chain.first() != new_chain.first() {
            let (own, until) = (new.credentials.identity(), Timestamp(new.credentials.not_after()));
            changes.push(format!("own certificate renewed: {own}, valid until {until}"));
        } else if old_chain != new_chain {
            changes.push("the intermediates behind our own certificate changed".to_owned());
        }
        let (old_peer, new_peer) = (&self.old.required_peer, &self.new.required_peer);
        if old_peer != new_peer {
            changes.push(format!("required identity: from {old_peer} to {new_peer}"));
        }
        if !old.revocation_lists.is_same_as(&new.revocation_lists) {
            changes.push("revocation lists changed".to_owned());
        }
        if !self.old.policy.is_same_as(&self.new.policy) {
            changes.push("TLS policy changed".to_owned());
        }
        if changes.is_empty() {
            changes.push("the order of the CAs changed".to_owned());
        }
        f.write_str(&changes.join("; "))
    }
}

fn missing<'a>(of: &'a [BundleEntry], not_in: &[BundleEntry]) -> Vec<&'a str> {
    of.iter()
        .filter(|entry| !not_in.iter().any(|other| other.der == entry.der))
        .map(|entry| &*entry.subject)
        .collect()
}

struct Subjects<'a>(&'a [&'a str]);

impl fmt::Display for Subjects<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, subject) in self.0.iter().take(LIMIT).enumerate() {
            write!(f, "{}{subject}", if index == 0 { "" } else { " and " })?;
        }
        match self.0.len().checked_sub(LIMIT) {
            Some(more) if more > 0 => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}

//! A case: a peer, and the end that judges it.

use std::fmt;

use fastrand::Rng;
use typha_tls::Role;
use typha_tls::testing::{FELIX_COMMON_NAME, FELIX_SPIFFE_ID, TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID};

use super::certificate::{
    AUTHORITY_KEY_IDENTIFIER, BASIC_CONSTRAINTS, DIGITAL_SIGNATURE, DNS_NAME, EXTENDED_KEY_USAGE,
    KEY_CERT_SIGN, KEY_USAGE, Purpose, SUBJECT_ALTERNATIVE_NAME, SUBJECT_KEY_IDENTIFIER, Spec, URI,
    basic_constraints, extended_key_usage, key_usage, names,
};
use super::der::{OCTET_STRING, element, sequence};
use super::keys::KeyType;

/// 2026-06-01 00:00:00 UTC.
pub(super) const NOW: u64 = 1_780_272_000;

#[derive(Clone)]
pub(super) struct Case {
    /// The leaf, the intermediates upwards and the root; then those that are not of the path.
    pub(super) certificates: Vec<Spec>,
    /// The index of the root.
    pub(super) root: usize,
    /// What the peer sends, and what the other end trusts, as indices.
    pub(super) chain: Vec<usize>,
    pub(super) bundle: Vec<usize>,
    /// The role of the peer.
    pub(super) role: Role,
    pub(super) required_common_name: Option<String>,
    pub(super) required_uri: Option<String>,
    /// How it was changed, for the messages of the test.
    pub(super) changes: Vec<&'static str>,
}

impl Case {
    /// A good chain.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let role = if rng.bool() { Role::Felix } else { Role::Typha };
        let (common_name, uri) = names_of(role);
        let root = 1 + [0, 0, 1, 1, 2][rng.usize(..5)];
        let certificates = (0..=root).map(|index| match index {
            0 => leaf(role, rng),
            _ => {
                let issuer = (index + 1).min(root);
                ca(&format!("ca-{index}"), issuer, (KeyType::P256, index), rng)
            }
        });
        let mut case = Self {
            certificates: certificates.collect(),
            root,
            chain: (0..root).collect(),
            bundle: vec![root],
            role,
            required_common_name: Some(common_name.to_owned()),
            required_uri: Some(uri.to_owned()),
            changes: Vec::new(),
        };
        match rng.u8(..3) {
            0 => case.required_common_name = None,
            1 => case.required_uri = None,
            _ => {}
        }
        case.link();
        case
    }

    /// Writes the key identifiers of the issuers, which usual tools write.
    fn link(&mut self) {
        for index in 0..=self.root {
            let issuer = key_identifier(&self.certificates[self.certificates[index].issuer]);
            let value = sequence(&[element(0x80, &issuer)]);
            self.certificates[index].set(AUTHORITY_KEY_IDENTIFIER, false, value);
        }
    }

    /// The certificate that the peer presents as its own.
    pub(super) fn leaf(&self) -> &Spec {
        &self.certificates[self.chain[0]]
    }

    /// The other certificates that the peer sends.
    pub(super) fn sent_issuers(&self) -> impl Iterator<Item = &Spec> {
        self.chain[1..].iter().map(|&index| &self.certificates[index])
    }

    /// The certificates that the other end trusts.
    pub(super) fn trusted(&self) -> impl Iterator<Item = &Spec> {
        self.bundle.iter().map(|&index| &self.certificates[index])
    }

    /// All certificates that the peer sends.
    pub(super) fn sent(&self) -> impl Iterator<Item = &Spec> {
        self.chain.iter().map(|&index| &self.certificates[index])
    }

    /// All that are not the leaf: those that the peer sends, and those that the other end trusts.
    pub(super) fn issuers(&self) -> impl Iterator<Item = &Spec> {
        self.sent_issuers().chain(self.trusted())
    }

    /// All certificates that count.
    pub(super) fn involved(&self) -> impl Iterator<Item = &Spec> {
        std::iter::once(self.leaf()).chain(self.issuers())
    }

    /// The indices of the path from the leaf to the first CA whose name and key are trusted, or to the root.
    pub(super) fn path(&self) -> Vec<usize> {
        let is_trusted = |index: usize| {
            let spec = &self.certificates[index];
            self.trusted().any(|trusted| trusted.key == spec.key && trusted.name() == spec.name())
        };
        let mut path = vec![self.chain[0]];
        loop {
            let last = path[path.len() - 1];
            let issuer = self.certificates[last].issuer;
            if is_trusted(last) || path.contains(&issuer) {
                return path;
            }
            path.push(issuer);
        }
    }

    /// The certificates that the peer sends without need.
    pub(super) fn sent_without_need(&self) -> impl Iterator<Item = &Spec> {
        let mut needed = self.path();
        needed.pop();
        let unneeded = self.chain[1..].iter().filter(move |&index| !needed.contains(index));
        unneeded.map(|&index| &self.certificates[index])
    }

    /// Whether the peer's own certificate is trusted itself.
    pub(super) fn is_pinned(&self) -> bool {
        self.bundle.contains(&self.chain[0])
    }

    pub(super) fn der(&self, index: usize) -> Vec<u8> {
        let spec = &self.certificates[index];
        spec.to_der(&self.certificates[spec.issuer])
    }

    /// Adds a certificate that is not part of the path, and returns its index.
    pub(super) fn add(&mut self, spec: Spec) -> usize {
        self.certificates.push(spec);
        self.certificates.len() - 1
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:?} with the changes {:?}; requires {:?} or {:?}; sent {:?}, trusted {:?}",
            self.role, self.changes, self.required_common_name, self.required_uri, self.chain, self.bundle
        )?;
        for (index, spec) in self.certificates.iter().enumerate() {
            writeln!(f, "  {index}: {spec:x?}")?;
        }
        Ok(())
    }
}

pub(super) fn names_of(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Client | Role::Felix => (FELIX_COMMON_NAME, FELIX_SPIFFE_ID),
        Role::Server | Role::Typha => (TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID),
    }
}

/// The purpose of the role's certificate.
pub(super) fn purpose(role: Role) -> Purpose {
    match role {
        Role::Client | Role::Felix => Purpose::ClientAuth,
        Role::Server | Role::Typha => Purpose::ServerAuth,
    }
}

/// A leaf as Calico's operator issues it: both names, one purpose.
pub(super) fn leaf(role: Role, rng: &mut Rng) -> Spec {
    let (common_name, uri) = names_of(role);
    let mut leaf = Spec::new(common_name, 1, (KeyType::P256, 0));
    leaf.set(KEY_USAGE, true, key_usage(DIGITAL_SIGNATURE));
    leaf.set(EXTENDED_KEY_USAGE, false, extended_key_usage(&[purpose(role)]));
    leaf.set(SUBJECT_ALTERNATIVE_NAME, false, names(&[(DNS_NAME, b"felix.example"), (URI, uri.as_bytes())]));
    if rng.bool() {
        leaf.set(BASIC_CONSTRAINTS, rng.bool(), basic_constraints(None, None));
    }
    leaf
}

pub(super) fn ca(name: &str, issuer: usize, key: (KeyType, usize), rng: &mut Rng) -> Spec {
    let mut ca = Spec::new(name, issuer, key);
    ca.set(BASIC_CONSTRAINTS, rng.bool(), basic_constraints(Some(true), None));
    ca.set(KEY_USAGE, true, key_usage(KEY_CERT_SIGN));
    ca.set(SUBJECT_KEY_IDENTIFIER, false, element(OCTET_STRING, &key_identifier(&ca)));
    ca
}

/// Some octets of the key.
fn key_identifier(spec: &Spec) -> Vec<u8> {
    let info = &spec.key().public_key_info;
    info[info.len() - 20..].to_vec()
}

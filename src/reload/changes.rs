//! Describes the differences between two configurations.

use rustls_pki_types::CertificateDer;

use crate::certificate::Certificate;
use crate::material::{BundleEntry, Credentials, RevocationLists, TrustBundle};
use crate::role::Role;
use crate::time::Timestamp;
use crate::tls_config::TlsConfig;
use crate::verifier::{PeerVerifier, Rejection};

/// The most subjects in one list.
const LIMIT: usize = 5;

/// Describes the differences between the previous configuration and the new one.
pub(super) fn changes(old_config: &TlsConfig, new_config: &TlsConfig) -> String {
    let (old, new) = (&*old_config.material, &*new_config.material);
    let mut changes = Vec::new();
    let (before, now) = (old.trust_bundle.entries(), new.trust_bundle.entries());
    for (what, of, not_in) in [("added", now, before), ("removed", before, now)] {
        let subjects = missing(of, not_in);
        if !subjects.is_empty() {
            let listed = subjects.iter().take(LIMIT).copied().collect::<Vec<_>>().join(" and ");
            let more = subjects.len().saturating_sub(LIMIT);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            changes.push(format!("CA {what}: {listed}{more}"));
        }
    }
    let [old_chain, new_chain] = [old, new].map(|material| material.credentials.chain());
    if old_chain.first() != new_chain.first() {
        let (own, until) = (new.credentials.identity(), Timestamp(new.credentials.not_after()));
        changes.push(format!("own certificate renewed: {own}, valid until {until}"));
    } else if old_chain != new_chain {
        changes.push("the intermediates behind our own certificate changed".to_owned());
    }
    let (old_peer, new_peer) = (&old_config.required_peer, &new_config.required_peer);
    if old_peer != new_peer {
        changes.push(format!("required identity: from {old_peer} to {new_peer}"));
    }
    let [old_policy, new_policy] = [old, new].map(|material| material.revocation_lists.policy());
    if old_policy != new_policy {
        changes.push("revocation policy changed".to_owned());
    }
    if !old.revocation_lists.clone().with_policy(new_policy).is_same_as(&new.revocation_lists) {
        changes.push("revocation lists changed".to_owned());
    }
    if !old_config.policy.is_same_as(&new_config.policy) {
        changes.push("TLS policy changed".to_owned());
    }
    if changes.is_empty() {
        changes.push("the order of the CAs changed".to_owned());
    }
    changes.join("; ")
}

/// A warning if our own chain led to a CA of the old bundle, but leads to none of the new one. If all ends have the
/// same CA file, a CA was removed too early or our leaf replaced too early.
pub(super) fn own_issuer(old_config: &TlsConfig, new_config: &TlsConfig, local: Role) -> Option<String> {
    let (old, new) = (&*old_config.material, &*new_config.material);
    let missing = |chain, bundle| missing_issuer(chain, bundle, new_config, local);
    let issuer = missing(&new.credentials, &new.trust_bundle)?;
    if missing(&old.credentials, &old.trust_bundle).is_some() {
        return None;
    }
    let cert_file = match local {
        Role::Felix => "TyphaCertFile",
        Role::Typha => "ServerCertFile",
    };
    if let Some(intermediate) = lost_intermediate(old.credentials.chain(), new.credentials.chain()) {
        return Some(format!(
            "our own certificate is issued by the intermediate CA {intermediate}, which {cert_file} no longer has: \
             peers will refuse us; append the certificate of the CA that issued the new leaf to {cert_file}, after \
             the leaf"
        ));
    }
    Some(match missing(&new.credentials, &old.trust_bundle) {
        None => format!(
            "the CA file no longer holds {issuer}, the issuer of our own certificate: peers with the same CA \
             file will refuse us; have a remaining CA issue our certificate, or put that CA back until then"
        ),
        Some(_) => format!(
            "our own certificate is now issued by {issuer}, which the CA file does not hold: peers with the same CA \
             file will refuse us; if it is an intermediate CA, append its certificate to {cert_file}; otherwise add it \
             to the CA file of every end, or put the previous certificate back until then"
        ),
    })
}

/// The CA that issued the last certificate of the new chain, if the old chain had it behind its leaf.
fn lost_intermediate(old: &[CertificateDer<'_>], new: &[CertificateDer<'_>]) -> Option<String> {
    let last = Certificate::parse(new.last()?).ok()?;
    let mut intermediates = old.iter().skip(1).filter_map(|der| Certificate::parse(der).ok());
    let issuer = intermediates.find(|old| old.subject_der() == last.issuer_der())?;
    // The last one may be self-signed.
    (issuer.subject_der() != last.subject_der()).then(|| issuer.subject_text())
}

/// The CA that our chain leads to, if the bundle does not hold it. The signature decides, because a re-created CA
/// often keeps its name.
fn missing_issuer(
    own: &Credentials,
    bundle: &TrustBundle,
    config: &TlsConfig,
    local: Role,
) -> Option<String> {
    // The required identity is checked after the chain, so it does not matter here.
    let (lists, required) = (RevocationLists::none(), config.required_peer.clone());
    let verifier = PeerVerifier::new(bundle.clone(), lists, required, &config.policy);
    match verifier.with_chain_cache_capacity(0).verify(own.chain(), local, config.now()) {
        Err(Rejection::UnknownCa { issuer, .. }) => Some(issuer),
        Err(Rejection::CaKeyMismatch { issuer, .. }) => {
            Some(format!("{issuer} (but one of that name with another key)"))
        }
        _ => None,
    }
}

/// The subjects, with the key if the same subject is both added and removed.
fn missing<'a>(of: &'a [BundleEntry], not_in: &[BundleEntry]) -> Vec<&'a str> {
    of.iter()
        .filter(|entry| !not_in.iter().any(|other| other.der == entry.der))
        .map(|entry| match not_in.iter().any(|other| other.subject == entry.subject) {
            true => &*entry.label,
            false => &*entry.subject,
        })
        .collect()
}

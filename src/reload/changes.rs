//! Describes the differences between two configurations.

use rustls_pki_types::CertificateDer;

use crate::certificate::Certificate;
use crate::config_parts::ConfigParts;
use crate::identity::RequiredIdentity;
use crate::material::{BundleEntry, Credentials, RevocationLists, TrustBundle};
use crate::role::Role;
use crate::time::Timestamp;
use crate::verifier::{PeerVerifier, Rejection};

/// The most subjects in one list.
const LIMIT: usize = 5;

/// Describes the differences between the previous configuration and the new one.
pub(super) fn changes(old: ConfigParts<'_>, new: ConfigParts<'_>) -> String {
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
    let [old_chain, new_chain] =
        [old, new].map(|parts| parts.credentials.map(Credentials::chain).unwrap_or_default());
    if old_chain.first() != new_chain.first() {
        changes.push(match new.credentials {
            Some(own) => {
                let (identity, until) = (own.identity(), Timestamp(own.not_after()));
                format!("own certificate renewed: {identity}, valid until {until}")
            }
            None => "own certificate removed".to_owned(),
        });
    } else if old_chain != new_chain {
        changes.push("the intermediates behind our own certificate changed".to_owned());
    }
    if let (Some(old_peer), Some(new_peer)) = (old.required_peer, new.required_peer)
        && old_peer != new_peer
    {
        changes.push(format!("required identity: from {old_peer} to {new_peer}"));
    }
    let [old_policy, new_policy] = [old, new].map(|parts| parts.revocation_lists.policy());
    if old_policy != new_policy {
        changes.push("revocation policy changed".to_owned());
    }
    if !old.revocation_lists.clone().with_policy(new_policy).is_same_as(new.revocation_lists) {
        changes.push("revocation lists changed".to_owned());
    }
    if !old.policy.is_same_as(new.policy) {
        changes.push("TLS policy changed".to_owned());
    }
    if changes.is_empty() {
        changes.push("the order of the CAs changed".to_owned());
    }
    changes.join("; ")
}

/// A warning if our own chain led to a CA of the old bundle, but leads to none of the new one. If all ends have the
/// same CA file, a CA was removed too early or our leaf replaced too early.
pub(super) fn own_issuer(old: ConfigParts<'_>, new: ConfigParts<'_>, local: Role) -> Option<String> {
    let missing = |chain, bundle| missing_issuer(chain, bundle, new, local);
    let (old_chain, new_chain) = (old.credentials?, new.credentials?);
    let issuer = missing(new_chain, new.trust_bundle)?;
    if missing(old_chain, old.trust_bundle).is_some() {
        return None;
    }
    let cert_file = match local {
        Role::Client | Role::Server => "the certificate file",
        Role::Felix => "TyphaCertFile",
        Role::Typha => "ServerCertFile",
    };
    if let Some(intermediate) = lost_intermediate(old_chain.chain(), new_chain.chain()) {
        return Some(format!(
            "our own certificate is issued by the intermediate CA {intermediate}, which {cert_file} no longer has: \
             peers will refuse us; append the certificate of the CA that issued the new leaf to {cert_file}, after \
             the leaf"
        ));
    }
    Some(match missing(new_chain, old.trust_bundle) {
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
    config: ConfigParts<'_>,
    local: Role,
) -> Option<String> {
    // The required identity is checked after the chain, so any one shows whether the chain is good.
    let (lists, required) = (RevocationLists::none(), RequiredIdentity::common_name("any").ok()?);
    let verifier = PeerVerifier::new(bundle.clone(), lists, required, config.policy);
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

//! New material must be correct; material in force may stay.
//!
//! So a mistake is not put in force, but an expired leaf in force does not prevent the removal of a CA.

use rustls_pki_types::UnixTime;

use super::state::ReloadError;
use crate::material::{Material, MaterialWarning};
use crate::role::Role;
use crate::tls_config::TlsConfig;

/// Validates a new configuration, given the one in force.
pub(super) fn check(
    new_config: &TlsConfig,
    in_force: &TlsConfig,
    local: Role,
    allow_missing_lists: bool,
) -> Result<(), ReloadError> {
    let now = new_config.policy.time_provider().current_time().ok_or(ReloadError::NoTime)?;
    let (new, in_force) = (&*new_config.material, &*in_force.material);
    let problem = chain(new_config, in_force, local, now)
        .or_else(|| bundle(new, in_force, now))
        .or_else(|| lost_list(new_config, in_force, now, allow_missing_lists))
        .or_else(|| lists(new, in_force, now));
    match problem {
        None => Ok(()),
        Some(problem) => Err(ReloadError::Unsuitable(problem)),
    }
}

/// A new chain must be one that peers accept now.
fn chain(new: &TlsConfig, in_force: &Material, local: Role, now: UnixTime) -> Option<MaterialWarning> {
    if new.material.credentials.chain() == in_force.credentials.chain() {
        return None;
    }
    new.own_chain_warnings(local, now).into_iter().next()
}

/// If the bundle in force has an entry that is valid now, the new one must have one, too: otherwise every peer would be
/// refused. An entry that is no CA counts, because it is accepted as itself.
fn bundle(new: &Material, in_force: &Material, now: UnixTime) -> Option<MaterialWarning> {
    let is_usable =
        |material: &Material| material.trust_bundle.entries().iter().any(|entry| entry.is_valid(now));
    if !is_usable(in_force) || is_usable(new) {
        return None;
    }
    new.trust_bundle
        .warnings(now)
        .into_iter()
        .find(|warning| !matches!(warning, MaterialWarning::NotACa { .. }))
}

/// A list in force must not be dropped while its CA is still trusted, nor be replaced by an older one: a revoked peer
/// would be accepted again.
fn lost_list(
    new_config: &TlsConfig,
    in_force: &Material,
    now: UnixTime,
    allow_missing: bool,
) -> Option<MaterialWarning> {
    let Material { trust_bundle, revocation_lists: new, .. } = &*new_config.material;
    let provider = new_config.policy.provider();
    let lost = new.replacement_warnings(&in_force.revocation_lists, trust_bundle, provider, now);
    lost.into_iter()
        .find(|warning| !(allow_missing && matches!(warning, MaterialWarning::RevocationListMissing { .. })))
}

/// New lists must not refuse every peer. Expired lists refuse peers only if the policy says so.
fn lists(new: &Material, in_force: &Material, now: UnixTime) -> Option<MaterialWarning> {
    let old = in_force.revocation_lists.warnings(now);
    let had_expired = |of: &String| {
        let expired = |warning: &MaterialWarning| match warning {
            MaterialWarning::RevocationListExpired { issuer, .. } => issuer == of,
            _ => false,
        };
        old.iter().any(expired)
    };
    new.revocation_lists.warnings(now).into_iter().find(|warning| match warning {
        MaterialWarning::NoRevocationList => !old.contains(warning),
        // If the previous list has expired as well, the later one has more entries.
        MaterialWarning::RevocationListExpired { refuses: true, issuer, .. } => !had_expired(issuer),
        _ => false,
    })
}

//! New material must be correct; material in force may stay.
//!
//! So a mistake is not put in force, but an expired leaf in force does not prevent the removal of a CA.

use rustls_pki_types::UnixTime;

use super::state::ReloadError;
use crate::material::{BundleEntry, Material, MaterialWarning};
use crate::role::Role;
use crate::tls_config::TlsConfig;

/// Validates a new configuration, given the one in force.
pub(super) fn check(new: &TlsConfig, in_force: &TlsConfig, local: Role) -> Result<(), ReloadError> {
    let now = new.policy.time_provider().current_time().ok_or(ReloadError::NoTime)?;
    let (new, in_force) = (&*new.material, &*in_force.material);
    let problem = leaf(new, in_force, local, now)
        .or_else(|| bundle(new, in_force, now))
        .or_else(|| lists(new, in_force, now));
    match problem {
        None => Ok(()),
        Some(problem) => Err(ReloadError::Unsuitable(problem)),
    }
}

/// A new leaf must be one that peers accept now.
fn leaf(new: &Material, in_force: &Material, local: Role, now: UnixTime) -> Option<MaterialWarning> {
    if new.credentials.chain().first() == in_force.credentials.chain().first() {
        return None;
    }
    new.credentials.warnings(local, now).into_iter().find(|warning| {
        matches!(
            warning,
            MaterialWarning::LeafExpired { .. }
                | MaterialWarning::LeafIsCa { .. }
                | MaterialWarning::LeafLacksPurpose { .. }
                | MaterialWarning::LeafNotYetValid { .. }
        )
    })
}

/// A new entry of the bundle must be a CA. It need not be valid now if another entry is. A pinned leaf that is in force
/// counts as a CA.
fn bundle(new: &Material, in_force: &Material, now: UnixTime) -> Option<MaterialWarning> {
    let old = in_force.trust_bundle.entries();
    let entries = new.trust_bundle.entries();
    let is_known = |entry: &BundleEntry| old.iter().any(|known| known.der == entry.der);
    let is_usable = |entry: &BundleEntry| match entry.warning(now) {
        Some(MaterialWarning::NotACa { .. }) => {
            is_known(entry) && (entry.not_before..=entry.not_after).contains(&now)
        }
        warning => warning.is_none(),
    };
    if old.iter().any(is_usable) && !entries.iter().any(is_usable) {
        return entries.iter().find_map(|entry| entry.warning(now));
    }
    entries
        .iter()
        .filter(|entry| !is_known(entry))
        .filter_map(|entry| entry.warning(now))
        .find(|warning| matches!(warning, MaterialWarning::NotACa { .. }))
}

/// New lists must not be older than those in force, and must not refuse every peer. Expired lists refuse peers only if
/// the policy says so.
fn lists(new: &Material, in_force: &Material, now: UnixTime) -> Option<MaterialWarning> {
    if let Some(older) = new.revocation_lists.older_than(&in_force.revocation_lists, now) {
        return Some(older);
    }
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

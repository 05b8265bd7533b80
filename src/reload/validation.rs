//! New material must be correct; material in force may stay.
//!
//! So a mistake is not put in force, but an expired leaf in force does not prevent the removal of a CA.

use rustls_pki_types::UnixTime;

use super::state::ReloadError;
use crate::config_parts::{ConfigParts, EndConfig as _};
use crate::material::{Credentials, ListHistory, MaterialWarning};
use crate::role::Role;
use crate::tls_context::{End, TlsContext};

/// Validates a new configuration, given the one in force.
pub(super) fn check<E: End>(
    new: ConfigParts<'_>,
    context: &TlsContext<E>,
    allow_missing_lists: bool,
) -> Result<(), ReloadError> {
    let now = new.policy.time_provider().current_time().ok_or(ReloadError::NoTime)?;
    let (in_force, history) = (context.config.parts(), &context.list_history);
    let problem = chain(new, in_force, E::LOCAL, now)
        .or_else(|| bundle(new, in_force, now))
        .or_else(|| lost_list(new, in_force, history, now, allow_missing_lists))
        .or_else(|| lists(new, in_force, now));
    match problem {
        None => Ok(()),
        Some(problem) => Err(ReloadError::Unsuitable(problem)),
    }
}

/// A new chain must be one that peers accept now.
fn chain(
    new: ConfigParts<'_>,
    in_force: ConfigParts<'_>,
    local: Role,
    now: UnixTime,
) -> Option<MaterialWarning> {
    if new.credentials.map(Credentials::chain) == in_force.credentials.map(Credentials::chain) {
        return None;
    }
    new.own_chain_warnings(local, now).into_iter().next()
}

/// If the bundle in force has an entry that is valid now, the new one must have one, too: otherwise every peer would be
/// refused. An entry that is no CA counts, because it is accepted as itself.
fn bundle(new: ConfigParts<'_>, in_force: ConfigParts<'_>, now: UnixTime) -> Option<MaterialWarning> {
    let is_usable =
        |parts: ConfigParts<'_>| parts.trust_bundle.entries().iter().any(|entry| entry.is_valid(now));
    if !is_usable(in_force) || is_usable(new) {
        return None;
    }
    new.trust_bundle
        .warnings(now)
        .into_iter()
        .find(|warning| !matches!(warning, MaterialWarning::NotACa { .. }))
}

/// A list must not be dropped while its CA is trusted, nor be replaced by an older one: a revoked peer would be
/// accepted again. A CA that comes back needs its list, too, and none that is older than before.
fn lost_list(
    new: ConfigParts<'_>,
    in_force: ConfigParts<'_>,
    history: &ListHistory,
    now: UnixTime,
    allow_missing: bool,
) -> Option<MaterialWarning> {
    let provider = new.policy.provider();
    let (trust_bundle, former_bundle) = (new.trust_bundle, in_force.trust_bundle);
    let (new, in_force) = (new.revocation_lists, in_force.revocation_lists);
    let missing = || {
        let mut missing = new.missing_from(in_force, trust_bundle, provider);
        missing.extend(history.missing_on_return(new, trust_bundle, former_bundle, provider));
        missing.into_iter().next().filter(|_| !allow_missing)
    };
    new.older_than(in_force, history, now).into_iter().next().or_else(missing)
}

/// New lists must not refuse every peer. Expired lists refuse peers only if the policy says so.
fn lists(new: ConfigParts<'_>, in_force: ConfigParts<'_>, now: UnixTime) -> Option<MaterialWarning> {
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

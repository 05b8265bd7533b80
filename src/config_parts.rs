//! What the configurations of all ends have in common.

use rustls_pki_types::UnixTime;
use tracing::warn;

use crate::identity::RequiredIdentity;
use crate::material::{Credentials, MaterialWarning, RevocationLists, TrustBundle};
use crate::policy::TlsPolicy;
use crate::role::Role;
use crate::time::Timestamp;
use crate::verifier::{ChainPosition, OwnChain, Rejection};

/// The configuration of one end.
pub(crate) trait EndConfig: Clone + Send + Sync + 'static {
    fn parts(&self) -> ConfigParts<'_>;
}

/// The parts of a configuration.
#[derive(Clone, Copy)]
pub(crate) struct ConfigParts<'a> {
    pub(crate) trust_bundle: &'a TrustBundle,
    /// Our chain and key. Only the end that the host rule is for may have none.
    pub(crate) credentials: Option<&'a Credentials>,
    pub(crate) revocation_lists: &'a RevocationLists,
    /// The identity that the peer must have; `None` for the host rule.
    pub(crate) required_peer: Option<&'a RequiredIdentity>,
    pub(crate) policy: &'a TlsPolicy,
}

impl ConfigParts<'_> {
    /// Whether an end with `self` accepts the same peers as one with `other` and presents the same chain.
    pub(crate) fn is_same_as(self, other: ConfigParts<'_>) -> bool {
        self.accepts_as(other)
            && self.credentials.map(Credentials::chain) == other.credentials.map(Credentials::chain)
    }

    /// Whether an end with `self` accepts the same peers as one with `other`; its own chain may differ.
    pub(crate) fn accepts_as(self, other: ConfigParts<'_>) -> bool {
        self.required_peer == other.required_peer
            && self.policy.is_same_as(other.policy)
            && self.trust_bundle.is_same_as(other.trust_bundle)
            && self.revocation_lists.is_same_as(other.revocation_lists)
    }

    /// The time of the policy's clock, or of the system's clock if that fails.
    pub(crate) fn now(self) -> UnixTime {
        self.policy.time_provider().current_time().unwrap_or_else(UnixTime::now)
    }

    /// Everything that is usable but probably not intended.
    pub(crate) fn warnings(self, local: Role, now: UnixTime) -> Vec<MaterialWarning> {
        let mut warnings = self.own_chain_warnings(local, now);
        warnings.extend(self.credentials.iter().flat_map(|own| own.warnings(now)));
        warnings.extend(self.trust_bundle.warnings(now));
        warnings.extend(self.revocation_lists.warnings(now));
        let doubts = self.required_peer.iter().flat_map(|required| required.doubts());
        warnings.extend(doubts.map(MaterialWarning::DoubtfulIdentity));
        warnings
    }

    /// The reasons why every peer would refuse our own chain at the time `now`.
    pub(crate) fn own_chain_warnings(self, local: Role, now: UnixTime) -> Vec<MaterialWarning> {
        let Some(credentials) = self.credentials else { return Vec::new() };
        let identity = credentials.identity();
        let uri_san = identity.uri_sans().find(|uri| RequiredIdentity::uri_san(uri).is_ok());
        let required = RequiredIdentity::new(identity.common_name(), uri_san);
        // A server that is verified for its host has other rules for the names of its clients.
        let needs_name = self.required_peer.is_some();
        let nameless =
            (needs_name && required.is_err()).then(|| MaterialWarning::LeafHasNoIdentity(identity.clone()));
        // The chain is judged before the name, so that any name shows what else is wrong.
        let Ok(required) = required.or_else(|_| RequiredIdentity::common_name("any")) else {
            return Vec::new();
        };
        let own = OwnChain {
            credentials,
            trust_bundle: self.trust_bundle,
            revocation_lists: self.revocation_lists,
            policy: self.policy,
            local,
        };
        let verdict_at = |time| {
            let verdict = own.judge(&required, time).err();
            verdict.filter(|rejection| !matches!(rejection, Rejection::IdentityMismatch(_)))
        };
        let Some(verdict) = verdict_at(now) else { return nameless.into_iter().collect() };
        // A leaf out of date may have another problem, too, which the new one should not repeat.
        let within_validity = match &verdict {
            Rejection::Expired { position: ChainPosition::Leaf, not_after, .. } => Some(*not_after),
            Rejection::NotYetValid { position: ChainPosition::Leaf, not_before, .. } => Some(*not_before),
            _ => None,
        };
        let is_timely = |verdict: &Rejection| {
            !matches!(verdict, Rejection::Expired { .. } | Rejection::NotYetValid { .. })
        };
        let other = within_validity.and_then(verdict_at).filter(is_timely);
        let of_chain = std::iter::once(verdict).chain(other).map(own_chain_warning);
        nameless.into_iter().chain(of_chain).collect()
    }

    /// Logs all [`warnings`](Self::warnings).
    pub(crate) fn log_warnings(self, local: Role) {
        let Some(now) = self.policy.time_provider().current_time() else { return };
        for warning in self.warnings(local, now) {
            warn!(finding = warning.label(), "{warning}");
        }
    }
}

fn own_chain_warning(verdict: Rejection) -> MaterialWarning {
    match verdict {
        Rejection::CaUsedAsLeaf { subject } => MaterialWarning::LeafIsCa { subject },
        Rejection::Expired { position: ChainPosition::Leaf, subject, not_after, .. } => {
            MaterialWarning::LeafExpired { subject, not_after }
        }
        Rejection::NotYetValid { position: ChainPosition::Leaf, subject, not_before, .. } => {
            MaterialWarning::LeafNotYetValid { subject, not_before }
        }
        Rejection::WrongKeyUsage { position: ChainPosition::Leaf, subject, purpose, .. } => {
            MaterialWarning::LeafLacksPurpose { subject, purpose }
        }
        other => MaterialWarning::OwnChainRefused { reason: other.label(), detail: lasting_text(&other) },
    }
}

/// The text of a rejection without the time of the check, so that a reload recognises a problem that it has reported.
fn lasting_text(rejection: &Rejection) -> String {
    match rejection {
        Rejection::Expired { position, subject, not_after, .. } => {
            format!(
                "the {position} certificate {subject} expired at {}; put its successor into the certificate file",
                Timestamp(*not_after)
            )
        }
        Rejection::NotYetValid { position, subject, not_before, .. } => {
            format!(
                "the {position} certificate {subject} is not valid before {}; check the clock",
                Timestamp(*not_before)
            )
        }
        other => other.to_string(),
    }
}

//! The configuration of one end of the connection.

use std::sync::Arc;

use rustls_pki_types::UnixTime;
use tracing::warn;

use crate::identity::RequiredIdentity;
use crate::material::{Material, MaterialError, MaterialWarning, TlsFiles};
use crate::policy::TlsPolicy;
use crate::role::Role;
use crate::time::Timestamp;
use crate::verifier::{ChainPosition, Rejection, own_chain};

/// The configuration of one end of the connection: CAs, chain and key, the identity that the peer must have, and the
/// TLS policy. It is cheap to clone.
///
/// A [`TyphaAcceptor`](crate::TyphaAcceptor) and a [`FelixConnector`](crate::FelixConnector) are built from one. A
/// [`TlsConfigSource`](crate::reload::TlsConfigSource) returns the next one. It takes effect as a whole: no peer is
/// verified with the CAs of one configuration and the required identity of another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsConfig {
    /// CAs, chain, key and revocation lists.
    pub material: Arc<Material>,
    /// The identity that the peer must have.
    pub required_peer: RequiredIdentity,
    /// TLS versions, cipher suites, key-exchange groups and the cryptography behind them.
    pub policy: TlsPolicy,
}

impl TlsConfig {
    /// A configuration of material, the identity that the peer must have, and a policy.
    pub fn new(
        material: impl Into<Arc<Material>>,
        required_peer: RequiredIdentity,
        policy: TlsPolicy,
    ) -> Self {
        Self { material: material.into(), required_peer, policy }
    }

    /// Reads the files of one end.
    ///
    /// ```no_run
    /// use typha_tls::material::TlsFiles;
    /// use typha_tls::policy::TlsPolicy;
    /// use typha_tls::{RequiredIdentity, TlsConfig, TyphaAcceptor};
    ///
    /// let files = TlsFiles::new("ca.pem", "typha.pem", "typha.key");
    /// let required_felix = RequiredIdentity::common_name("typha-client")?;
    /// let config = TlsConfig::from_files(&files, required_felix, TlsPolicy::builder().build()?)?;
    /// let acceptor = TyphaAcceptor::new(config);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MaterialError`], with the file and what is wrong in it.
    pub fn from_files(
        files: &TlsFiles,
        required_peer: RequiredIdentity,
        policy: TlsPolicy,
    ) -> Result<Self, MaterialError> {
        Ok(Self::new(files.load(policy.provider())?, required_peer, policy))
    }

    /// Whether an end with `self` accepts the same peers as one with `other` and presents the same chain.
    ///
    /// A [`TlsConfigSource`](crate::reload::TlsConfigSource) can use it to ignore a configuration that has not changed.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.accepts_as(other) && self.material.credentials.chain() == other.material.credentials.chain()
    }

    /// Whether an end with `self` accepts the same peers as one with `other`; its own chain may differ.
    pub(crate) fn accepts_as(&self, other: &Self) -> bool {
        self.required_peer == other.required_peer
            && self.policy.is_same_as(&other.policy)
            && self.material.trust_bundle.is_same_as(&other.material.trust_bundle)
            && self.material.revocation_lists.is_same_as(&other.material.revocation_lists)
    }

    /// The time of the policy's clock, or of the system's clock if that fails.
    pub(crate) fn now(&self) -> UnixTime {
        self.policy.time_provider().current_time().unwrap_or_else(UnixTime::now)
    }

    /// Reports everything in this configuration that is usable but probably not intended. `local` is the role of this
    /// end. The warnings are about:
    ///
    /// - reasons why every peer would refuse us at the time `now`
    /// - certificates and lists that are out of date, or soon will be
    /// - private keys that others can access
    /// - the required identity, if it is doubtful
    pub fn warnings(&self, local: Role, now: UnixTime) -> Vec<MaterialWarning> {
        let Material { trust_bundle, credentials, revocation_lists } = &*self.material;
        let mut warnings = self.own_chain_warnings(local, now);
        warnings.extend(credentials.warnings(now));
        warnings.extend(trust_bundle.warnings(now));
        warnings.extend(revocation_lists.warnings(now));
        warnings.extend(self.required_peer.doubts().into_iter().map(MaterialWarning::DoubtfulIdentity));
        warnings
    }

    /// The reasons why every peer would refuse our own chain at the time `now`.
    pub(crate) fn own_chain_warnings(&self, local: Role, now: UnixTime) -> Vec<MaterialWarning> {
        let identity = self.material.credentials.identity();
        let uri_san = identity.uri_sans().find(|uri| RequiredIdentity::uri_san(uri).is_ok());
        let required = RequiredIdentity::new(identity.common_name(), uri_san);
        let nameless = required.is_err().then(|| MaterialWarning::LeafHasNoIdentity(identity.clone()));
        // The chain is judged before the name, so that any name shows what else is wrong.
        let Ok(required) = required.or_else(|_| RequiredIdentity::common_name("any")) else {
            return Vec::new();
        };
        let verdict_at = |time| {
            let verdict = own_chain(&self.material, &required, &self.policy, local, time).err();
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
    pub(crate) fn log_warnings(&self, local: Role) {
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

//! Whether peers can accept our own chain.

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::classify::SIGN_AGAIN;
use super::rejection::{ChainPosition, Rejection};
use super::{ChainVerifier, Requirement};
use crate::certificate::{Certificate, MalformedCertificate, signature_text};
use crate::identity::RequiredIdentity;
use crate::material::{Credentials, MaterialError, RevocationLists, RevocationPolicy, TrustBundle};
use crate::policy::{TlsPolicy, default_provider};
use crate::role::Role;

/// Our own chain, and what is known about the peers that it is presented to.
pub(crate) struct OwnChain<'a> {
    pub(crate) credentials: &'a Credentials,
    /// Our CAs and lists for the peers' certificates. They may be for ours, too.
    pub(crate) trust_bundle: &'a TrustBundle,
    pub(crate) revocation_lists: &'a RevocationLists,
    pub(crate) policy: &'a TlsPolicy,
    pub(crate) local: Role,
}

impl OwnChain<'_> {
    /// Whether a peer may accept our own chain that requires the name `required`, which our leaf has. We do not know
    /// which CAs the peer has: they may be ours, or an intermediate of the chain, or the leaf itself if it is
    /// self-signed.
    ///
    /// # Errors
    ///
    /// [`Rejection`] if the chain is refused in each of these cases, and not only because its CA is missing or out of
    /// date there.
    pub(crate) fn judge(&self, required: &RequiredIdentity, now: UnixTime) -> Result<(), Rejection> {
        let by_algorithms_of = |provider: &CryptoProvider| {
            self.judge_by(provider.signature_verification_algorithms, required, now)
        };
        let verdict = by_algorithms_of(self.policy.provider());
        match verdict {
            // A peer need not have our provider, which may be one with fewer algorithms.
            Err(Rejection::UnsupportedAlgorithm { .. }) => {
                default_provider().map_or(verdict, |default| by_algorithms_of(&default))
            }
            verdict => verdict,
        }
    }

    fn judge_by(
        &self,
        algorithms: WebPkiSupportedAlgorithms,
        required: &RequiredIdentity,
        now: UnixTime,
    ) -> Result<(), Rejection> {
        let chain = self.credentials.chain();
        let leaf_der = chain.first().ok_or(Rejection::NoCertificate)?;
        // The lists are for the other end's certificates. If they have ours, they prove its revocation; an unknown
        // status is for the other end to judge.
        let lists = self.revocation_lists.clone().with_policy(RevocationPolicy::default());
        let judge = |bundle: TrustBundle, chain: &[CertificateDer<'_>]| {
            let verifier = ChainVerifier::new(bundle, lists.clone(), self.policy);
            let verifier = ChainVerifier { algorithms, ..verifier };
            verifier.verify(chain, self.local, Requirement::Identity(required), now).map(drop)
        };
        let mut refusal = match judge(self.trust_bundle.clone(), chain) {
            Ok(()) => return Ok(()),
            Err(rejection) => (!depends_on_ca(&rejection)).then_some(rejection),
        };
        for (index, ca) in chain.iter().enumerate().skip(1) {
            let Ok(as_ca) = TrustBundle::from_der([ca.clone()]) else { continue };
            match judge(as_ca, chain.get(..index).unwrap_or_default()) {
                Ok(()) => return Ok(()),
                Err(Rejection::CaUnusable { .. }) => {}
                Err(rejection) if depends_on_ca(&rejection) => {}
                Err(rejection) => _ = refusal.get_or_insert(rejection),
            }
        }
        let leaf = Certificate::parse(leaf_der).map_err(|malformed| malformed.in_chain(1))?;
        let as_itself = TrustBundle::from_der([leaf_der.clone()]).map_err(|error| match error {
            MaterialError::Certificate { source, .. } => source.in_chain(1),
            other => MalformedCertificate::new(other.to_string()).in_chain(1),
        })?;
        match judge(as_itself, chain.get(..1).unwrap_or_default()) {
            Ok(()) if leaf.subject_der() == leaf.issuer_der() => return Ok(()),
            Ok(()) => {}
            Err(rejection) => return Err(refusal.unwrap_or(rejection)),
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        // Only its CA is missing. So much is known without that:
        if leaf.is_ca() {
            return Err(Rejection::CaUsedAsLeaf { subject: leaf.subject_text() });
        }
        let algorithm = leaf.signature_algorithm().unwrap_or_default();
        if algorithms.all.iter().any(|known| known.signature_alg_id().as_ref() == algorithm) {
            return Ok(());
        }
        Err(Rejection::UnsupportedAlgorithm {
            position: ChainPosition::Leaf,
            subject: leaf.subject_text(),
            algorithm: format!("its signature by {}", signature_text(algorithm)),
            remedy: SIGN_AGAIN,
        })
    }
}

/// Whether a peer with another CA may accept the chain.
fn depends_on_ca(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::UnknownCa { .. }
            | Rejection::CaKeyMismatch { .. }
            | Rejection::Expired { position: ChainPosition::Ca, .. }
            | Rejection::NotYetValid { position: ChainPosition::Ca, .. }
    )
}

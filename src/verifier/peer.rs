//! The verifier of the identity rule.

use rustls_pki_types::{CertificateDer, UnixTime};

use super::cache::Accepted;
use super::chain::TrustPeriod;
use super::{ChainVerifier, Rejection, Requirement, Rule, VerifiedChain};
use crate::identity::RequiredIdentity;
use crate::material::{RevocationLists, TrustBundle};
use crate::policy::TlsPolicy;
use crate::role::Role;

/// Verifies peers with the CAs, the revocation lists and the required identity that it was built with.
///
/// It caches the chains that it has accepted: a peer that reconnects costs no signature checks over certificates; see
/// [`with_chain_cache_capacity`](Self::with_chain_cache_capacity). Clones share the cache.
#[derive(Clone, Debug)]
pub struct PeerVerifier {
    chains: ChainVerifier,
    required: RequiredIdentity,
}

impl PeerVerifier {
    /// A verifier that accepts peers whose chain leads into `trust_bundle` and whose leaf has the `required` identity.
    ///
    /// From `policy` it takes the capacity of the cache and the crypto provider. The provider verifies the signatures;
    /// all algorithms that it supports are accepted.
    pub fn new(
        trust_bundle: TrustBundle,
        revocation_lists: RevocationLists,
        required: RequiredIdentity,
        policy: &TlsPolicy,
    ) -> Self {
        Self { chains: ChainVerifier::new(trust_bundle, revocation_lists, policy), required }
    }

    /// Sets how many accepted chains are cached, about 350 bytes each; 0 for none. The default is that of the policy:
    /// 16,384, about the number of Felixes in a large cluster.
    ///
    /// If the same chain is presented again, byte for byte and in the same role, two checks are skipped: the signatures
    /// over its certificates and the rules on their extensions. The cache changes only the time of the check, never the
    /// verdict. A handshake caches a chain after the peer has proven that it holds the key.
    ///
    /// A chain is not cached if it is not exactly the path from the leaf to the CA, in its order. It may end with the
    /// CA and the CA's issuer, if they are in the bundle. A leaf with more than 1 KiB of names is not cached either.
    /// Otherwise one peer could make any number of chains, or fill the memory.
    #[must_use]
    pub fn with_chain_cache_capacity(mut self, chains: usize) -> Self {
        self.chains = self.chains.with_cache_capacity(chains);
        self
    }

    /// Verifies a chain, leaf first, as the peer in `role` sent it, at the time `now`.
    ///
    /// The chain is checked before the identity: a [`Rejection::IdentityMismatch`] means that the chain is good.
    ///
    /// # Errors
    ///
    /// [`Rejection`], with what was expected and what the peer presented.
    ///
    /// # Security
    ///
    /// This does not prove that the peer holds the leaf's private key. A TLS handshake proves it, and returns a
    /// [`VerifiedPeer`](super::VerifiedPeer).
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<VerifiedChain, Rejection> {
        self.chains.verify(chain, role, Requirement::Identity(&self.required), now)
    }

    pub(super) fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<Accepted, Rejection> {
        let requirement = Requirement::Identity(&self.required);
        self.chains.judge(leaf, intermediates, role, requirement, now, TrustPeriod::Checked)
    }

    /// The identity that this verifier requires.
    pub fn required(&self) -> &RequiredIdentity {
        &self.required
    }
}

impl Rule for PeerVerifier {
    fn chains(&self) -> &ChainVerifier {
        &self.chains
    }

    fn requirement<'a>(&'a self, _: &'a VerifiedChain) -> Option<Requirement<'a>> {
        Some(Requirement::Identity(&self.required))
    }
}

//! The one place where a peer is verified: [`PeerVerifier::verify`].
//!
//! The acceptor and the connector call it from inside their handshakes; a diagnostic tool, a test corpus and a fuzzer
//! call the same function with a chain of their own.
//!
//! What it checks, in this order:
//! 1. the chain leads to a CA of the bundle: signatures, names, validity at the given time, path lengths, name
//!    constraints, key usages, the CA's own validity and extensions (`webpki`, and the checks of Go that `webpki`
//!    leaves out); or the leaf is itself in the bundle, byte for byte, and valid at that time;
//! 2. the leaf is for the peer's role (a leaf without extended key usage, or with anyExtendedKeyUsage, is for any) and
//!    its key can be used in a handshake;
//! 3. no certificate of the chain is revoked, as far as the [policy](crate::material::RevocationPolicy) of the
//!    revocation lists requires it;
//! 4. the leaf's subject and extensions are strictly valid, and its Common Name or a URI SAN is the one required.
//!
//! What it does not check: Typha's host name or address (by design: any Typha of the cluster is accepted), certificate
//! policies, OCSP.

mod adapter;
mod cache;
mod chain;
mod classify;
mod key;
mod own;
mod presented;
mod rejected;
mod rejection;
mod revocation;
mod verdict;
mod verified;

use std::fmt;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, UnixTime};

pub(crate) use adapter::{ClientCertificate, HandshakeVerifier, ServerCertificate};
pub(crate) use own::own_chain;
pub(crate) use presented::usable_certificates;
pub use rejected::RejectedPeer;
pub use rejection::{ChainPosition, Rejection};
pub(crate) use verdict::with_verdict;
pub use verified::{VerifiedChain, VerifiedPeer};

use cache::{Accepted, ChainCache, Newcomer};
use chain::TrustPeriod;
use presented::PresentedChain;
use verified::ChainFacts;

use crate::certificate::Certificate;
use crate::identity::{PeerIdentity, RequiredIdentity};
use crate::material::{RevocationLists, TrustBundle};
use crate::policy::{Sha256, TlsPolicy};
use crate::role::Role;

/// Verifies peers with the CAs, the revocation lists and the required identity that it was built with.
///
/// It caches the chains that it has accepted: a peer that reconnects costs no signature checks over certificates; see
/// [`with_chain_cache_capacity`](Self::with_chain_cache_capacity). Clones share the cache.
#[derive(Clone)]
pub struct PeerVerifier {
    trust_bundle: TrustBundle,
    revocation_lists: RevocationLists,
    required: RequiredIdentity,
    algorithms: WebPkiSupportedAlgorithms,
    sha256: Sha256,
    cache: Option<Arc<ChainCache>>,
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
        let algorithms = policy.provider().signature_verification_algorithms;
        let sha256 = policy.sha256();
        let verifier = Self { trust_bundle, revocation_lists, required, algorithms, sha256, cache: None };
        verifier.with_chain_cache_capacity(policy.chain_cache_capacity())
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
        self.cache = (chains > 0).then(|| Arc::new(ChainCache::new(chains, self.sha256)));
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
    /// [`VerifiedPeer`].
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<VerifiedChain, Rejection> {
        let (leaf, intermediates) = chain.split_first().ok_or(Rejection::NoCertificate)?;
        let accepted = self.judge(leaf, intermediates, role, now, TrustPeriod::Checked)?;
        Ok(accepted.remember())
    }

    /// Verifies a chain that was accepted at the time `then`, without regard to the time since. The certificates that
    /// the peer sent are checked as of `then`. A CA that was not valid yet and revocation lists that were out of date
    /// are accepted.
    pub(crate) fn verify_but_for_time(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        then: UnixTime,
    ) -> Result<(), Rejection> {
        let (leaf, intermediates) = chain.split_first().ok_or(Rejection::NoCertificate)?;
        let judge = |trust_period| self.judge(leaf, intermediates, role, then, trust_period).map(drop);
        // The first check mostly suffices, and mostly comes from the cache. Neither result is cached, because the chain
        // may have expired.
        judge(TrustPeriod::Checked).or_else(|_| judge(TrustPeriod::Ignored))
    }

    /// Makes all checks, from the first to the last.
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
        trust_period: TrustPeriod,
    ) -> Result<Accepted, Rejection> {
        let presented = &PresentedChain::new(leaf, intermediates, role)?;
        let (bundle, algorithms) = (&self.trust_bundle, self.algorithms.all);

        // A chain that was verified before has only the identity left to check.
        let cache = self.cache.as_ref().filter(|_| trust_period == TrustPeriod::Checked);
        let newcomer = cache.map(|cache| (cache, cache.digest(presented)));
        if let Some(facts) = newcomer.as_ref().and_then(|(cache, digest)| cache.get(digest, now)) {
            let chain = VerifiedChain::new(facts, &self.required, role)?;
            return Ok(Accepted { chain, newcomer: None });
        }

        // The chain, and its revocation.
        let (lists, lists_at) =
            (&self.revocation_lists, (trust_period == TrustPeriod::Checked).then_some(now));
        let path = match bundle.entry_of(leaf) {
            Some(pin) => {
                let path = chain::check_pinned(pin, presented, bundle, now)?;
                path.until(revocation::check_pinned(leaf, lists, algorithms, lists_at)?)
            }
            // webpki proposes paths whose signatures, names and times are good; the first one that passes these checks
            // too is taken.
            None => chain::find_path(presented, bundle, algorithms, now, |proposed| {
                let path = chain::check_path(proposed, presented, bundle, now, trust_period)?;
                Ok(path.until(revocation::check_path(proposed, lists, lists_at)?))
            })?,
        };

        // The leaf, its key, and its identity.
        let certificate = Certificate::parse(leaf).map_err(|malformed| malformed.in_chain(1))?;
        let identity = PeerIdentity::read(&certificate).map_err(|malformed| malformed.in_chain(1))?;
        key::check(&certificate, algorithms)?;
        let mut validity = path.validity;
        validity.limit(certificate.not_before(), certificate.not_after());
        let facts = Arc::new(ChainFacts {
            identity,
            serial: certificate.serial_number().into(),
            sha256: self.sha256.of(leaf),
            leaf_not_after: certificate.not_after(),
            ca: path.ca.label.clone(),
            validity,
        });
        let chain = VerifiedChain::new(facts, &self.required, role)?;

        // The entry for the cache.
        let newcomer = newcomer.filter(|_| path.is_straight).map(|(cache, digest)| Newcomer {
            cache: cache.clone(),
            digest,
            accepted_at: now,
        });
        Ok(Accepted { chain, newcomer })
    }

    /// The identity that this verifier requires.
    pub fn required(&self) -> &RequiredIdentity {
        &self.required
    }
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerVerifier")
            .field("trust_bundle", &self.trust_bundle)
            .field("revocation_lists", &self.revocation_lists)
            .field("required", &self.required)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

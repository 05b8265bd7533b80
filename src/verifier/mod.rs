//! The one place where a peer is verified: [`PeerVerifier::verify`] for the identity rule of Felix and Typha,
//! [`HostVerifier::verify`] for the host rule of other servers, such as etcd.
//!
//! The acceptor and the connectors call it from inside their handshakes; a diagnostic tool, a test corpus and a fuzzer
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
//! 4. the leaf's subject and extensions are strictly valid;
//! 5. the requirement: its Common Name or a URI SAN is the one required (identity rule), or a DNS name or IP address
//!    among its subject alternative names is the host that was dialled (host rule).
//!
//! What it does not check: the host name or address of a Typha (by design: any Typha of the cluster is accepted),
//! certificate policies, OCSP.

mod adapter;
mod cache;
mod chain;
mod classify;
mod host;
mod key;
mod own;
mod peer;
mod presented;
mod rejected;
mod rejection;
mod requirement;
mod revocation;
mod verdict;
mod verified;

use std::fmt;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, UnixTime};

pub(crate) use adapter::{ClientCertificate, HandshakeVerifier, ServerCertificate};
pub use host::HostVerifier;
pub(crate) use own::OwnChain;
pub use peer::PeerVerifier;
pub(crate) use presented::usable_certificates;
pub use rejected::RejectedPeer;
pub use rejection::{ChainPosition, Rejection};
use requirement::Requirement;
pub(crate) use verdict::with_verdict;
pub use verified::{VerifiedChain, VerifiedPeer};

use cache::{Accepted, ChainCache, Newcomer};
use chain::TrustPeriod;
use presented::PresentedChain;
use verified::ChainFacts;

use crate::certificate::Certificate;
use crate::identity::PeerIdentity;
use crate::material::{RevocationLists, TrustBundle};
use crate::policy::{Sha256, TlsPolicy};
use crate::role::Role;

/// A verifier of one of the two rules.
pub(crate) trait Rule {
    fn chains(&self) -> &ChainVerifier;

    /// What a peer that was accepted by this rule must still have.
    fn requirement<'a>(&'a self, accepted: &'a VerifiedChain) -> Option<Requirement<'a>>;
}

/// Verifies chains with the CAs and the revocation lists that it was built with, and their leaves by a requirement.
///
/// Clones share the cache of accepted chains.
#[derive(Clone)]
pub(crate) struct ChainVerifier {
    trust_bundle: TrustBundle,
    revocation_lists: RevocationLists,
    algorithms: WebPkiSupportedAlgorithms,
    sha256: Sha256,
    cache: Option<Arc<ChainCache>>,
}

impl ChainVerifier {
    fn new(trust_bundle: TrustBundle, revocation_lists: RevocationLists, policy: &TlsPolicy) -> Self {
        let algorithms = policy.provider().signature_verification_algorithms;
        let sha256 = policy.sha256();
        let verifier = Self { trust_bundle, revocation_lists, algorithms, sha256, cache: None };
        verifier.with_cache_capacity(policy.chain_cache_capacity())
    }

    fn with_cache_capacity(mut self, chains: usize) -> Self {
        self.cache = (chains > 0).then(|| Arc::new(ChainCache::new(chains, self.sha256)));
        self
    }

    /// Verifies a chain, leaf first.
    pub(crate) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        requirement: Requirement<'_>,
        now: UnixTime,
    ) -> Result<VerifiedChain, Rejection> {
        let (leaf, intermediates) = chain.split_first().ok_or(Rejection::NoCertificate)?;
        let accepted = self.judge(leaf, intermediates, role, requirement, now, TrustPeriod::Checked)?;
        Ok(accepted.remember())
    }

    /// Verifies a chain that was accepted at the time `then`, without regard to the time since. The certificates that
    /// the peer sent are checked as of `then`. A CA that was not valid yet and revocation lists that were out of date
    /// are accepted.
    pub(crate) fn verify_but_for_time(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        requirement: Requirement<'_>,
        then: UnixTime,
    ) -> Result<(), Rejection> {
        let (leaf, intermediates) = chain.split_first().ok_or(Rejection::NoCertificate)?;
        let judge =
            |trust_period| self.judge(leaf, intermediates, role, requirement, then, trust_period).map(drop);
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
        requirement: Requirement<'_>,
        now: UnixTime,
        trust_period: TrustPeriod,
    ) -> Result<Accepted, Rejection> {
        let presented = &PresentedChain::new(leaf, intermediates, role)?;
        let (bundle, algorithms) = (&self.trust_bundle, self.algorithms.all);

        // A chain that was verified before has only the requirement left to check.
        let cache = self.cache.as_ref().filter(|_| trust_period == TrustPeriod::Checked);
        let newcomer = cache.map(|cache| (cache, cache.digest(presented)));
        if let Some(facts) = newcomer.as_ref().and_then(|(cache, digest)| cache.get(digest, now)) {
            let chain = VerifiedChain::new(facts, leaf, requirement, role)?;
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

        // The leaf, its key, and the requirement.
        let certificate = Certificate::parse(leaf).map_err(|malformed| malformed.in_chain(1))?;
        let mut identity = PeerIdentity::read(&certificate).map_err(|malformed| malformed.in_chain(1))?;
        if matches!(requirement, Requirement::Host(_)) {
            // It is kept for people who expect that it counts. Here it does.
            identity.dns_name = None;
        }
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
        let chain = VerifiedChain::new(facts, leaf, requirement, role)?;

        // The entry for the cache.
        let newcomer = newcomer.filter(|_| path.is_straight).map(|(cache, digest)| Newcomer {
            cache: cache.clone(),
            digest,
            accepted_at: now,
        });
        Ok(Accepted { chain, newcomer })
    }
}

impl fmt::Debug for ChainVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainVerifier")
            .field("trust_bundle", &self.trust_bundle)
            .field("revocation_lists", &self.revocation_lists)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

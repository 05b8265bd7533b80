//! The one place where a peer is judged: [`PeerVerifier::verify`].
//!
//! The acceptor and the connector call it from inside their handshakes; a diagnostic tool, a test corpus and a fuzzer
//! call the same function with a chain of their own.
//!
//! What it checks, in this order:
//! 1. the chain leads to a CA of the bundle: signatures, names, validity at the given time, path lengths, name
//!    constraints, key usages, the CA's own validity and extensions (`webpki`, and what it leaves out of what Go
//!    checks);
//! 2. the leaf is for the peer's role (a leaf without extended key usage, or with anyExtendedKeyUsage, is for any) and
//!    its key can be used in a handshake;
//! 3. no certificate of the chain is revoked, as far as the [policy](crate::material::RevocationPolicy) of the
//!    revocation lists asks for it;
//! 4. the leaf's subject and extensions are strictly valid, and its Common Name or a URI SAN is the one required.
//!
//! What it does not check: Typha's host name or address (by design: any Typha of the cluster will do), certificate
//! policies, OCSP.

mod adapter;
mod cache;
mod chain;
mod classify;
mod path;
mod rejection;
mod revocation;

use std::fmt;
use std::sync::Arc;

use rustls::crypto::hash::Hash;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls_pki_types::{CertificateDer, UnixTime};

pub(crate) use adapter::{ClientCertificate, ClientVerifier, ServerVerifier, with_asked};
pub use rejection::{CaProblem, ChainPosition, Rejection};

use cache::{ChainCache, ChainDigest, Validity, VerifiedChain, chain_hash};
use path::{Path, Trust, leaf_subject};

use crate::identity::{Leaf, MatchedBy, PeerIdentity, RequiredIdentity};
use crate::material::{RevocationLists, TrustBundle};
use crate::policy::DEFAULT_CHAIN_CACHE_CAPACITY;
use crate::role::Role;

/// Judges peers: by the CAs, the revocation lists and the required identity that it is made of.
///
/// It remembers the chains that it has accepted, so that a peer that comes back costs no signature checks over
/// certificates; see [`with_chain_cache_capacity`](Self::with_chain_cache_capacity). Clones share what is remembered.
#[derive(Clone)]
pub struct PeerVerifier {
    trust_bundle: TrustBundle,
    revocation_lists: RevocationLists,
    required: RequiredIdentity,
    algorithms: WebPkiSupportedAlgorithms,
    hash: Option<&'static dyn Hash>,
    cache: Option<Arc<ChainCache>>,
}

/// The certificates that a peer may send. A path uses at most 7 of them; the rest is room for cross-signed CAs. Each
/// one more costs time that an unauthenticated peer makes us spend.
const MAX_CHAIN_LENGTH: usize = 48;

impl PeerVerifier {
    /// A verifier that accepts peers whose chain leads into `trust_bundle` and whose leaf has the `required` identity.
    ///
    /// `provider` verifies the signatures: those that it supports are accepted.
    pub fn new(
        trust_bundle: TrustBundle,
        revocation_lists: RevocationLists,
        required: RequiredIdentity,
        provider: &CryptoProvider,
    ) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        let hash = chain_hash(provider);
        let verifier = Self { trust_bundle, revocation_lists, required, algorithms, hash, cache: None };
        verifier.with_chain_cache_capacity(DEFAULT_CHAIN_CACHE_CAPACITY)
    }

    /// Remembers at most this many accepted chains, some 300 bytes each; 0 for none. The default is 16,384: about
    /// the Felixes of a large cluster.
    ///
    /// A chain that is presented again, byte for byte and in the same role, is not checked again for what can not have
    /// changed: the signatures over its certificates and the rules on their extensions. The verdict is the same with
    /// and without; only the time it takes differs. Inside a handshake a chain is remembered when the peer has proven
    /// that it holds the key.
    ///
    /// Not remembered are chains that are not the path from the leaf to the CA, in its order (the CA itself and its
    /// issuer may be there, if they are in the bundle), and leaves with more than 1 KiB of names: one peer could make
    /// any number of those, or fill the memory with them.
    #[must_use]
    pub fn with_chain_cache_capacity(mut self, chains: usize) -> Self {
        self.cache = self.hash.and_then(|hash| ChainCache::new(chains, hash)).map(Arc::new);
        self
    }

    /// Judges a chain, leaf first, as the peer in `role` sent it, at the time `now`.
    ///
    /// The chain is checked before the identity: a [`Rejection::IdentityMismatch`] means that the chain is good.
    ///
    /// # Errors
    ///
    /// [`Rejection`], with what was expected and what the peer presented.
    ///
    /// # Security
    ///
    /// This does not show that the peer holds the leaf's private key. Inside a handshake, TLS does.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<VerifiedPeer, Rejection> {
        let (leaf, intermediates) = chain.split_first().ok_or(Rejection::NoCertificate)?;
        self.verify_parts(leaf, intermediates, role, now).map(Accepted::remember)
    }

    /// As [`verify`](Self::verify), with the chain in the two parts that rustls has it in.
    fn verify_parts(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<Accepted, Rejection> {
        if intermediates.len() >= MAX_CHAIN_LENGTH {
            return Err(Rejection::TooComplex { subject: leaf_subject(leaf) });
        }
        let mut newcomer = None;
        if let Some(cache) = &self.cache {
            let digest = cache.digest(leaf, intermediates, role);
            if let Some(chain) = cache.get(&digest, now) {
                let matched_by = self.required.check(&chain.identity)?;
                return Ok(Accepted { peer: VerifiedPeer { chain, matched_by, role }, newcomer: None });
            }
            newcomer = Some((cache.clone(), digest));
        }
        let (path, leaf, matched_by) = self.verify_anew(leaf, intermediates, role, now, Trust::InTime)?;
        let leaf_not_after = leaf.certificate.not_after();
        let validity =
            path.validity.intersection(Validity::new(leaf.certificate.not_before(), leaf_not_after));
        let chain = Arc::new(VerifiedChain {
            identity: leaf.identity,
            leaf_not_after,
            trusted_until: validity.not_after(),
            ca: path.ca,
        });
        let newcomer = newcomer.filter(|_| path.is_straight).map(|(cache, digest)| Newcomer {
            cache,
            digest,
            validity,
            accepted_at: now,
        });
        Ok(Accepted { peer: VerifiedPeer { chain, matched_by, role }, newcomer })
    }

    /// Whether [`verify`](Self::verify) would have accepted the chain `then`. It is not remembered for that: its time
    /// may be over.
    pub(crate) fn verify_as_of(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        then: UnixTime,
    ) -> Result<(), Rejection> {
        let (leaf, intermediates) = chain.split_first().ok_or(Rejection::NoCertificate)?;
        self.verify_parts(leaf, intermediates, role, then).map(drop)
    }

    /// Everything but whether there is a time at which all of it is valid: what the peer sent is looked at as of the
    /// time `then`, when it was accepted before, and it does not count whether the CA was valid yet, nor whether the
    /// revocation lists were in their time.
    pub(crate) fn verify_but_for_time(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        then: UnixTime,
    ) -> Result<(), Rejection> {
        let (leaf, intermediates) = chain.split_first().ok_or(Rejection::NoCertificate)?;
        self.verify_anew(leaf, intermediates, role, then, Trust::WheneverItWas).map(drop)
    }

    /// Whatever is remembered.
    fn verify_anew<'a>(
        &self,
        leaf: &'a CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
        trust: Trust,
    ) -> Result<(Path, Leaf<'a>, MatchedBy), Rejection> {
        let path = self.verify_chain(leaf, intermediates, role, now, trust)?;
        let leaf = Leaf::parse(leaf)?;
        self.check_leaf_key(&leaf.certificate)?;
        let matched_by = self.required.check(&leaf.identity)?;
        Ok((path, leaf, matched_by))
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

/// A peer whose chain is accepted.
pub(crate) struct Accepted {
    pub(crate) peer: VerifiedPeer,
    /// Where its chain is to be remembered, if it is not yet.
    newcomer: Option<Newcomer>,
}

/// A chain that is not yet in the cache.
struct Newcomer {
    cache: Arc<ChainCache>,
    digest: ChainDigest,
    validity: Validity,
    accepted_at: UnixTime,
}

impl Accepted {
    /// To be called when the peer has proven that it holds the leaf's key: others can send its chain, too.
    pub(crate) fn remember(self) -> VerifiedPeer {
        if let Some(Newcomer { cache, digest, validity, accepted_at }) = self.newcomer {
            cache.insert(digest, self.peer.chain.clone(), validity, accepted_at);
        }
        self.peer
    }
}

/// A peer that [`PeerVerifier::verify`] has accepted; there is no other way to get one. Cheap to clone: what was read
/// out of the leaf is shared by all connections that present the same chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedPeer {
    chain: Arc<VerifiedChain>,
    matched_by: MatchedBy,
    role: Role,
}

impl VerifiedPeer {
    /// The names in the peer's leaf.
    pub fn identity(&self) -> &PeerIdentity {
        &self.chain.identity
    }

    /// Which of the required names the peer has.
    pub fn matched_by(&self) -> MatchedBy {
        self.matched_by
    }

    /// Which end the peer is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// When the peer's leaf expires. A reconnection after it will be refused; a connection that exists stays, unless
    /// its [`ConnectionLifetime`](crate::lifetime::ConnectionLifetime) says otherwise.
    pub fn not_after(&self) -> UnixTime {
        self.chain.leaf_not_after
    }

    /// The CA of the bundle that the peer's path leads to, for people: `CN="calico-typha-ca" (key 1f0c88a2)`, with the
    /// beginning of its subject key identifier, or else its serial number, since a CA that is made anew often keeps its
    /// name.
    pub fn ca(&self) -> &str {
        &self.chain.ca
    }

    /// Until when the path on which the peer was verified holds, if nothing but the time changes: the earliest end of
    /// validity among its leaf, the intermediates above it and the CA, and of the revocation lists where an expired one
    /// refuses.
    pub fn trusted_until(&self) -> UnixTime {
        self.chain.trusted_until
    }
}

impl fmt::Display for VerifiedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} (matched by {})", self.role, self.identity(), self.matched_by)
    }
}

//! Material, required identity and policy, built once into what every handshake shares.
//!
//! A snapshot never changes. New files mean a new snapshot, put in force by a
//! [`SnapshotHandle`](crate::SnapshotHandle), so that no connection is ever judged by the CA of one and the identity of
//! another.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::server::StoresServerSessions;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::UnixTime;
use thiserror::Error;
use tracing::warn;

use crate::identity::{PeerIdentity, RequiredIdentity};
use crate::material::Material;
use crate::policy::TlsPolicy;
use crate::role::Role;
use crate::verifier::{ClientCertificate, ClientVerifier, PeerVerifier, ServerVerifier};

/// What Typha's handshakes share.
pub type TyphaSnapshot = Snapshot<ServerConfig>;
/// What Felix's handshakes share.
pub type FelixSnapshot = Snapshot<ClientConfig>;

/// What all handshakes of one end share; `C` is the rustls configuration of that end. Cheap to clone.
pub struct Snapshot<C> {
    rustls: Arc<C>,
    verifier: Arc<PeerVerifier>,
    own_leaf: Arc<OwnLeaf>,
    parts: Arc<SnapshotParts>,
    generation: u64,
}

/// What a snapshot is made of, and what a [`SnapshotSource`](crate::reload::SnapshotSource) gives. Cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SnapshotParts {
    /// CAs, chain, key and revocation lists.
    pub material: Arc<Material>,
    /// The identity that the other end must have.
    pub required_peer: RequiredIdentity,
    /// Which TLS is spoken.
    pub policy: TlsPolicy,
}

impl SnapshotParts {
    /// These parts.
    pub fn new(
        material: impl Into<Arc<Material>>,
        required_peer: RequiredIdentity,
        policy: TlsPolicy,
    ) -> Self {
        Self { material: material.into(), required_peer, policy }
    }

    /// Whether snapshots made of `self` and of `other` judge alike and present the same chain.
    ///
    /// A [`SnapshotSource`](crate::reload::SnapshotSource) that receives the same again can tell it by this and stay
    /// quiet.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.judges_as(other) && self.material.credentials.chain() == other.material.credentials.chain()
    }

    /// Whether a snapshot of the one judges as one of the other does; what it presents itself may differ.
    fn judges_as(&self, other: &Self) -> bool {
        self.required_peer == other.required_peer
            && self.policy.is_same_as(&other.policy)
            && self.material.trust_bundle.is_same_as(&other.material.trust_bundle)
            && self.material.revocation_lists.is_same_as(&other.material.revocation_lists)
    }
}

/// The end that a snapshot is for: `ServerConfig` stands for Typha's, `ClientConfig` for Felix's.
pub trait SnapshotEnd: sealed::Sealed + Sized + Send + Sync + 'static {
    /// Which end it is.
    #[doc(hidden)]
    const LOCAL: Role;

    #[doc(hidden)]
    fn configure(parts: &SnapshotParts, verifier: &Arc<PeerVerifier>) -> Result<Self, rustls::Error>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for rustls::ServerConfig {}
    impl Sealed for rustls::ClientConfig {}
}

/// What our own leaf says of itself: whom a refusal is to be blamed on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OwnLeaf {
    pub(crate) identity: PeerIdentity,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
}

impl OwnLeaf {
    fn of(material: &Material) -> Arc<Self> {
        let own = &material.credentials;
        let (not_before, not_after) = (own.not_before(), own.not_after());
        Arc::new(Self { identity: own.identity().clone(), not_before, not_after })
    }

    pub(crate) fn is_valid_at(&self, now: UnixTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// rustls can not be configured with the given policy: its versions, cipher suites and groups do not fit together.
#[derive(Debug, Error)]
#[error("the TLS policy can not be used")]
pub struct SnapshotError(#[source] rustls::Error);

impl SnapshotEnd for ServerConfig {
    const LOCAL: Role = Role::Typha;

    fn configure(parts: &SnapshotParts, verifier: &Arc<PeerVerifier>) -> Result<Self, rustls::Error> {
        let SnapshotParts { material, policy, .. } = parts;
        let provider = policy.provider().clone();
        let mut rustls = Self::builder_with_details(provider, policy.time_provider().clone())
            .with_protocol_versions(policy.versions())?
            .with_client_cert_verifier(Arc::new(ClientVerifier::new(verifier.clone())))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(material.credentials.certified_key())));
        rustls.session_storage = Arc::new(TicketsAreNotHonoured);
        rustls.send_tls13_tickets = policy.acceptance_ticket().into();
        // As in Go. A client's order is that of its library, most often; this one somebody chose.
        rustls.ignore_client_order = true;
        Ok(rustls)
    }
}

impl SnapshotEnd for ClientConfig {
    const LOCAL: Role = Role::Felix;

    fn configure(parts: &SnapshotParts, verifier: &Arc<PeerVerifier>) -> Result<Self, rustls::Error> {
        let SnapshotParts { material, policy, .. } = parts;
        let provider = policy.provider().clone();
        let mut rustls = Self::builder_with_details(provider, policy.time_provider().clone())
            .with_protocol_versions(policy.versions())?
            .dangerous() // rustls's word for any verifier but its own
            .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(verifier.clone())))
            .with_client_cert_resolver(Arc::new(ClientCertificate::new(
                material.credentials.certified_key(),
            )));
        // A resumed session is not judged by the verifier.
        rustls.resumption = Resumption::disabled();
        rustls.enable_sni = false;
        Ok(rustls)
    }
}

impl<C: SnapshotEnd> Snapshot<C> {
    /// Builds a snapshot for which the other end must have the identity `required`.
    ///
    /// What is usable but probably not meant (an expired leaf, a CA entry that is no CA) is logged as a warning.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`].
    pub fn new(
        material: &Material,
        required: RequiredIdentity,
        policy: &TlsPolicy,
    ) -> Result<Self, SnapshotError> {
        Self::from_parts(SnapshotParts::new(material.clone(), required, policy.clone()))
    }

    /// As [`new`](Self::new), of parts that are together already.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`].
    pub fn from_parts(parts: SnapshotParts) -> Result<Self, SnapshotError> {
        parts.log_warnings(C::LOCAL);
        Self::build(parts)
    }

    /// As [`from_parts`](Self::from_parts), without a word in the log.
    pub(crate) fn build(parts: SnapshotParts) -> Result<Self, SnapshotError> {
        let SnapshotParts { material, required_peer, policy } = &parts;
        let verifier = PeerVerifier::new(
            material.trust_bundle.clone(),
            material.revocation_lists.clone(),
            required_peer.clone(),
            policy.provider(),
        );
        let verifier = Arc::new(verifier.with_chain_cache_capacity(policy.chain_cache_capacity()));
        let rustls = Arc::new(C::configure(&parts, &verifier).map_err(SnapshotError)?);
        let own_leaf = OwnLeaf::of(material);
        Ok(Self { rustls, verifier, own_leaf, parts: Arc::new(parts), generation: 0 })
    }

    /// With the verifier of another one, and so what that remembers, if both judge alike: our own renewal is no reason
    /// to check every peer's signatures again.
    pub(crate) fn inheriting(self, other: &Self) -> Self {
        if !self.parts.judges_as(&other.parts) {
            return self;
        }
        let verifier = other.verifier.clone();
        match C::configure(&self.parts, &verifier) {
            Ok(rustls) => Self { rustls: Arc::new(rustls), verifier, ..self },
            Err(_) => self,
        }
    }
}

impl<C> Snapshot<C> {
    /// The verifier that judges every peer of this snapshot.
    pub fn verifier(&self) -> &Arc<PeerVerifier> {
        &self.verifier
    }

    /// Its number among those that its [handle](crate::SnapshotHandle) has put in force, counted from 1; 0 before it is
    /// in force.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What it is made of.
    pub fn parts(&self) -> &SnapshotParts {
        &self.parts
    }

    /// What its clock shows; `None` if that fails.
    pub(crate) fn now(&self) -> Option<UnixTime> {
        self.parts.policy.time_provider().current_time()
    }

    pub(crate) fn of_generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    pub(crate) fn own_leaf(&self) -> &Arc<OwnLeaf> {
        &self.own_leaf
    }

    pub(crate) fn rustls(&self) -> &Arc<C> {
        &self.rustls
    }
}

impl SnapshotParts {
    pub(crate) fn log_warnings(&self, local: Role) {
        let Some(now) = self.policy.time_provider().current_time() else { return };
        let own = self.material.credentials.warnings(local, now);
        let lists = self.material.revocation_lists.warnings(now);
        for warning in own.iter().chain(&self.material.trust_bundle.warnings(now)).chain(&lists) {
            warn!(finding = warning.as_str(), "{warning}");
        }
    }
}

/// A session ticket tells the client that it is accepted; the session behind it is never kept, so that no ticket ever
/// resumes. Not even its contents, which include the client's chain, stay in memory.
#[derive(Debug)]
struct TicketsAreNotHonoured;

impl StoresServerSessions for TicketsAreNotHonoured {
    /// rustls sends a ticket only if its session was "stored".
    fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
        true
    }

    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Without it no TLS 1.2 session identifier is handed out either.
    fn can_cache(&self) -> bool {
        false
    }
}

impl<C> Clone for Snapshot<C> {
    fn clone(&self) -> Self {
        Self {
            rustls: self.rustls.clone(),
            verifier: self.verifier.clone(),
            own_leaf: self.own_leaf.clone(),
            parts: self.parts.clone(),
            generation: self.generation,
        }
    }
}

impl<C> fmt::Debug for Snapshot<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("verifier", &self.verifier)
            .finish_non_exhaustive()
    }
}

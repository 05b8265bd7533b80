//! Material, required identity and policy, built once into what every handshake shares.
//!
//! A snapshot never changes. New files mean a new snapshot, put in force by a [`SnapshotHandle`](crate::SnapshotHandle), so that no connection is ever judged by the CA of one and the
//! identity of another.

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
    generation: u64,
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

impl TyphaSnapshot {
    /// Builds Typha's snapshot: Felixes must have the identity `required`.
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
        log_warnings(material, Role::Typha);
        let verifier = verifier(material, required, policy);
        let mut rustls = ServerConfig::builder_with_provider(policy.provider().clone())
            .with_protocol_versions(policy.versions())
            .map_err(SnapshotError)?
            .with_client_cert_verifier(Arc::new(ClientVerifier::new(verifier.clone())))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(material.credentials.certified_key())));
        rustls.session_storage = Arc::new(TicketsAreNotHonoured);
        rustls.send_tls13_tickets = policy.acceptance_ticket().into();
        // As in Go. A client's order is that of its library, most often; this one somebody chose.
        rustls.ignore_client_order = true;
        Ok(Self { rustls: Arc::new(rustls), verifier, own_leaf: OwnLeaf::of(material), generation: 0 })
    }
}

impl FelixSnapshot {
    /// Builds Felix's snapshot: Typha must have the identity `required`.
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
        log_warnings(material, Role::Felix);
        let verifier = verifier(material, required, policy);
        let mut rustls = ClientConfig::builder_with_provider(policy.provider().clone())
            .with_protocol_versions(policy.versions())
            .map_err(SnapshotError)?
            .dangerous() // rustls's word for any verifier but its own
            .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(verifier.clone())))
            .with_client_cert_resolver(Arc::new(ClientCertificate::new(
                material.credentials.certified_key(),
            )));
        // A resumed session is not judged by the verifier.
        rustls.resumption = Resumption::disabled();
        rustls.enable_sni = false;
        Ok(Self { rustls: Arc::new(rustls), verifier, own_leaf: OwnLeaf::of(material), generation: 0 })
    }
}

impl<C> Snapshot<C> {
    /// The verifier that judges every peer of this snapshot.
    pub fn verifier(&self) -> &Arc<PeerVerifier> {
        &self.verifier
    }

    /// The how-manieth it is that its [handle](crate::SnapshotHandle) has put in force, from 1; 0 before that.
    pub fn generation(&self) -> u64 {
        self.generation
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

fn verifier(material: &Material, required: RequiredIdentity, policy: &TlsPolicy) -> Arc<PeerVerifier> {
    let verifier = PeerVerifier::new(
        material.trust_bundle.clone(),
        material.revocation_lists.clone(),
        required,
        policy.provider(),
    );
    Arc::new(verifier.with_chain_cache_capacity(policy.chain_cache_capacity()))
}

fn log_warnings(material: &Material, local: Role) {
    let now = UnixTime::now();
    let own = material.credentials.warnings(local, now);
    for warning in own.iter().chain(&material.trust_bundle.warnings(now)) {
        warn!(finding = warning.as_str(), "{warning}");
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

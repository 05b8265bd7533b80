//! The context that all handshakes of one end share. It is built from a configuration and can be replaced at any time.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::StoresServerSessions;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;

use crate::config_parts::{ConfigParts, EndConfig};
use crate::host_config::HostTlsConfig;
use crate::material::{Credentials, HostMaterial, ListHistory};
use crate::role::Role;
use crate::tls_config::TlsConfig;
use crate::verifier::{
    ClientCertificate, HandshakeVerifier, HostVerifier, PeerVerifier, Rule, ServerCertificate,
};

/// One end of a connection.
pub(crate) trait End: Send + Sync + 'static {
    const LOCAL: Role;
    type Config: EndConfig;
    type Verifier: Rule + fmt::Debug + Send + Sync;
    /// Its configuration of rustls.
    type Rustls: Send + Sync;

    fn verifier(config: &Self::Config) -> Self::Verifier;

    fn rustls(config: &Self::Config, verifier: &Arc<Self::Verifier>) -> Self::Rustls;
}

/// The context that all handshakes of one end share. It never changes.
pub(crate) struct TlsContext<E: End> {
    pub(crate) rustls: Arc<E::Rustls>,
    pub(crate) verifier: Arc<E::Verifier>,
    pub(crate) config: E::Config,
    /// Of all configurations that were in force before this one, whoever put them there.
    pub(crate) list_history: ListHistory,
    /// The number of this configuration among all that were in force, counted from 1.
    pub(crate) generation: u64,
}

impl<E: End> TlsContext<E> {
    /// The time of the policy's clock; `None` if that fails.
    pub(crate) fn now(&self) -> Option<UnixTime> {
        self.config.parts().policy.time_provider().current_time()
    }
}

/// Typha's end.
pub(crate) enum TyphaEnd {}

/// Felix's end.
pub(crate) enum FelixEnd {}

/// The client's end of a connection to a server that is verified for its host.
pub(crate) enum HostEnd {}

impl End for TyphaEnd {
    const LOCAL: Role = Role::Typha;
    type Config = TlsConfig;
    type Verifier = PeerVerifier;
    type Rustls = ServerConfig;

    fn verifier(config: &TlsConfig) -> PeerVerifier {
        peer_verifier(config)
    }

    fn rustls(TlsConfig { material, policy, .. }: &TlsConfig, verifier: &Arc<PeerVerifier>) -> ServerConfig {
        let alpn: Vec<_> = policy.alpn().map(<[u8]>::to_vec).collect();
        let certificate = ServerCertificate::new(material.credentials.certified_key(), alpn.clone());
        let chain = material.credentials.chain();
        let mut rustls = policy
            .server()
            .with_client_cert_verifier(Arc::new(HandshakeVerifier::of_felix(verifier.clone(), chain)))
            .with_cert_resolver(Arc::new(certificate));
        rustls.alpn_protocols = alpn;
        rustls.session_storage = Arc::new(TicketsAreNotHonoured);
        rustls.send_tls13_tickets = policy.acceptance_ticket().into();
        // As in Go. A client's order is mostly the default of its library; the order of our policy is chosen.
        rustls.ignore_client_order = true;
        rustls
    }
}

impl End for FelixEnd {
    const LOCAL: Role = Role::Felix;
    type Config = TlsConfig;
    type Verifier = PeerVerifier;
    type Rustls = ClientConfig;

    fn verifier(config: &TlsConfig) -> PeerVerifier {
        peer_verifier(config)
    }

    fn rustls(config: &TlsConfig, verifier: &Arc<PeerVerifier>) -> ClientConfig {
        let mut rustls = client(config.parts(), Arc::new(HandshakeVerifier::of_server(verifier.clone())));
        rustls.enable_sni = false;
        rustls
    }
}

impl End for HostEnd {
    const LOCAL: Role = Role::Client;
    type Config = HostTlsConfig;
    type Verifier = HostVerifier;
    type Rustls = ClientConfig;

    fn verifier(HostTlsConfig { material, policy }: &HostTlsConfig) -> HostVerifier {
        let HostMaterial { trust_bundle, revocation_lists, .. } = &**material;
        HostVerifier::new(trust_bundle.clone(), revocation_lists.clone(), policy)
    }

    fn rustls(config: &HostTlsConfig, verifier: &Arc<HostVerifier>) -> ClientConfig {
        client(config.parts(), Arc::new(HandshakeVerifier::of_server(verifier.clone())))
    }
}

fn peer_verifier(TlsConfig { material, required_peer, policy }: &TlsConfig) -> PeerVerifier {
    let (cas, lists) = (material.trust_bundle.clone(), material.revocation_lists.clone());
    PeerVerifier::new(cas, lists, required_peer.clone(), policy)
}

/// The part that all clients share.
fn client(parts: ConfigParts<'_>, verifier: Arc<dyn ServerCertVerifier>) -> ClientConfig {
    let certificate = ClientCertificate(parts.credentials.map(Credentials::certified_key));
    let mut rustls = parts
        .policy
        .client()
        .dangerous() // required by rustls for a verifier that is not its own
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(certificate));
    rustls.alpn_protocols = parts.policy.alpn().map(<[u8]>::to_vec).collect();
    // rustls does not call the verifier for a resumed session.
    rustls.resumption = Resumption::disabled();
    rustls
}

/// The context that new handshakes use, until it is replaced. Clones share it.
///
/// A handshake keeps the context that it started with, even if the context is replaced before the handshake ends.
pub(crate) struct InForce<E: End>(Arc<Inner<E>>);

struct Inner<E: End> {
    context: ArcSwap<TlsContext<E>>,
    generation: watch::Sender<u64>,
}

impl<E: End> InForce<E> {
    /// Puts the first configuration in force, with generation 1. Logs its warnings.
    pub(crate) fn new(config: E::Config) -> Self {
        config.parts().log_warnings(E::LOCAL);
        let context = build(config, 1, None);
        let generation = watch::Sender::new(context.generation);
        Self(Arc::new(Inner { context: ArcSwap::from_pointee(context), generation }))
    }

    /// Puts another configuration in force, and returns its generation.
    ///
    /// The cache of verified chains is kept only if the new configuration accepts the same peers.
    pub(crate) fn replace(&self, config: E::Config) -> u64 {
        let mut generation = 0;
        // Under the lock of the watch channel: receivers see the generations in order, and none before it is in force.
        self.0.generation.send_modify(|latest| {
            *latest += 1;
            generation = *latest;
            let context = build(config, generation, Some(&self.current()));
            self.0.context.store(Arc::new(context));
        });
        generation
    }

    pub(crate) fn current(&self) -> Arc<TlsContext<E>> {
        self.0.context.load_full()
    }

    /// A receiver of the generation in force; it is notified of each change.
    pub(crate) fn generations(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }
}

/// Builds a context. If the `former` one accepts the same peers, its verifier is kept, with its cache: after a renewal
/// of our own certificate, known chains need no new signature checks.
fn build<E: End>(config: E::Config, generation: u64, former: Option<&TlsContext<E>>) -> TlsContext<E> {
    let parts = config.parts();
    let verifier = match former {
        Some(former) if parts.accepts_as(former.config.parts()) => former.verifier.clone(),
        _ => Arc::new(E::verifier(&config)),
    };
    let list_history =
        former.map_or_else(ListHistory::default, |TlsContext { list_history, config, .. }| {
            let former = config.parts();
            list_history.with(former.revocation_lists, former.now())
        });
    let rustls = Arc::new(E::rustls(&config, &verifier));
    TlsContext { rustls, verifier, config, list_history, generation }
}

/// A session storage that stores nothing. A session ticket only shows the client that it is accepted; no ticket can
/// resume a session. The contents of the session, which include the client's chain, do not stay in memory.
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

    /// With `false`, rustls also sends no TLS 1.2 session identifier.
    fn can_cache(&self) -> bool {
        false
    }
}

impl<E: End> Clone for InForce<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: End> fmt::Debug for InForce<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = self.current();
        f.debug_struct("InForce")
            .field("generation", &context.generation)
            .field("verifier", &context.verifier)
            .finish_non_exhaustive()
    }
}

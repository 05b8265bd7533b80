//! The context that all handshakes of one end share. It is built from a [`TlsConfig`] and can be replaced at any time.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::server::StoresServerSessions;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;

use crate::material::ListHistory;
use crate::role::Role;
use crate::tls_config::TlsConfig;
use crate::verifier::{ClientCertificate, HandshakeVerifier, PeerVerifier, ServerCertificate};

/// The context that all handshakes of one end share. It never changes. `C` is the rustls configuration of that end.
pub(crate) struct TlsContext<C> {
    pub(crate) rustls: Arc<C>,
    pub(crate) verifier: Arc<PeerVerifier>,
    pub(crate) config: TlsConfig,
    /// Of all configurations that were in force before this one, whoever put them there.
    pub(crate) list_history: ListHistory,
    /// The number of this configuration among all that were in force, counted from 1.
    pub(crate) generation: u64,
}

impl<C> TlsContext<C> {
    /// The time of the policy's clock; `None` if that fails.
    pub(crate) fn now(&self) -> Option<UnixTime> {
        self.config.policy.time_provider().current_time()
    }
}

/// The rustls configuration of one end: `ServerConfig` for Typha, `ClientConfig` for Felix.
pub(crate) trait End: Send + Sync + 'static {
    const LOCAL: Role;

    fn configure(config: &TlsConfig, verifier: &Arc<PeerVerifier>) -> Self;
}

impl End for ServerConfig {
    const LOCAL: Role = Role::Typha;

    fn configure(TlsConfig { material, policy, .. }: &TlsConfig, verifier: &Arc<PeerVerifier>) -> Self {
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

impl End for ClientConfig {
    const LOCAL: Role = Role::Felix;

    fn configure(TlsConfig { material, policy, .. }: &TlsConfig, verifier: &Arc<PeerVerifier>) -> Self {
        let certificate = ClientCertificate(material.credentials.certified_key());
        let mut rustls = policy
            .client()
            .dangerous() // required by rustls for a verifier that is not its own
            .with_custom_certificate_verifier(Arc::new(HandshakeVerifier::of_typha(verifier.clone())))
            .with_client_cert_resolver(Arc::new(certificate));
        rustls.alpn_protocols = policy.alpn().map(<[u8]>::to_vec).collect();
        // rustls does not call the verifier for a resumed session.
        rustls.resumption = Resumption::disabled();
        rustls.enable_sni = false;
        rustls
    }
}

/// The context that new handshakes use, until it is replaced. Clones share it.
///
/// A handshake keeps the context that it started with, even if the context is replaced before the handshake ends.
pub(crate) struct InForce<C>(Arc<Inner<C>>);

struct Inner<C> {
    context: ArcSwap<TlsContext<C>>,
    generation: watch::Sender<u64>,
}

impl<C: End> InForce<C> {
    /// Puts the first configuration in force, with generation 1. Logs its warnings.
    pub(crate) fn new(config: TlsConfig) -> Self {
        config.log_warnings(C::LOCAL);
        let context = build(config, 1, None);
        let generation = watch::Sender::new(context.generation);
        Self(Arc::new(Inner { context: ArcSwap::from_pointee(context), generation }))
    }

    /// Puts another configuration in force, and returns its generation.
    ///
    /// The cache of verified chains is kept only if the new configuration accepts the same peers.
    pub(crate) fn replace(&self, config: TlsConfig) -> u64 {
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
}

impl<C> InForce<C> {
    pub(crate) fn current(&self) -> Arc<TlsContext<C>> {
        self.0.context.load_full()
    }

    /// A receiver of the generation in force; it is notified of each change.
    pub(crate) fn generations(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }
}

/// Builds a context. If the `former` one accepts the same peers, its verifier is kept, with its cache: after a renewal
/// of our own certificate, known chains need no new signature checks.
fn build<C: End>(config: TlsConfig, generation: u64, former: Option<&TlsContext<C>>) -> TlsContext<C> {
    let verifier = match former {
        Some(former) if config.accepts_as(&former.config) => former.verifier.clone(),
        _ => {
            let TlsConfig { material, required_peer, policy } = &config;
            let (cas, lists) = (material.trust_bundle.clone(), material.revocation_lists.clone());
            Arc::new(PeerVerifier::new(cas, lists, required_peer.clone(), policy))
        }
    };
    let list_history =
        former.map_or_else(ListHistory::default, |TlsContext { list_history, config, .. }| {
            list_history.with(&config.material.revocation_lists, config.now())
        });
    let rustls = Arc::new(C::configure(&config, &verifier));
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

impl<C> Clone for InForce<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for InForce<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = self.current();
        f.debug_struct("InForce")
            .field("generation", &context.generation)
            .field("verifier", &context.verifier)
            .finish_non_exhaustive()
    }
}

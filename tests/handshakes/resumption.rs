//! No session is ever resumed, whatever the peer offers: a resumed one would pass by the verifier.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::crypto::aws_lc_rs;
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use typha_tls::TyphaAcceptor;
use typha_tls::testing::{TestLeaf, TestPki};

use crate::hostile::{
    CLIENTS, Client, Outcome, VERSIONS, acceptor, acceptor_requiring, bounded, client_config, felix_spec,
    no_name, pki, server_config,
};

/// Remembers sessions, and how many it was given and asked for.
#[derive(Debug)]
struct Store {
    sessions: ClientSessionMemoryCache,
    given: AtomicUsize,
    offered: AtomicUsize,
}

impl Store {
    fn new() -> Self {
        Self {
            sessions: ClientSessionMemoryCache::new(16),
            given: AtomicUsize::new(0),
            offered: AtomicUsize::new(0),
        }
    }

    fn count_offer<T>(&self, session: Option<T>) -> Option<T> {
        session.inspect(|_| {
            self.offered.fetch_add(1, SeqCst);
        })
    }
}

impl ClientSessionStore for Store {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.sessions.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.sessions.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.given.fetch_add(1, SeqCst);
        self.sessions.set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.count_offer(self.sessions.tls12_session(name))
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.sessions.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.given.fetch_add(1, SeqCst);
        self.sessions.insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.count_offer(self.sessions.take_tls13_ticket(name))
    }
}

/// Presents one leaf, then another: sessions are bound to this resolver, not to what it resolves to.
#[derive(Debug)]
struct Turncoat(Mutex<Arc<CertifiedKey>>);

impl Turncoat {
    fn turn(&self, leaf: &TestLeaf) {
        *self.0.lock().unwrap() = certified(leaf);
    }
}

impl ResolvesClientCert for Turncoat {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().unwrap().clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(leaf: &TestLeaf) -> Arc<CertifiedKey> {
    let key = aws_lc_rs::sign::any_supported_type(&leaf.key()).unwrap();
    Arc::new(CertifiedKey::new(leaf.chain().to_vec(), key))
}

/// A client that offers every session it was ever given.
struct HostileClient {
    config: Arc<ClientConfig>,
    store: Arc<Store>,
    identity: Arc<Turncoat>,
}

/// How the client's connection went.
#[derive(Debug, PartialEq)]
struct Seen {
    kind: Option<HandshakeKind>,
    tickets: u32,
}

impl HostileClient {
    fn new(pki: &TestPki, version: &'static SupportedProtocolVersion) -> Self {
        let store = Arc::new(Store::new());
        let identity = Arc::new(Turncoat(Mutex::new(certified(&pki.felix))));
        let mut config = client_config(None, version);
        config.resumption = Resumption::store(store.clone());
        config.client_auth_cert_resolver = identity.clone();
        Self { config: Arc::new(config), store, identity }
    }

    /// What Typha decides, and what the client sees until then.
    async fn connect(&self, acceptor: &TyphaAcceptor) -> (Outcome, Option<Seen>) {
        let (typha, felix) = duplex(64 * 1024);
        tokio::join!(
            async {
                match acceptor.accept(typha).await {
                    Ok(mut stream) => {
                        stream.shutdown().await.unwrap();
                        Outcome::ACCEPTED
                    }
                    refused => Outcome::of(refused),
                }
            },
            self.look(felix)
        )
    }

    async fn look(&self, io: tokio::io::DuplexStream) -> Option<Seen> {
        let mut tls = TlsConnector::from(self.config.clone()).connect(no_name(), io).await.ok()?;
        tls.read_to_end(&mut Vec::new()).await.ok()?;
        let connection = tls.get_ref().1;
        Some(Seen { kind: connection.handshake_kind(), tickets: connection.tls13_tickets_received() })
    }

    fn offered(&self) -> usize {
        self.store.offered.load(SeqCst)
    }

    fn given(&self) -> usize {
        self.store.given.load(SeqCst)
    }
}

/// How many sessions a Typha of this crate hands out: in TLS 1.3 one ticket, by which Felix knows that it is accepted.
fn tickets(version: &SupportedProtocolVersion) -> u32 {
    u32::from(version.version == ProtocolVersion::TLSv1_3)
}

/// A Typha that resumes, with tickets and with session identifiers.
fn resuming_server(pki: &TestPki, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
    let mut config = server_config(&pki.typha, version);
    config.session_storage = ServerSessionMemoryCache::new(16);
    Arc::new(config)
}

#[test]
fn a_session_that_is_offered_again_is_not_resumed() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            let (acceptor, client) = (acceptor(&pki, version), HostileClient::new(&pki, version));
            let full = Seen { kind: Some(HandshakeKind::Full), tickets: tickets(version) };
            for round in 0..3 {
                let (outcome, seen) = client.connect(&acceptor).await;
                assert_eq!((outcome, seen.as_ref()), (Outcome::ACCEPTED, Some(&full)), "{version:?}");
                assert_eq!(client.given(), (round + 1) * tickets(version) as usize);
                assert_eq!(client.offered(), round * tickets(version) as usize);
            }
        }
    });
}

/// The client has something to offer in TLS 1.2 too, if another server gave it.
#[test]
fn a_session_of_an_accomplice_is_not_resumed() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            let client = HostileClient::new(&pki, version);
            let accomplice = TlsAcceptor::from(resuming_server(&pki, version));
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let (typha, felix) = duplex(64 * 1024);
                let (seen, ()) = tokio::join!(client.look(felix), async {
                    accomplice.accept(typha).await.unwrap().shutdown().await.unwrap();
                });
                kinds.push(seen.unwrap().kind.unwrap());
            }
            // The attack works, where it can.
            assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
            let offered = client.offered();
            let (outcome, seen) = client.connect(&acceptor(&pki, version)).await;
            assert_eq!(outcome, Outcome::ACCEPTED);
            assert_eq!(seen.unwrap().kind, Some(HandshakeKind::Full));
            assert_eq!(client.offered(), offered + 1);
        }
    });
}

#[test]
fn who_was_accepted_once_is_judged_again() {
    bounded(|| async {
        let pki = pki();
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let long_gone = an_hour_ago - Duration::from_secs(3600);
        let expired = pki.ca.issue(felix_spec().valid(long_gone, an_hour_ago)).unwrap();
        let renamed = pki.ca.issue(felix_spec().common_name("intruder")).unwrap();
        for version in VERSIONS {
            let acceptor = acceptor(&pki, version);
            for (leaf, reason) in [(&expired, "expired"), (&renamed, "identity_mismatch")] {
                let client = HostileClient::new(&pki, version);
                assert_eq!(client.connect(&acceptor).await.0, Outcome::ACCEPTED);
                client.identity.turn(leaf);
                assert_eq!(client.connect(&acceptor).await, (Outcome::Rejected(reason), None));
                assert_eq!(client.offered(), tickets(version) as usize);
            }
            // The same, where it is Typha's mind that has changed.
            let client = HostileClient::new(&pki, version);
            assert_eq!(client.connect(&acceptor).await.0, Outcome::ACCEPTED);
            let strict = acceptor_requiring(&pki, "someone-else", version);
            assert_eq!(client.connect(&strict).await, (Outcome::Rejected("identity_mismatch"), None));
        }
    });
}

#[test]
fn no_client_resumes_with_a_server_that_would() {
    bounded(|| async {
        let pki = pki();
        for (version, role) in VERSIONS.into_iter().flat_map(|version| CLIENTS.map(|role| (version, role))) {
            let server = TlsAcceptor::from(resuming_server(&pki, version));
            let client = Client::new(role, &pki, version);
            for _ in 0..3 {
                let (typha, felix) = duplex(64 * 1024);
                let (outcome, kind) =
                    tokio::join!(async { Outcome::of(client.connect(felix).await) }, async {
                        server.accept(typha).await.unwrap().get_ref().1.handshake_kind()
                    },);
                assert_eq!((outcome, kind), (Outcome::ACCEPTED, Some(HandshakeKind::Full)));
            }
        }
    });
}

//! Peers that kept sessions from before, and whose chain was verified before: it helps none of them after a reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::{
    AlertDescription, ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, RootCertStore, ServerConfig,
    SupportedProtocolVersion,
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use typha_tls::error::alert_of;
use typha_tls::testing::{CertificateSpec, TestCa, TestLeaf};
use typha_tls::{Role, TyphaAcceptor};

use super::changes::{Change, Judge};
use super::held::when_asked;
use crate::hostile::{
    Outcome, RawPeer, VERSIONS, bounded, client_config, no_name, pki, provider, server_config,
};

/// Remembers sessions, and how many of them were offered.
#[derive(Debug)]
struct Store {
    sessions: ClientSessionMemoryCache,
    offered: AtomicUsize,
}

impl Store {
    fn count<T>(&self, session: Option<T>) -> Option<T> {
        self.offered.fetch_add(usize::from(session.is_some()), SeqCst);
        session
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
        self.sessions.set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.count(self.sessions.tls12_session(name))
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.sessions.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.sessions.insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.count(self.sessions.take_tls13_ticket(name))
    }
}

/// A Felix that offers every session that it was ever given.
struct HostileFelix {
    config: Arc<ClientConfig>,
    store: Arc<Store>,
}

impl HostileFelix {
    fn new(leaf: &TestLeaf, version: &'static SupportedProtocolVersion) -> Self {
        let (sessions, offered) = (ClientSessionMemoryCache::new(64), AtomicUsize::new(0));
        let store = Arc::new(Store { sessions, offered });
        let mut config = client_config(Some(leaf), version);
        config.resumption = Resumption::store(store.clone());
        Self { config: Arc::new(config), store }
    }

    /// What kind of handshake it was, or the alert.
    async fn look(&self, io: DuplexStream) -> Result<HandshakeKind, AlertDescription> {
        let looked = async {
            let mut tls = TlsConnector::from(self.config.clone()).connect(no_name(), io).await?;
            tls.read_to_end(&mut Vec::new()).await?;
            Ok(tls.get_ref().1.handshake_kind().unwrap())
        };
        looked.await.map_err(|error| alert_of(&error).unwrap())
    }

    async fn connect(&self, typha: &TyphaAcceptor) -> (Outcome, Result<HandshakeKind, AlertDescription>) {
        let (typha_io, felix_io) = duplex(64 * 1024);
        let accepting = async {
            match typha.accept(typha_io).await {
                Ok(mut stream) => {
                    stream.shutdown().await.unwrap();
                    Outcome::Accepted(stream.acceptance())
                }
                refused => Outcome::of(refused),
            }
        };
        tokio::join!(accepting, self.look(felix_io))
    }

    /// With a server that is not this crate's.
    async fn visit(&self, server: &Arc<ServerConfig>) -> Result<HandshakeKind, AlertDescription> {
        let (typha_io, felix_io) = duplex(64 * 1024);
        let serving = async {
            if let Ok(mut tls) = TlsAcceptor::from(server.clone()).accept(typha_io).await {
                tls.shutdown().await.unwrap();
            }
        };
        tokio::join!(self.look(felix_io), serving).0
    }

    fn take_offered(&self) -> usize {
        self.store.offered.swap(0, SeqCst)
    }
}

const FULL: (Outcome, Result<HandshakeKind, AlertDescription>) = (Outcome::ACCEPTED, Ok(HandshakeKind::Full));

#[test]
fn a_felix_that_kept_sessions_stays_out() {
    bounded(|| async {
        for version in VERSIONS {
            for change in Change::ALL {
                let judge = Judge::new(Role::Typha, version);
                let typha = judge.typha();
                let felix = HostileFelix::new(&judge.peer, version);
                // In TLS 1.3 Typha gives a ticket, by which Felix knows that it is accepted. In TLS 1.2 there is
                // nothing to keep.
                let own = usize::from(version.version == ProtocolVersion::TLSv1_3);
                assert_eq!(felix.connect(&typha).await, FULL);
                assert_eq!(felix.connect(&typha).await, FULL);
                assert_eq!(felix.take_offered(), own);

                judge.change(change, |source| typha.follow(source, when_asked())).await;
                let (reason, alert) = change.refusal();
                let refused = (Outcome::Rejected(reason), Err(alert));
                assert_eq!(felix.connect(&typha).await, refused, "{version:?}");
                assert_eq!(felix.take_offered(), own);
                // What an accomplice gives it is worth as little.
                let mut accomplice = server_config(&judge.peer, version);
                accomplice.session_storage = ServerSessionMemoryCache::new(64);
                let accomplice = Arc::new(accomplice);
                for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                    assert_eq!(felix.visit(&accomplice).await, Ok(kind));
                }
                felix.take_offered();
                for _ in 0..3 {
                    assert_eq!(felix.connect(&typha).await, refused, "{version:?}");
                }
                assert!(felix.take_offered() > 0);
            }
        }
    });
}

/// What the others are spared: with sessions that outlive a change of the configuration, the same Felix gets in.
#[test]
fn the_attack_is_real() {
    bounded(|| async {
        for version in VERSIONS {
            let pki = pki();
            let other = TestCa::new(CertificateSpec::ca("other-ca")).unwrap();
            let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(64);
            let [before, after] = [&pki.ca, &other].map(|ca| {
                let mut roots = RootCertStore::empty();
                roots.add(ca.root().clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots.into(), provider(version)).build();
                let mut config = ServerConfig::builder_with_provider(provider(version))
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_client_cert_verifier(verifier.unwrap())
                    .with_single_cert(pki.typha.chain().to_vec(), pki.typha.key())
                    .unwrap();
                config.session_storage = sessions.clone();
                Arc::new(config)
            });
            let felix = HostileFelix::new(&pki.felix, version);
            assert_eq!(felix.visit(&before).await, Ok(HandshakeKind::Full));
            assert_eq!(felix.visit(&after).await, Ok(HandshakeKind::Resumed));
            let newcomer = HostileFelix::new(&pki.felix, version);
            assert_eq!(newcomer.visit(&after).await, Err(AlertDescription::UnknownCA));
        }
    });
}

#[test]
fn a_typha_that_kept_sessions_stays_out() {
    bounded(|| async {
        for version in VERSIONS {
            for change in Change::ALL {
                let judge = Judge::new(Role::Felix, version);
                let felix = judge.felix();
                let mut typha = server_config(&judge.peer, version);
                typha.session_storage = ServerSessionMemoryCache::new(64);
                let typha = Arc::new(typha);
                for _ in 0..2 {
                    let (typha_io, felix_io) = duplex(64 * 1024);
                    let accepting = TlsAcceptor::from(typha.clone()).accept(typha_io);
                    let (felix, typha) = tokio::join!(felix.connect(felix_io), accepting);
                    assert_eq!(Outcome::of(felix), Outcome::ACCEPTED);
                    assert_eq!(typha.unwrap().get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
                }

                judge.change(change, |source| felix.follow(source, when_asked())).await;
                let (reason, alert) = change.refusal();
                for _ in 0..3 {
                    let (typha_io, felix_io) = duplex(64 * 1024);
                    let mut typha = RawPeer::server((*typha).clone(), typha_io);
                    let (felix, heard) = tokio::join!(felix.connect(felix_io), typha.refusal());
                    assert_eq!(Outcome::of(felix), Outcome::Rejected(reason), "{version:?}");
                    assert_eq!(heard.unwrap(), rustls::Error::AlertReceived(alert));
                }
            }
        }
    });
}

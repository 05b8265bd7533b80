//! A CA, our own leaf, and servers of rustls on loopback.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use typha_tls::host::{HostConnector, HostTlsConfig};
use typha_tls::material::HostMaterial;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};
use typha_tls::{AuthenticatedStream, HandshakeError, ServerHost};

pub(crate) const NAME: &str = "etcd-1.example";

/// Far beyond what any of it takes.
pub(crate) async fn bounded<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("it takes too long")
}

pub(crate) fn host(host: &str) -> ServerHost {
    ServerHost::new(host).unwrap()
}

/// A server's leaf for [`NAME`] and for both loopback addresses.
pub(crate) fn server_spec() -> CertificateSpec {
    let loopback = |address: &str| address.parse::<IpAddr>().unwrap();
    CertificateSpec::leaf("etcd")
        .dns_san(NAME)
        .dns_san("localhost")
        .ip_san(loopback("127.0.0.1"))
        .ip_san(loopback("::1"))
        .purpose(Purpose::ServerAuth)
}

pub(crate) fn own_spec() -> CertificateSpec {
    CertificateSpec::leaf("felix").purpose(Purpose::ClientAuth)
}

pub(crate) struct Site {
    pub(crate) ca: TestCa,
    pub(crate) own: TestLeaf,
    pub(crate) server: TestLeaf,
}

impl Site {
    pub(crate) fn new() -> Self {
        let ca = TestCa::new(CertificateSpec::ca("etcd-ca")).unwrap();
        let (own, server) = (ca.issue(own_spec()).unwrap(), ca.issue(server_spec()).unwrap());
        Self { ca, own, server }
    }

    pub(crate) fn config(&self, own: Option<&TestLeaf>) -> HostTlsConfig {
        config_of(&self.ca, own, policy())
    }

    /// Presents our own leaf.
    pub(crate) fn connector(&self) -> HostConnector {
        HostConnector::new(self.config(Some(&self.own)))
    }

    /// A server with the leaf of this site.
    pub(crate) async fn serve(&self, clients: Clients) -> Server {
        Server::bind(server_config(&self.ca, &self.server, clients)).await
    }
}

pub(crate) fn policy() -> TlsPolicy {
    TlsPolicy::builder().build().unwrap()
}

pub(crate) fn config_of(ca: &TestCa, own: Option<&TestLeaf>, policy: TlsPolicy) -> HostTlsConfig {
    let own = own.map(|own| own.credentials(policy.provider()).unwrap());
    HostTlsConfig::new(HostMaterial::new(ca.trust_bundle().unwrap(), own), policy)
}

/// What a server does about the certificates of its clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Clients {
    Ignored,
    Requested,
    Required,
}

/// A server that presents `leaf`, and accepts clients of `ca`.
pub(crate) fn server_config(ca: &TestCa, leaf: &TestLeaf, clients: Clients) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(ca.root().clone()).unwrap();
    let provider: Arc<CryptoProvider> = aws_lc_rs::default_provider().into();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let verifier = match clients {
        Clients::Ignored => WebPkiClientVerifier::no_client_auth(),
        Clients::Requested => verifier.allow_unauthenticated().build().unwrap(),
        Clients::Required => verifier.build().unwrap(),
    };
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(leaf.chain().to_vec(), leaf.key())
        .unwrap()
}

pub(crate) struct Server {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

impl Server {
    pub(crate) async fn bind(config: ServerConfig) -> Self {
        Self::bind_to("127.0.0.1", config).await
    }

    pub(crate) async fn bind_to(address: &str, config: ServerConfig) -> Self {
        Self { listener: TcpListener::bind((address, 0)).await.unwrap(), config: config.into() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address().port()
    }

    pub(crate) async fn accept_tcp(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    pub(crate) async fn accept(&self) -> io::Result<TlsStream<TcpStream>> {
        tokio_rustls::TlsAcceptor::from(self.config.clone()).accept(self.accept_tcp().await).await
    }

    /// What both ends see of a handshake.
    pub(crate) async fn meet(&self, connector: &HostConnector, name: &str) -> (Met, Accepted) {
        let tcp = TcpStream::connect(self.address()).await.unwrap();
        let name = host(name);
        bounded(async { tokio::join!(connector.connect_tcp(&name, tcp), self.accept()) }).await
    }

    /// Answers each byte by itself, on every connection, until the server is dropped.
    pub(crate) fn echo(self) -> Echo {
        let address = self.address();
        let task = tokio::spawn(async move {
            loop {
                // A client that goes away is no fault of the server.
                let Ok(mut stream) = self.accept().await else { continue };
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        if stream.write_u8(byte).await.is_err() || stream.flush().await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Echo { address, task }
    }
}

pub(crate) type Met = Result<AuthenticatedStream<TcpStream>, HandshakeError>;
pub(crate) type Accepted = io::Result<TlsStream<TcpStream>>;

pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

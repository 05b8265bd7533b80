//! The client's end of a handshake, by either rule.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::SupportedProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use typha_tls::host::{HostConnector, HostTlsConfig};
use typha_tls::material::HostMaterial;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{TestLeaf, TestPki};
use typha_tls::{AcceptanceMode, AuthenticatedStream, FelixConnector, HandshakeError, Role, ServerHost};

use super::{connector_with, provider};

/// The DNS name of the server's leaf.
pub(crate) const SERVER_NAME: &str = "typha.example";

/// Felix, or a client that verifies the server for [`SERVER_NAME`].
#[derive(Clone)]
pub(crate) enum Client {
    Felix(FelixConnector),
    Host(HostConnector),
}

/// The roles of the client's end.
pub(crate) const CLIENTS: [Role; 2] = [Role::Felix, Role::Client];

type Handshake<IO> = Pin<Box<dyn Future<Output = Result<AuthenticatedStream<IO>, HandshakeError>> + Send>>;

impl Client {
    /// The client's end in this role, speaking one version, with the leaf of Felix.
    pub(crate) fn new(role: Role, pki: &TestPki, version: &SupportedProtocolVersion) -> Self {
        Self::with_leaf(role, pki, &pki.felix, version)
    }

    pub(crate) fn with_leaf(
        role: Role,
        pki: &TestPki,
        leaf: &TestLeaf,
        version: &SupportedProtocolVersion,
    ) -> Self {
        match role {
            Role::Client => {
                let policy = TlsPolicy::builder().provider(provider(version)).build().unwrap();
                let own = leaf.credentials(policy.provider()).unwrap();
                let material = HostMaterial::new(pki.ca.trust_bundle().unwrap(), Some(own));
                Self::Host(HostConnector::new(HostTlsConfig::new(material, policy)))
            }
            _ => Self::Felix(connector_with(pki, leaf, version)),
        }
    }

    pub(crate) fn connect<IO>(&self, io: IO) -> Handshake<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self {
            Self::Felix(felix) => Box::pin(felix.connect(io)),
            Self::Host(client) => Box::pin(client.connect(&server_host(), io)),
        }
    }

    pub(crate) fn connect_tcp(&self, stream: TcpStream) -> Handshake<TcpStream> {
        match self {
            Self::Felix(felix) => Box::pin(felix.connect_tcp(stream)),
            Self::Host(client) => Box::pin(client.connect_tcp(&server_host(), stream)),
        }
    }

    pub(crate) fn with_acceptance(self, mode: AcceptanceMode) -> Self {
        match self {
            Self::Felix(felix) => Self::Felix(felix.with_acceptance(mode)),
            Self::Host(client) => Self::Host(client.with_acceptance(mode)),
        }
    }

    pub(crate) fn with_handshake_timeout(self, timeout: Duration) -> Self {
        match self {
            Self::Felix(felix) => Self::Felix(felix.with_handshake_timeout(timeout)),
            Self::Host(client) => Self::Host(client.with_handshake_timeout(timeout)),
        }
    }

    pub(crate) fn with_read_timeout(self, timeout: Option<Duration>) -> Self {
        match self {
            Self::Felix(felix) => Self::Felix(felix.with_read_timeout(timeout)),
            Self::Host(client) => Self::Host(client.with_read_timeout(timeout)),
        }
    }

    pub(crate) fn with_write_timeout(self, timeout: Option<Duration>) -> Self {
        match self {
            Self::Felix(felix) => Self::Felix(felix.with_write_timeout(timeout)),
            Self::Host(client) => Self::Host(client.with_write_timeout(timeout)),
        }
    }
}

fn server_host() -> ServerHost {
    ServerHost::new(SERVER_NAME).unwrap()
}

//! A client of either rule.

use rustls::SupportedProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite};
use typha_tls::host::{HostConnector, HostTlsConfig};
use typha_tls::material::HostMaterial;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::TestPki;
use typha_tls::{AcceptanceMode, AuthenticatedStream, FelixConnector, HandshakeError, Role, ServerHost};

use super::{connector, provider};

/// The host that the certificate of Typha is valid for.
pub(crate) const HOST: &str = "typha.example";

/// A client of the Typha of the PKI. Felix accepts it by its Common Name, and the other one for its host.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    Felix(FelixConnector),
    Host(HostConnector),
}

impl Client {
    /// The client that is the end in `role`, or else Felix, speaking one version.
    pub(crate) fn of(role: Role, pki: &TestPki, version: &SupportedProtocolVersion) -> Self {
        if role == Role::Client {
            Self::Host(host_connector(pki, version))
        } else {
            Self::Felix(connector(pki, version))
        }
    }

    pub(crate) fn with_acceptance(self, mode: AcceptanceMode) -> Self {
        match self {
            Self::Felix(felix) => Self::Felix(felix.with_acceptance(mode)),
            Self::Host(client) => Self::Host(client.with_acceptance(mode)),
        }
    }

    pub(crate) fn with_handshake_timeout(self, timeout: std::time::Duration) -> Self {
        match self {
            Self::Felix(felix) => Self::Felix(felix.with_handshake_timeout(timeout)),
            Self::Host(client) => Self::Host(client.with_handshake_timeout(timeout)),
        }
    }

    pub(crate) async fn connect<IO>(&self, io: IO) -> Result<AuthenticatedStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match self {
            Self::Felix(felix) => felix.connect(io).await,
            Self::Host(client) => client.connect(&ServerHost::new(HOST).unwrap(), io).await,
        }
    }
}

/// The client's end by the host rule, with the certificate of Felix, speaking one version.
pub(crate) fn host_connector(pki: &TestPki, version: &SupportedProtocolVersion) -> HostConnector {
    let policy = TlsPolicy::builder().provider(provider(version)).build().unwrap();
    let credentials = pki.felix.credentials(policy.provider()).unwrap();
    let material = HostMaterial::new(pki.ca.trust_bundle().unwrap(), Some(credentials));
    HostConnector::new(HostTlsConfig::new(material, policy))
}

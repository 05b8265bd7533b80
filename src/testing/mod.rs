//! A throw-away PKI, and acceptors and connectors that match, for tests (feature `testing`).
//!
//! ```
//! use typha_tls::testing::{TestPki, handshake};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pki = TestPki::new()?;
//! let (typha, felix) = handshake(&pki.acceptor()?, &pki.connector()?).await;
//! assert_eq!(typha?.peer().identity().common_name(), Some("typha-client"));
//! assert_eq!(felix?.peer().identity().common_name(), Some("typha-server"));
//! # Ok(())
//! # }
//! ```
//!
//! To make a peer that is refused, use your own leaf:
//!
//! ```
//! use typha_tls::RequiredIdentity;
//! use typha_tls::testing::{CertificateSpec, Purpose, TestPki, connector, handshake};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pki = TestPki::new()?;
//! let mallory = pki.ca.issue(CertificateSpec::leaf("mallory").purpose(Purpose::ClientAuth))?;
//! // The CA that it trusts, its own leaf, and the identity that it requires of the other end.
//! let felix = connector(&pki.ca, &mallory, RequiredIdentity::common_name("typha-server")?)?;
//! let (typha, felix) = handshake(&pki.acceptor()?, &felix).await;
//! assert_eq!(typha.unwrap_err().label(), "identity_mismatch");
//! assert_eq!(felix.unwrap_err().label(), "refused_by_peer");
//! # Ok(())
//! # }
//! ```
//!
//! A function that takes a [`Connection`](crate::Connection) needs a listener on loopback: bind a
//! [`TyphaListener`](crate::TyphaListener) to `127.0.0.1:0`, and connect with
//! [`connect_tcp`](crate::FelixConnector::connect_tcp). The counts and observers of a listener may come shortly after
//! the peer has seen the result.
//!
//! # Security
//!
//! For tests only: the keys are in memory and can be read freely.

mod certificates;
mod clock;

use rustls::crypto::CryptoProvider;
use tokio::io::DuplexStream;

pub use certificates::{CertificateSpec, KeyType, PkiError, Purpose, StringType, TestCa, TestLeaf};
pub use clock::TestClock;

use crate::error::HandshakeError;
use crate::identity::RequiredIdentity;
use crate::material::Material;
use crate::policy::TlsPolicy;
use crate::stream::AuthenticatedStream;
use crate::tls_config::TlsConfig;
use crate::{FelixConnector, TyphaAcceptor};

/// The Common Name of [`TestPki::felix`], as in Calico's documentation.
pub const FELIX_COMMON_NAME: &str = "typha-client";
/// The Common Name of [`TestPki::typha`], as in Calico's documentation.
pub const TYPHA_COMMON_NAME: &str = "typha-server";
/// The SPIFFE ID of [`TestPki::felix`].
pub const FELIX_SPIFFE_ID: &str = "spiffe://cluster.local/ns/calico-system/sa/calico-node";
/// The SPIFFE ID of [`TestPki::typha`].
pub const TYPHA_SPIFFE_ID: &str = "spiffe://cluster.local/ns/calico-system/sa/calico-typha";

/// A CA, and a leaf with Common Name and SPIFFE ID for each end.
#[derive(Debug)]
pub struct TestPki {
    /// The CA of both leaves.
    pub ca: TestCa,
    /// Felix's leaf: CN `typha-client`, for client authentication.
    pub felix: TestLeaf,
    /// Typha's leaf: CN `typha-server`, for server authentication.
    pub typha: TestLeaf,
}

impl TestPki {
    /// Makes the CA and the leaves, with P-256 keys.
    ///
    /// # Errors
    ///
    /// [`PkiError`] if the system gives no randomness.
    pub fn new() -> Result<Self, PkiError> {
        let ca = TestCa::new(CertificateSpec::ca("calico-typha-ca"))?;
        let leaf = |name, id, purpose| ca.issue(CertificateSpec::leaf(name).uri_san(id).purpose(purpose));
        let felix = leaf(FELIX_COMMON_NAME, FELIX_SPIFFE_ID, Purpose::ClientAuth)?;
        let typha = leaf(TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID, Purpose::ServerAuth)?;
        Ok(Self { ca, felix, typha })
    }

    /// An acceptor that requires the name or the SPIFFE ID of [`felix`](Self::felix).
    ///
    /// # Errors
    ///
    /// [`PkiError`].
    pub fn acceptor(&self) -> Result<TyphaAcceptor, PkiError> {
        acceptor(&self.ca, &self.typha, RequiredIdentity::either(FELIX_COMMON_NAME, FELIX_SPIFFE_ID)?)
    }

    /// A connector that requires the name or the SPIFFE ID of [`typha`](Self::typha).
    ///
    /// # Errors
    ///
    /// [`PkiError`].
    pub fn connector(&self) -> Result<FelixConnector, PkiError> {
        connector(&self.ca, &self.felix, RequiredIdentity::either(TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID)?)
    }
}

/// An acceptor that presents `typha` and requires of Felix a certificate of `felix_ca` with the identity `required`.
///
/// # Errors
///
/// [`PkiError`].
pub fn acceptor(
    felix_ca: &TestCa,
    typha: &TestLeaf,
    required: RequiredIdentity,
) -> Result<TyphaAcceptor, PkiError> {
    Ok(TyphaAcceptor::new(config(felix_ca, typha, required)?))
}

/// A connector that presents `felix` and requires of Typha a certificate of `typha_ca` with the identity `required`.
///
/// # Errors
///
/// [`PkiError`].
pub fn connector(
    typha_ca: &TestCa,
    felix: &TestLeaf,
    required: RequiredIdentity,
) -> Result<FelixConnector, PkiError> {
    Ok(FelixConnector::new(config(typha_ca, felix, required)?))
}

fn config(peer_ca: &TestCa, leaf: &TestLeaf, required: RequiredIdentity) -> Result<TlsConfig, PkiError> {
    let policy = TlsPolicy::builder().build()?;
    Ok(TlsConfig::new(material(peer_ca, leaf, policy.provider())?, required, policy))
}

/// The material of an end that trusts `peer_ca` and presents `leaf`.
///
/// # Errors
///
/// [`PkiError`].
pub fn material(peer_ca: &TestCa, leaf: &TestLeaf, provider: &CryptoProvider) -> Result<Material, PkiError> {
    Ok(Material::new(peer_ca.trust_bundle()?, leaf.credentials(provider)?))
}

/// The result of [`handshake`] for one end.
pub type HandshakeResult = Result<AuthenticatedStream<DuplexStream>, HandshakeError>;

/// Performs a handshake in memory. Returns the results of Typha's end and Felix's end.
pub async fn handshake(
    acceptor: &TyphaAcceptor,
    connector: &FelixConnector,
) -> (HandshakeResult, HandshakeResult) {
    let (typha, felix) = tokio::io::duplex(64 * 1024);
    let typha = acceptor.accept(typha);
    let felix = connector.connect(felix);
    tokio::join!(typha, felix)
}

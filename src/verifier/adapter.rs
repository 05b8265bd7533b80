//! How rustls asks: thin adapters from its two verifier traits to [`PeerVerifier::verify`].

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::ServerName;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use tracing::warn;

use super::{PeerVerifier, Rejection, VerifiedPeer};
use crate::role::Role;

/// What the verifier said in one handshake.
type Verdict = Result<VerifiedPeer, Rejection>;

tokio::task_local! {
    /// Where the verdict of the handshake that is being polled goes.
    ///
    /// rustls tells its verifier nothing of the connection, but calls it from within the poll of the connection's future.
    /// Scoping the slot to that future lets all connections share one rustls configuration, and judges no peer twice.
    static VERDICT: RefCell<Option<Verdict>>;
}

/// Runs a handshake and returns its output with the verdict, if the verifier was reached.
pub(crate) async fn with_verdict<F: Future>(handshake: F) -> (F::Output, Option<Verdict>) {
    let scoped = async {
        let output = handshake.await;
        (output, VERDICT.with(RefCell::take))
    };
    VERDICT.scope(RefCell::new(None), scoped).await
}

impl PeerVerifier {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).map(borrow).collect();
        let verdict = self.verify(&chain, role, now);
        let answer = verdict.as_ref().map(drop).map_err(Rejection::to_rustls);
        // Without a slot to put it into, nobody could act on the verdict: refuse.
        VERDICT
            .try_with(|slot| slot.replace(Some(verdict)))
            .map_err(|_| Error::General("the handshake was not started by this crate".to_owned()))?;
        answer
    }
}

fn borrow<'a>(certificate: &'a CertificateDer<'_>) -> CertificateDer<'a> {
    CertificateDer::from(certificate.as_ref())
}

/// The bytes of CA names that a server hints at most. TLS has room for 64 KiB, together with all else in that message;
/// without hints a client presents what it has.
const MAX_HINTS_SIZE: usize = 32 * 1024;

/// Judges Felix on Typha's end.
pub(crate) struct ClientVerifier {
    verifier: Arc<PeerVerifier>,
    hints: Vec<DistinguishedName>,
}

impl ClientVerifier {
    pub(crate) fn new(verifier: Arc<PeerVerifier>) -> Self {
        let mut hints = verifier.trust_bundle.distinguished_names();
        let size: usize = hints.iter().map(|name| name.as_ref().len() + 2).sum();
        if size > MAX_HINTS_SIZE {
            warn!(size, "the names of the trusted CAs are too long to be hinted to clients");
            hints.clear();
        }
        Self { verifier, hints }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verifier.judge(leaf, intermediates, Role::Felix, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.verifier.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.verifier.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.algorithms.supported_schemes()
    }
}

/// Judges Typha on Felix's end.
pub(crate) struct ServerVerifier(Arc<PeerVerifier>);

impl ServerVerifier {
    pub(crate) fn new(verifier: Arc<PeerVerifier>) -> Self {
        Self(verifier)
    }
}

impl ServerCertVerifier for ServerVerifier {
    /// Typha's name is deliberately not looked at: which Typha answers does not matter, what it may do does.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.judge(leaf, intermediates, Role::Typha, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.0.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.0.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientVerifier").field(&self.verifier).finish()
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerVerifier").field(&self.0).finish()
    }
}

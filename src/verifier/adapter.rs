//! How rustls asks: thin adapters from its verifier traits to [`PeerVerifier::verify`], and its source of our
//! certificate.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::ServerName;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use tracing::warn;

use super::{Accepted, PeerVerifier, Rejection};
use crate::role::Role;

/// What rustls asked in one handshake, and what it was told.
#[derive(Default)]
pub(crate) struct Asked {
    /// What the verifier said; `None` if it was not reached. Boxed, as this is moved each time the handshake is polled.
    pub(crate) verdict: Option<Result<Accepted, Box<Rejection>>>,
    /// Felix's end only: whether Typha asked for a certificate.
    pub(crate) for_certificate: bool,
}

tokio::task_local! {
    /// Where what is asked in the handshake that is being polled is noted.
    ///
    /// rustls tells its verifier nothing of the connection, but calls it from within the poll of the connection's
    /// future. Scoping the slot to that future lets all connections share one rustls configuration, and judges no peer
    /// twice.
    static ASKED: RefCell<Asked>;
}

/// Runs a handshake and returns its output with what was asked in it.
pub(crate) async fn with_asked<F: Future>(handshake: F) -> (F::Output, Asked) {
    let scoped = async {
        let output = handshake.await;
        (output, ASKED.with(RefCell::take))
    };
    ASKED.scope(RefCell::default(), scoped).await
}

impl PeerVerifier {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        let verdict = self.verify_parts(leaf, intermediates, role, now).map_err(Box::new);
        let answer = verdict.as_ref().map(drop).map_err(|rejection| rejection.to_rustls());
        // Without a slot to put it into, nobody could act on the verdict: refuse.
        ASKED
            .try_with(|asked| asked.borrow_mut().verdict = Some(verdict))
            .map_err(|_| Error::General("the handshake was not started by this crate".to_owned()))?;
        answer
    }
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

/// Presents Felix's certificate, and notes that it was asked for: a Typha that does not ask lets anyone in.
#[derive(Debug)]
pub(crate) struct ClientCertificate(Arc<CertifiedKey>);

impl ClientCertificate {
    pub(crate) fn new(certified_key: Arc<CertifiedKey>) -> Self {
        Self(certified_key)
    }
}

impl ResolvesClientCert for ClientCertificate {
    /// Whatever CAs Typha hints at: whether it accepts the certificate is for it to say.
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Outside of a handshake of this crate there is nobody to tell.
        let _ = ASKED.try_with(|asked| asked.borrow_mut().for_certificate = true);
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
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

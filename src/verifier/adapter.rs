//! How rustls asks: its two verifier traits, and its source of our certificate.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::ServerName;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use tracing::warn;

use super::chain::TrustPeriod;
use super::rejection::Rejection;
use super::{PeerVerifier, verdict};
use crate::role::Role;

/// The bytes of CA names that a server hints at most. TLS has room for 64 KiB, together with all else in that message;
/// without hints a client presents what it has.
const MAX_HINTS_SIZE: usize = 32 * 1024;

/// Judges the other end in a handshake: Felix on Typha's end, Typha on Felix's.
#[derive(Debug)]
pub(crate) struct HandshakeVerifier {
    verifier: Arc<PeerVerifier>,
    hints: Vec<DistinguishedName>,
}

impl HandshakeVerifier {
    /// `peer` is the other end; the names of the trusted CAs are hinted to Felixes only.
    pub(crate) fn new(verifier: Arc<PeerVerifier>, peer: Role) -> Self {
        let mut hints = match peer {
            Role::Felix => verifier.trust_bundle.distinguished_names(),
            Role::Typha => Vec::new(),
        };
        let size: usize = hints.iter().map(|name| name.as_ref().len() + 2).sum();
        if size > MAX_HINTS_SIZE {
            warn!(size, "the names of the trusted CAs are too long to be hinted to clients");
            hints.clear();
        }
        Self { verifier, hints }
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), Error> {
        let judged = self.verifier.judge(leaf, intermediates, role, now, TrustPeriod::Checked);
        let answer = judged.as_ref().map(drop).map_err(Rejection::to_rustls);
        // Without a slot to put it into, nobody could act on the verdict: refuse.
        verdict::note(|verdict| verdict.peer = Some(judged.map_err(Box::new)))?;
        answer
    }
}

/// The part that both traits have: signatures over the handshake, by the provider's algorithms.
macro_rules! handshake_signatures {
    () => {
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
    };
}

impl ClientCertVerifier for HandshakeVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(leaf, intermediates, Role::Felix, now)?;
        // A client that does not use ALPN. One that offers only other protocols does not get here.
        if verdict::is_without_protocol() {
            return Err(Error::NoApplicationProtocol);
        }
        Ok(ClientCertVerified::assertion())
    }

    handshake_signatures!();
}

impl ServerCertVerifier for HandshakeVerifier {
    /// Typha's name is deliberately not looked at: which Typha answers does not matter, what it may do does.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(leaf, intermediates, Role::Typha, now).map(|()| ServerCertVerified::assertion())
    }

    handshake_signatures!();
}

/// Presents Typha's certificate, and notes what a Felix offers that has no application protocol of ours.
#[derive(Debug)]
pub(crate) struct ServerCertificate {
    certified_key: Arc<CertifiedKey>,
    alpn: Vec<Vec<u8>>,
}

impl ServerCertificate {
    pub(crate) fn new(certified_key: Arc<CertifiedKey>, alpn: Vec<Vec<u8>>) -> Self {
        Self { certified_key, alpn }
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered = || hello.alpn().into_iter().flatten();
        if !self.alpn.is_empty() && !offered().any(|name| self.alpn.iter().any(|ours| ours == name)) {
            let names =
                offered().take(verdict::MAX_OFFERED).map(|name| String::from_utf8_lossy(name).into_owned());
            let names = Some(names.collect());
            // Without a slot to put it into, the verifier could not refuse: do it here.
            verdict::note(|verdict| verdict.offered = names).ok()?;
        }
        Some(self.certified_key.clone())
    }
}

/// Presents Felix's certificate, and notes that it was requested: a Typha that does not request it lets anyone in.
#[derive(Debug)]
pub(crate) struct ClientCertificate(pub(crate) Arc<CertifiedKey>);

impl ResolvesClientCert for ClientCertificate {
    /// Whatever CAs Typha hints at: whether it accepts the certificate is for it to say.
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Outside of a handshake of this crate there is nobody to tell.
        let _ = verdict::note(|verdict| verdict.certificate_requested = true);
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

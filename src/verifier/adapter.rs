//! The traits by which rustls calls us: its two verifiers, and its two resolvers of our certificate.

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
use super::rejected::RejectedPeer;
use super::rejection::Rejection;
use super::{PeerVerifier, verdict};
use crate::role::Role;

/// The most bytes of CA names that a server sends as hints. Without hints, a client presents the certificate that it
/// has.
const MAX_HINTS_SIZE: usize = 32 * 1024;
/// What hints and our own chain may take together, because rustls receives less than 64 KiB of messages at once.
const MAX_HINTS_AND_CHAIN_SIZE: usize = 64_000;

/// Verifies the other end in a handshake: Felix on Typha's end, Typha on Felix's end.
#[derive(Debug)]
pub(crate) struct HandshakeVerifier {
    verifier: Arc<PeerVerifier>,
    hints: Vec<DistinguishedName>,
}

impl HandshakeVerifier {
    /// Verifies Felixes. The names of the trusted CAs are sent to them as hints, before our own `chain`.
    pub(crate) fn of_felix(verifier: Arc<PeerVerifier>, chain: &[CertificateDer<'_>]) -> Self {
        let mut hints = verifier.trust_bundle.distinguished_names();
        let size: usize = hints.iter().map(|name| name.as_ref().len() + 2).sum();
        let chain: usize = chain.iter().map(|certificate| certificate.len()).sum();
        if size > MAX_HINTS_SIZE || size + chain > MAX_HINTS_AND_CHAIN_SIZE {
            warn!(size, "the names of the trusted CAs are too long to be sent to clients as hints");
            hints.clear();
        }
        Self { verifier, hints }
    }

    /// Verifies Typha, to which no hints can be sent.
    pub(crate) fn of_typha(verifier: Arc<PeerVerifier>) -> Self {
        Self { verifier, hints: Vec::new() }
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
        // Without a slot for the verdict, the handshake could not read it: refuse.
        let judged = judged.map_err(|rejection| Box::new(RejectedPeer::new(rejection, Some(leaf))));
        verdict::note(|verdict| verdict.peer = Some(judged))?;
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
        // This client does not use ALPN. rustls has already refused a client that offers only other protocols.
        if verdict::is_without_protocol() {
            return Err(Error::NoApplicationProtocol);
        }
        Ok(ClientCertVerified::assertion())
    }

    handshake_signatures!();
}

impl ServerCertVerifier for HandshakeVerifier {
    /// Typha's host name is ignored on purpose: any Typha with the required identity is accepted.
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

/// Presents Typha's certificate. If Felix offers none of our application protocols, records the ones it offers.
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
            // Without a slot for them, the verifier could not refuse the client: refuse it here.
            verdict::note(|verdict| verdict.offered = names).ok()?;
        }
        Some(self.certified_key.clone())
    }
}

/// Presents Felix's certificate, and records that Typha requested it. A Typha that does not request it accepts any
/// client.
#[derive(Debug)]
pub(crate) struct ClientCertificate(pub(crate) Arc<CertifiedKey>);

impl ResolvesClientCert for ClientCertificate {
    /// The CA hints are ignored: Typha decides whether it accepts the certificate.
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Outside of a handshake of this crate there is no verdict to record it in.
        let _ = verdict::note(|verdict| verdict.certificate_requested = true);
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

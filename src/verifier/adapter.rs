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

use super::cache::Accepted;
use super::rejected::RejectedPeer;
use super::rejection::Rejection;
use super::{HostVerifier, PeerVerifier, Rule as _, verdict};
use crate::identity::ServerHost;
use crate::role::Role;

/// The most bytes of CA names that a server sends as hints. Without hints, a client presents the certificate that it
/// has.
const MAX_HINTS_SIZE: usize = 32 * 1024;
/// What hints and our own chain may take together, because rustls receives less than 64 KiB of messages at once.
const MAX_HINTS_AND_CHAIN_SIZE: usize = 64_000;

/// Verifies the other end in a handshake: Felix on Typha's end, Typha on Felix's end, and a server for its host.
#[derive(Debug)]
pub(crate) struct HandshakeVerifier<V> {
    verifier: Arc<V>,
    hints: Vec<DistinguishedName>,
}

impl HandshakeVerifier<PeerVerifier> {
    /// Verifies Felixes. The names of the trusted CAs are sent to them as hints, before our own `chain`.
    pub(crate) fn of_felix(verifier: Arc<PeerVerifier>, chain: &[CertificateDer<'_>]) -> Self {
        let mut hints = verifier.chains().trust_bundle.distinguished_names();
        let size: usize = hints.iter().map(|name| name.as_ref().len() + 2).sum();
        let chain: usize = chain.iter().map(|certificate| certificate.len()).sum();
        if size > MAX_HINTS_SIZE || size + chain > MAX_HINTS_AND_CHAIN_SIZE {
            warn!(size, "the names of the trusted CAs are too long to be sent to clients as hints");
            hints.clear();
        }
        Self { verifier, hints }
    }
}

impl<V> HandshakeVerifier<V> {
    /// Verifies a server, to which no hints can be sent.
    pub(crate) fn of_server(verifier: Arc<V>) -> Self {
        Self { verifier, hints: Vec::new() }
    }
}

/// Passes the verdict on the peer to the handshake and to rustls.
fn pass_on(judged: Result<Accepted, Rejection>, leaf: &CertificateDer<'_>) -> Result<(), Error> {
    let answer = judged.as_ref().map(drop).map_err(Rejection::to_rustls);
    // Without a slot for the verdict, the handshake could not read it: refuse.
    let judged = judged.map_err(|rejection| Box::new(RejectedPeer::new(rejection, Some(leaf))));
    verdict::note(|verdict| verdict.peer = Some(judged))?;
    answer
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
            verify_tls12_signature(message, leaf, signature, &self.verifier.chains().algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, leaf, signature, &self.verifier.chains().algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.verifier.chains().algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for HandshakeVerifier<PeerVerifier> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        pass_on(self.verifier.judge(leaf, intermediates, Role::Felix, now), leaf)?;
        // This client does not use ALPN. rustls has already refused a client that offers only other protocols.
        if verdict::is_without_protocol() {
            return Err(Error::NoApplicationProtocol);
        }
        Ok(ClientCertVerified::assertion())
    }

    handshake_signatures!();
}

impl ServerCertVerifier for HandshakeVerifier<PeerVerifier> {
    /// Typha's host name is ignored on purpose: any Typha with the required identity is accepted.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.verifier.judge(leaf, intermediates, Role::Typha, now);
        pass_on(judged, leaf).map(|()| ServerCertVerified::assertion())
    }

    handshake_signatures!();
}

impl ServerCertVerifier for HandshakeVerifier<HostVerifier> {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let host = ServerHost::of_handshake(server_name);
        let judged = self.verifier.judge(leaf, intermediates, &host, now);
        pass_on(judged, leaf).map(|()| ServerCertVerified::assertion())
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

/// Presents our certificate to a server, and records that the server requested it. A Typha that does not request it
/// accepts any client.
#[derive(Debug)]
pub(crate) struct ClientCertificate(pub(crate) Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for ClientCertificate {
    /// The CA hints are ignored: the server decides whether it accepts the certificate.
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Outside of a handshake of this crate there is no verdict to record it in.
        let _ = verdict::note(|verdict| verdict.certificate_requested = true);
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

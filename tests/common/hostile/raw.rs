//! Bare rustls ends, which do what the crate's own would not.

use std::io::{self, Read as _};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, Connection, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use typha_tls::testing::TestLeaf;

use super::provider;

/// A client that trusts every server, and presents `leaf`.
pub(crate) fn client_config(
    leaf: Option<&TestLeaf>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(provider(version))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    match leaf {
        Some(leaf) => config.with_client_auth_cert(leaf.chain().to_vec(), leaf.key()).unwrap(),
        None => config.with_no_client_auth(),
    }
}

/// A server that wants a certificate, trusts every one, and presents `leaf`.
pub(crate) fn server_config(leaf: &TestLeaf, version: &'static SupportedProtocolVersion) -> ServerConfig {
    ServerConfig::builder_with_provider(provider(version))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(Arc::new(Gullible))
        .with_single_cert(leaf.chain().to_vec(), leaf.key())
        .unwrap()
}

pub(crate) fn no_name() -> ServerName<'static> {
    ServerName::try_from("typha").unwrap()
}

/// A TLS end that is driven message by message.
pub(crate) struct RawPeer<IO> {
    pub(crate) tls: Connection,
    pub(crate) io: IO,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> RawPeer<IO> {
    pub(crate) fn client(config: ClientConfig, io: IO) -> Self {
        Self { tls: rustls::ClientConnection::new(Arc::new(config), no_name()).unwrap().into(), io }
    }

    pub(crate) fn server(config: ServerConfig, io: IO) -> Self {
        Self { tls: rustls::ServerConnection::new(Arc::new(config)).unwrap().into(), io }
    }

    /// What rustls wants to send.
    pub(crate) fn outgoing(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    pub(crate) async fn send(&mut self) -> io::Result<()> {
        let bytes = self.outgoing();
        self.io.write_all(&bytes).await?;
        self.io.flush().await
    }

    /// Receives something; 0 at the end. An alert of the other end is an error that holds the [`rustls::Error`].
    pub(crate) async fn receive(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let received = self.io.read(&mut buffer).await?;
        let mut bytes = &buffer[..received];
        loop {
            self.tls.read_tls(&mut bytes)?;
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
            self.tls.reader().read_exact(&mut plaintext)?;
            if bytes.is_empty() {
                return Ok(received);
            }
        }
    }

    /// Goes on until the handshake is complete on this end, and sends what comes of it.
    pub(crate) async fn handshake(&mut self) -> io::Result<()> {
        loop {
            self.send().await?;
            if !self.tls.is_handshaking() {
                return Ok(());
            }
            if self.receive().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Continues until the other end sends the reason for its refusal, or closes without one (which is an I/O error).
    pub(crate) async fn refusal(&mut self) -> Result<Error, io::Error> {
        loop {
            // What can not be sent any more may have been answered before.
            let _ = self.send().await;
            match self.receive().await {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) => return error.downcast::<Error>(),
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

impl ClientCertVerifier for Gullible {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

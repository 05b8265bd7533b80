//! Felix's first message, which rides with the end of its handshake.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use typha_tls::identity::RequiredIdentity;
use typha_tls::policy::TlsPolicy;
use typha_tls::stream::Acceptance;
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, Purpose, TYPHA_COMMON_NAME, TestPki, acceptor, material,
};
use typha_tls::{AcceptanceMode, FelixConnector, HandshakeError, TlsConfig};

/// Counts the writes.
struct Counting(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Relaxed);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Relaxed);
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn with_message(connector: &FelixConnector, message: Vec<u8>) -> FelixConnector {
    connector.clone().with_first_message(message).unwrap()
}

#[tokio::test]
async fn it_takes_no_write_of_its_own() {
    let pki = TestPki::new().unwrap();
    for (message, writes) in [(&b""[..], 2), (b"hello", 2)] {
        let (typha, felix) = tokio::io::duplex(64 * 1024);
        let count = Arc::new(AtomicUsize::new(0));
        let felix = Counting(felix, count.clone());
        let (acceptor, connector) = (pki.acceptor().unwrap(), pki.connector().unwrap());
        let (typha, felix) =
            tokio::join!(acceptor.accept(typha), with_message(&connector, message.to_vec()).connect(felix));
        let (mut typha, mut felix) = (typha.unwrap(), felix.unwrap());
        assert_eq!(count.load(Relaxed), writes, "ClientHello; certificate to Finished, and the message");
        assert_eq!(felix.acceptance(), Acceptance::Confirmed);

        felix.write_all(b" and more").await.unwrap();
        felix.shutdown().await.unwrap();
        let mut received = Vec::new();
        typha.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, [message, b" and more"].concat());
    }
}

#[tokio::test]
async fn it_may_be_of_any_length_up_to_16_kib_in_any_version() {
    let pki = TestPki::new().unwrap();
    let message: Vec<u8> = (0..16 * 1024_u32).map(|n| (n / 7) as u8).collect();
    for version in ["1.3", "1.2"] {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() == (version == "1.3"));
        let policy = TlsPolicy::builder().provider(Arc::new(provider)).build().unwrap();
        let config = TlsConfig::new(
            material(&pki.ca, &pki.felix, policy.provider()).unwrap(),
            RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap(),
            policy,
        );
        let connector = FelixConnector::new(config);
        for length in [1, 4096, message.len()] {
            let message = &message[..length];
            let (typha, felix) = tokio::io::duplex(16 * 1024);
            let acceptor = pki.acceptor().unwrap();
            let receive = async {
                let mut typha = acceptor.accept(typha).await.unwrap();
                let mut received = vec![0; length];
                typha.read_exact(&mut received).await.unwrap();
                typha.write_all(b"done").await.unwrap();
                received
            };
            let send = async {
                let mut felix = with_message(&connector, message.to_vec()).connect(felix).await.unwrap();
                assert_eq!(felix.tls().version(), version);
                let mut answer = [0; 4];
                felix.read_exact(&mut answer).await.unwrap();
                answer
            };
            let (received, answer) = tokio::join!(receive, send);
            assert!(received == message, "{length}");
            assert_eq!(&answer, b"done");
        }
    }
}

#[tokio::test]
async fn a_wrong_typha_never_gets_it() {
    let pki = TestPki::new().unwrap();
    let wrong = pki.ca.issue(CertificateSpec::leaf("other").purpose(Purpose::ServerAuth)).unwrap();
    let acceptor =
        acceptor(&pki.ca, &wrong, RequiredIdentity::common_name(FELIX_COMMON_NAME).unwrap()).unwrap();
    let (typha, felix) = tokio::io::duplex(64 * 1024);
    let connector = pki.connector().unwrap();
    let (typha, felix) =
        tokio::join!(acceptor.accept(typha), with_message(&connector, b"secret".to_vec()).connect(felix));
    assert_eq!(felix.unwrap_err().label(), "identity_mismatch");
    assert!(matches!(typha.unwrap_err(), HandshakeError::RefusedByPeer { .. }), "no stream to read from");
}

#[tokio::test]
async fn a_refusal_is_still_the_error_of_connect() {
    let pki = TestPki::new().unwrap();
    let typha = acceptor(&pki.ca, &pki.typha, RequiredIdentity::common_name("other").unwrap()).unwrap();
    for mode in [AcceptanceMode::default(), AcceptanceMode::Required] {
        let (typha_io, felix_io) = tokio::io::duplex(64 * 1024);
        let connector = pki.connector().unwrap().with_acceptance(mode);
        let (refused, felix) =
            tokio::join!(typha.accept(typha_io), with_message(&connector, vec![0; 5000]).connect(felix_io));
        assert_eq!(refused.unwrap_err().label(), "identity_mismatch");
        assert_eq!(felix.unwrap_err().label(), "refused_by_peer");
    }
}

#[test]
fn a_longer_one_is_an_error() {
    let connector = TestPki::new().unwrap().connector().unwrap();
    let error = connector.clone().with_first_message(vec![0; 16 * 1024 + 1]).unwrap_err();
    let text = "the first message has 16385 bytes; at most 16384 can be sent with the handshake";
    assert_eq!(error.to_string(), text);
    assert!(connector.with_first_message(vec![0; 16 * 1024]).is_ok());
}

/// Typha answers while it reads, and Felix reads nothing before it is accepted.
#[tokio::test]
async fn it_does_not_wait_for_anyone() {
    let pki = TestPki::new().unwrap();
    let (typha, felix) = tokio::io::duplex(64 * 1024);
    let (acceptor, connector) = (pki.acceptor().unwrap(), pki.connector().unwrap());
    let echo = async {
        let (mut read, mut write) = tokio::io::split(acceptor.accept(typha).await.unwrap());
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let message = vec![7; 16 * 1024];
    let ask = async {
        let mut felix = with_message(&connector, message.clone()).connect(felix).await.unwrap();
        felix.shutdown().await.unwrap();
        let mut answer = Vec::new();
        felix.read_to_end(&mut answer).await.unwrap();
        answer
    };
    assert!(tokio::join!(echo, ask).1 == message);
}

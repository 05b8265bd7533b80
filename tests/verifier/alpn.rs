//! Which application protocol two ends agree on (RFC 7301), and that none is a refusal.

use std::io;

use rustls::{AlertDescription, Error, PeerMisbehaved};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::LazyConfigAcceptor;
use typha_tls::HandshakeError;
use typha_tls::policy::{TlsPolicy, TlsPolicyBuilder};

use super::negotiation::{agreed, pair, shake};

const VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// A policy with this list, and of Felix's end one that speaks this version only.
fn policies(version: &str, typha: &[&str], felix: &[&str]) -> (TlsPolicyBuilder, TlsPolicyBuilder) {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some() == (version == "1.3"));
    (TlsPolicy::builder().alpn(typha), TlsPolicy::builder().alpn(felix).provider(provider.into()))
}

#[tokio::test]
async fn typhas_order_decides() {
    for version in VERSIONS {
        for (typha, felix, protocol) in [
            (&[][..], &[][..], None),
            (&["h2"], &["h2"], Some("h2")),
            (&["h2", "http/1.1"], &["http/1.1", "h2"], Some("h2")),
            (&["http/1.1", "h2"], &["h2", "http/1.1"], Some("http/1.1")),
            (&["h2", "http/1.1"], &["acme", "http/1.1"], Some("http/1.1")),
        ] {
            let (typha, felix) = policies(version, typha, felix);
            let facts = agreed(typha, felix).await;
            assert_eq!((facts.version(), facts.alpn()), (version, protocol.map(str::as_bytes)));
            let text = facts.to_string();
            match protocol {
                Some(protocol) => assert!(text.ends_with(&format!(", ALPN \"{protocol}\"")), "{text}"),
                None => assert!(!text.contains("ALPN"), "{text}"),
            }
        }
    }
}

#[tokio::test]
async fn typha_refuses_a_felix_with_other_protocols() {
    for version in VERSIONS {
        let (typha, felix) = policies(version, &["h2", "acme"], &["http/1.1", "evil\n"]);
        let (typha, felix) = shake(typha, felix).await;
        let error = typha.unwrap_err();
        assert_eq!(error.label(), "no_application_protocol");
        assert_eq!(
            error.to_string(),
            "no application protocol (ALPN) in common: ours are [\"h2\", \"acme\"], and the peer offers \
             [\"http/1.1\", \"evil\\n\"]"
        );
        let error = felix.unwrap_err();
        assert_eq!(error.alert(), Some(AlertDescription::NoApplicationProtocol));
        assert_eq!(
            error.to_string(),
            "the peer refused us: no_application_protocol (the peer has none of the application protocols that we \
             offer: see the ALPN list in the TLS policy of both ends)"
        );
    }
}

/// RFC 7301 would let it in. The alert is the one that rustls lets a verifier send.
#[tokio::test]
async fn typha_refuses_a_felix_without_alpn() {
    for version in VERSIONS {
        let (typha, felix) = policies(version, &["h2"], &[]);
        let (typha, felix) = shake(typha, felix).await;
        let error = typha.unwrap_err();
        assert_eq!(error.label(), "no_application_protocol");
        assert_eq!(
            error.to_string(),
            "no application protocol (ALPN) in common: ours are [\"h2\"], and the peer does not use ALPN"
        );
        let error = felix.unwrap_err();
        assert_eq!(error.alert(), Some(AlertDescription::HandshakeFailure));
        assert_eq!(
            error.to_string(),
            "the peer refused us: handshake_failure (no TLS version, cipher suite or group in common; or the peer \
             requires an application protocol, and our TLS policy has no ALPN list)"
        );
    }
}

/// Felix knows it when the handshake is complete, and so Typha has accepted it: it sees the connection end at once,
/// and never gets the first message.
#[tokio::test]
async fn felix_refuses_a_typha_without_alpn() {
    for version in VERSIONS {
        let (typha, felix) = policies(version, &[], &["h2"]);
        let (acceptor, connector) = pair(typha, felix);
        let (typha, felix) = tokio::io::duplex(64 * 1024);
        let typha = async {
            let mut stream = acceptor.accept(typha).await.unwrap();
            assert_eq!(stream.tls().alpn(), None);
            let mut received = Vec::new();
            let ended = stream.read_to_end(&mut received).await;
            (ended.unwrap_err().kind(), received)
        };
        let felix =
            async { connector.clone().with_first_message(*b"hello").unwrap().connect(felix).await.map(drop) };
        let (typha, felix) = tokio::join!(typha, felix);
        assert_eq!(typha, (io::ErrorKind::UnexpectedEof, Vec::new()));
        let error = felix.unwrap_err();
        assert_eq!(error.label(), "no_application_protocol");
        assert_eq!(
            error.to_string(),
            "no application protocol (ALPN) in common: ours are [\"h2\"], and the peer does not use ALPN"
        );
    }
}

#[tokio::test]
async fn the_first_message_follows_the_agreement() {
    for version in VERSIONS {
        let (typha, felix) = policies(version, &["h2"], &["h2"]);
        let (acceptor, connector) = pair(typha, felix);
        for length in [0, 5, 16 * 1024] {
            let message = vec![7; length];
            let (typha, felix) = tokio::io::duplex(64 * 1024);
            let (typha, felix) = tokio::join!(
                acceptor.accept(typha),
                connector.clone().with_first_message(message.clone()).unwrap().connect(felix)
            );
            let (mut typha, mut felix) = (typha.unwrap(), felix.unwrap());
            felix.shutdown().await.unwrap();
            let mut received = Vec::new();
            typha.read_to_end(&mut received).await.unwrap();
            assert!(received == message, "{version}, {length} bytes");
        }
    }
}

#[tokio::test]
async fn of_a_long_offer_eight_are_kept() {
    let many: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    let (typha, felix) = shake(TlsPolicy::builder().alpn(["h2"]), TlsPolicy::builder().alpn(&many)).await;
    assert!(
        matches!(&typha, Err(HandshakeError::NoApplicationProtocol { ours, theirs })
            if *ours == ["h2"] && theirs[..] == many[..8]),
        "{typha:?}"
    );
    assert_eq!(felix.unwrap_err().alert(), Some(AlertDescription::NoApplicationProtocol));
}

/// Calico's Felix sends no such extension.
#[tokio::test]
async fn without_a_list_nothing_of_it_is_on_the_wire() {
    for (list, sent) in [(&[][..], None), (&["h2", "acme"], Some(vec![b"h2".to_vec(), b"acme".to_vec()]))] {
        let (typha, felix) = policies("1.3", &[], list);
        let (_, connector) = pair(typha, felix);
        let (typha, felix) = tokio::io::duplex(64 * 1024);
        let typha = async {
            let start = LazyConfigAcceptor::new(Default::default(), typha).await.unwrap();
            let hello = start.client_hello();
            hello.alpn().map(|names| names.map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        let (offered, _) = tokio::join!(typha, connector.connect(felix));
        assert_eq!(offered, sent);
    }
}

#[tokio::test]
async fn felix_refuses_a_protocol_that_it_has_not_offered() {
    // A ServerHello of TLS 1.2 (RFC 5246 section 7.4.1.3) whose only extension is ALPN, with the protocol h3.
    let mut hello = vec![22, 3, 3, 0, 53, 2, 0, 0, 49, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x2b, 0, 0, 9, 0, 16, 0, 5, 0, 3, 2, b'h', b'3']);
    for (list, misbehaviour, alert) in [
        (&["h2"][..], PeerMisbehaved::SelectedUnofferedApplicationProtocol, 47),
        (&[], PeerMisbehaved::UnsolicitedServerHelloExtension, 110),
    ] {
        let (typha, felix) = policies("1.2", &[], list);
        let (_, connector) = pair(typha, felix);
        let (mut typha, felix) = tokio::io::duplex(64 * 1024);
        let typha = async {
            let mut received = vec![0; 5];
            typha.read_exact(&mut received).await.unwrap();
            received.resize(usize::from(u16::from_be_bytes([received[3], received[4]])), 0);
            typha.read_exact(&mut received).await.unwrap();
            typha.write_all(&hello).await.unwrap();
            let mut alert = Vec::new();
            typha.read_to_end(&mut alert).await.unwrap();
            alert
        };
        let (sent, felix) = tokio::join!(typha, connector.connect(felix));
        let error = felix.unwrap_err();
        assert!(
            matches!(&error, HandshakeError::Tls(Error::PeerMisbehaved(found)) if *found == misbehaviour),
            "{error:?}"
        );
        assert_eq!(sent, [21, 3, 3, 0, 2, 2, alert]);
    }
}

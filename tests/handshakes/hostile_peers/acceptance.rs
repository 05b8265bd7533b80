//! Connected means accepted: what `connect` makes of Typhas that say nothing, speak early, refuse, or leave.

use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::Instant;
use typha_tls::AcceptanceMode::{self, Auto, FirstData, Off, Required};
use typha_tls::error::{HandshakePhase::AwaitingAcceptance, alert_of};
use typha_tls::stream::Acceptance::{Confirmed, NotAsked, Unconfirmed};
use typha_tls::testing::TestPki;

use crate::hostile::{
    CLIENTS, Client, Outcome, RawPeer, VERSIONS, acceptor_requiring, bounded, pki, provider, server_config,
};

const WAIT: Duration = Duration::from_millis(300);
const BOUND: Duration = Duration::from_secs(7);

fn without_tickets(pki: &TestPki) -> ServerConfig {
    let mut config = server_config(&pki.typha, &TLS13);
    config.send_tls13_tickets = 0;
    config
}

/// A Typha that has taken part in the handshake to its end.
async fn accepting(config: ServerConfig, io: DuplexStream) -> RawPeer<DuplexStream> {
    let mut server = RawPeer::server(config, io);
    server.handshake().await.unwrap();
    server
}

#[test]
fn a_silent_typha() {
    bounded(|| async {
        let pki = pki();
        for (mode, expected, after) in [
            (Auto(WAIT), Outcome::Accepted(Unconfirmed), WAIT),
            (Auto(Duration::MAX), Outcome::Accepted(Unconfirmed), BOUND),
            (FirstData(WAIT), Outcome::Accepted(Unconfirmed), WAIT),
            (FirstData(Duration::MAX), Outcome::Accepted(Unconfirmed), BOUND),
            (Required, Outcome::TimedOut(AwaitingAcceptance), BOUND),
            (Off, Outcome::Accepted(Unconfirmed), Duration::ZERO),
        ] {
            for role in CLIENTS {
                let (typha, felix) = duplex(64 * 1024);
                let begin = Instant::now();
                let client = Client::new(role, &pki, &TLS13).with_acceptance(mode);
                let connect = client.with_handshake_timeout(BOUND).connect(felix);
                let (outcome, _server) = tokio::join!(connect, accepting(without_tickets(&pki), typha));
                assert_eq!(Outcome::of(outcome), expected, "{role}, {mode:?}");
                // tokio's timers have a grain of 1 ms.
                let over = begin.elapsed().checked_sub(after).unwrap();
                assert!(over <= Duration::from_millis(1), "{role}, {mode:?}: {over:?}");
            }
        }
    });
}

#[test]
fn data_that_comes_early_is_not_lost() {
    bounded(|| async {
        let pki = pki();
        for (role, length) in CLIENTS.into_iter().flat_map(|role| [1, 100, 100 * 1024].map(|n| (role, n))) {
            let data: Vec<u8> = (0..length).map(|n: usize| n.to_le_bytes()[0]).collect();
            for (config, mode, expected) in [
                (without_tickets(&pki), Auto(WAIT), Confirmed),
                (without_tickets(&pki), FirstData(WAIT), Confirmed),
                (without_tickets(&pki), Required, Confirmed),
                (without_tickets(&pki), Off, Unconfirmed),
                (server_config(&pki.typha, &TLS13), Auto(WAIT), Confirmed),
                (server_config(&pki.typha, &TLS13), FirstData(WAIT), Confirmed),
                (server_config(&pki.typha, &TLS13), Required, Confirmed),
                (server_config(&pki.typha, &TLS13), Off, Unconfirmed),
                (server_config(&pki.typha, &TLS12), Required, Confirmed),
                (server_config(&pki.typha, &TLS12), FirstData(WAIT), Confirmed),
            ] {
                let (typha, felix) = duplex(64 * 1024);
                let client = Client::new(role, &pki, version_of(&config)).with_acceptance(mode);
                let (received, ()) = tokio::join!(
                    async {
                        let mut stream = client.connect(felix).await.unwrap();
                        assert_eq!(stream.acceptance(), expected, "{role}, {mode:?}");
                        let mut received = Vec::new();
                        stream.read_to_end(&mut received).await.unwrap();
                        received
                    },
                    speaking_early(config, typha, &data),
                );
                assert!(received == data, "{role}, {mode:?}, {length} bytes: {} received", received.len());
            }
        }
    });
}

/// The version that a configuration speaks.
fn version_of(config: &ServerConfig) -> &'static rustls::SupportedProtocolVersion {
    if config.crypto_provider().cipher_suites[0].tls13().is_some() { &TLS13 } else { &TLS12 }
}

/// A Typha that sends its data with the end of its handshake, tickets first, and closes properly.
async fn speaking_early(config: ServerConfig, io: DuplexStream, data: &[u8]) {
    use std::io::Write as _;
    let mut server = RawPeer::server(config, io);
    server.tls.set_buffer_limit(None);
    while server.tls.is_handshaking() {
        server.send().await.unwrap();
        server.receive().await.unwrap();
    }
    server.tls.writer().write_all(data).unwrap();
    server.tls.send_close_notify();
    server.send().await.unwrap();
    // Until Felix has gone.
    let _ = server.io.read(&mut [0]).await;
}

#[test]
fn a_refusing_typha() {
    bounded(|| async {
        let pki = pki();
        let refused = Outcome::RefusedByPeer(AlertDescription::AccessDenied);
        for (version, role) in VERSIONS.into_iter().flat_map(|version| CLIENTS.map(|role| (version, role))) {
            for mode in [Auto(WAIT), FirstData(WAIT), Required] {
                let (typha, felix) = duplex(64 * 1024);
                let client = Client::new(role, &pki, version).with_acceptance(mode);
                let outcomes = tokio::join!(
                    async {
                        Outcome::of(acceptor_requiring(&pki, "someone-else", version).accept(typha).await)
                    },
                    async { Outcome::of(client.connect(felix).await) },
                );
                assert_eq!(outcomes, (Outcome::Rejected("identity_mismatch"), refused.clone()));
            }
        }
    });
}

#[test]
fn a_refusal_that_was_not_waited_for_arrives_with_the_first_read() {
    bounded(|| async {
        let pki = pki();
        for role in CLIENTS {
            let (typha, felix) = duplex(64 * 1024);
            let client = Client::new(role, &pki, &TLS13).with_acceptance(Off);
            let refusing = acceptor_requiring(&pki, "someone-else", &TLS13);
            let (outcome, error) = tokio::join!(async { Outcome::of(refusing.accept(typha).await) }, async {
                let mut stream = client.connect(felix).await.unwrap();
                assert_eq!(stream.acceptance(), Unconfirmed);
                stream.read(&mut [0]).await.unwrap_err()
            },);
            assert_eq!(outcome, Outcome::Rejected("identity_mismatch"));
            assert_eq!(alert_of(&error), Some(AlertDescription::AccessDenied));
        }
    });
}

#[test]
fn a_typha_that_leaves_instead_of_accepting() {
    bounded(|| async {
        let pki = pki();
        for (role, says_goodbye) in CLIENTS.into_iter().flat_map(|role| [(role, false), (role, true)]) {
            for mode in [AcceptanceMode::default(), FirstData(WAIT), Required] {
                let (typha, felix) = duplex(64 * 1024);
                let client = Client::new(role, &pki, &TLS13).with_acceptance(mode);
                let (outcome, ()) = tokio::join!(client.connect(felix), async {
                    let mut config = without_tickets(&pki);
                    // Whoever waits for data does not take a ticket for it.
                    config.send_tls13_tickets = usize::from(matches!(mode, FirstData(_)));
                    let mut server = accepting(config, typha).await;
                    if says_goodbye {
                        server.tls.send_close_notify();
                        server.send().await.unwrap();
                    }
                    server.io.shutdown().await.unwrap();
                });
                assert_eq!(Outcome::of(outcome), Outcome::Closed(AwaitingAcceptance));
            }
        }
    });
}

/// The right Typha, but configured to let anyone in.
#[test]
fn a_typha_that_asks_for_no_certificate() {
    bounded(|| async {
        let pki = pki();
        for (version, role) in VERSIONS.into_iter().flat_map(|version| CLIENTS.map(|role| (version, role))) {
            for mode in [Auto(Duration::from_secs(1)), FirstData(WAIT), Off, Required] {
                let (typha, felix) = duplex(64 * 1024);
                let config = ServerConfig::builder_with_provider(provider(version))
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_no_client_auth()
                    .with_single_cert(pki.typha.chain().to_vec(), pki.typha.key())
                    .unwrap();
                let client = Client::new(role, &pki, version).with_acceptance(mode);
                let (outcome, _server) = tokio::join!(client.connect(felix), accepting(config, typha));
                assert_eq!(outcome.unwrap().acceptance(), NotAsked);
            }
        }
    });
}

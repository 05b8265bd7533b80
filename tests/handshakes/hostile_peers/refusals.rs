//! A refused peer is told why, however it behaves, and the refusing end knows more.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, ProtocolVersion, SupportedProtocolVersion};
use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, KeyType, Purpose, TYPHA_COMMON_NAME, TestCa, TestLeaf, TestPki,
};
use typha_tls::verifier::Rejection;
use typha_tls::{HandshakeError, Role};

use crate::hostile::{
    CLIENTS, Client, Outcome, RawPeer, SERVER_NAME, Slow, VERSIONS, acceptor, acceptor_requiring, bounded,
    bounded_in_real_time, client_config, connector_with, felix_spec, pki, server_config,
};

/// Far more than any bound set here; only a hang takes it.
const GENEROUS: Duration = Duration::from_secs(10);

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (client, server) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// A client that goes through the handshake, and sends `pile` in the same breath as the end of it.
async fn client_with_pile(
    pki: &TestPki,
    version: &'static SupportedProtocolVersion,
    tcp: TcpStream,
    pile: usize,
) -> RawPeer<TcpStream> {
    let mut client = RawPeer::client(client_config(Some(&pki.felix), version), tcp);
    client.send().await.unwrap();
    let mut last = Vec::new();
    // TLS 1.3 may send a change_cipher_spec before it has all of Typha's flight; TLS 1.2 sends nothing.
    while last.is_empty() || version.version == ProtocolVersion::TLSv1_3 && client.tls.is_handshaking() {
        client.receive().await.unwrap();
        last.extend(client.outgoing());
    }
    last.resize(last.len() + pile, 23);
    client.io.write_all(&last).await.unwrap();
    client
}

#[test]
fn a_pile_of_unread_data_does_not_destroy_the_alert() {
    bounded_in_real_time(|| async {
        let pki = pki();
        for round in 0..50 {
            for version in VERSIONS {
                let (felix, typha) = tcp_pair().await;
                let acceptor = acceptor_requiring(&pki, "someone-else", version);
                let (outcome, heard) =
                    tokio::join!(async { Outcome::of(acceptor.accept_tcp(typha).await) }, async {
                        let mut client = client_with_pile(&pki, version, felix, 512 * 1024).await;
                        // Like a client that looks for an answer only when it has written everything.
                        for _ in 0..32 {
                            client.io.write_all(&[23; 1024]).await?;
                            tokio::task::yield_now().await;
                        }
                        client.refusal().await
                    });
                assert_eq!(outcome, Outcome::Rejected("identity_mismatch"));
                let heard = heard.unwrap_or_else(|error| panic!("round {round}: {error}"));
                assert_eq!(heard, rustls::Error::AlertReceived(AlertDescription::AccessDenied));
            }
        }
    });
}

#[test]
fn a_refused_client_that_never_closes_is_not_waited_for() {
    refused_client_ends(Duration::from_secs(60));
}

#[test]
fn a_refused_client_that_never_stops_sending_is_not_listened_to() {
    refused_client_ends(Duration::ZERO);
}

fn refused_client_ends(pause: Duration) {
    bounded_in_real_time(move || async move {
        let pki = pki();
        for version in VERSIONS {
            let (felix, typha) = tcp_pair().await;
            let acceptor = acceptor_requiring(&pki, "someone-else", version)
                .with_handshake_timeout(Duration::from_secs(2));
            let hostile = async {
                let mut client = client_with_pile(&pki, version, felix, 1).await;
                while client.io.write_all(&[23; 4096]).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                std::future::pending().await
            };
            let outcome = tokio::select! {
                outcome = timeout(GENEROUS, acceptor.accept_tcp(typha)) => Outcome::of(outcome.unwrap()),
                never = hostile => never,
            };
            assert_eq!(outcome, Outcome::Rejected("identity_mismatch"));
        }
    });
}

#[test]
fn the_alert_fits_the_reason() {
    bounded(|| async {
        let pki = pki();
        let other_ca = TestCa::new(CertificateSpec::ca("other-ca")).unwrap();
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let long_gone = an_hour_ago - Duration::from_secs(3600);
        let good = |spec| spec;
        let expired = |spec: CertificateSpec| spec.valid(long_gone, an_hour_ago);
        let misused = |spec: CertificateSpec| spec.purpose(Purpose::CodeSigning);
        type Change<'a> = &'a dyn Fn(CertificateSpec) -> CertificateSpec;
        let cases: [(_, _, _, Option<&str>, Change<'_>); 4] = [
            ("identity_mismatch", AlertDescription::AccessDenied, &pki.ca, Some("x"), &good),
            ("unknown_ca", AlertDescription::UnknownCA, &other_ca, None, &good),
            ("expired", AlertDescription::CertificateExpired, &pki.ca, None, &expired),
            ("wrong_key_usage", AlertDescription::UnsupportedCertificate, &pki.ca, None, &misused),
        ];
        for (reason, alert, ca, name, change) in cases {
            let leaf = |usual| {
                let spec = CertificateSpec::leaf(name.unwrap_or(usual)).key_type(KeyType::Ed25519);
                ca.issue(change(spec.dns_san(name.unwrap_or(SERVER_NAME)))).unwrap()
            };
            for version in VERSIONS {
                let (typha, felix) = duplex(64 * 1024);
                let outcomes =
                    tokio::join!(async { Outcome::of(acceptor(&pki, version).accept(typha).await) }, async {
                        let connector = connector_with(&pki, &leaf(FELIX_COMMON_NAME), version);
                        Outcome::of(connector.connect(felix).await)
                    },);
                assert_eq!(outcomes, (Outcome::Rejected(reason), Outcome::RefusedByPeer(alert)));

                for role in CLIENTS {
                    let (reason, alert) = match (role, reason) {
                        (Role::Client, "identity_mismatch") => {
                            ("host_mismatch", AlertDescription::BadCertificate)
                        }
                        _ => (reason, alert),
                    };
                    let (typha, felix) = duplex(64 * 1024);
                    let mut server = RawPeer::server(server_config(&leaf(TYPHA_COMMON_NAME), version), typha);
                    let (client, heard) = tokio::join!(
                        async { Outcome::of(Client::new(role, &pki, version).connect(felix).await) },
                        server.refusal(),
                    );
                    assert_eq!(client, Outcome::Rejected(reason), "{role}");
                    assert_eq!(heard.unwrap(), rustls::Error::AlertReceived(alert), "{role}");
                }
            }
        }
    });
}

/// rustls hands the alert to the connection once, and it is lost if the connection does not take it at once.
#[test]
fn the_alert_arrives_over_a_slow_connection() {
    bounded(|| async {
        let pki = pki();
        for (version, role) in VERSIONS.into_iter().flat_map(|version| CLIENTS.map(|role| (version, role))) {
            let (typha, felix) = duplex(64 * 1024);
            let outcomes = tokio::join!(
                async {
                    let acceptor = acceptor_requiring(&pki, "someone-else", version);
                    Outcome::of(acceptor.accept(Slow::new(typha)).await)
                },
                async { Outcome::of(Client::new(role, &pki, version).connect(felix).await) },
            );
            let refused = Outcome::RefusedByPeer(AlertDescription::AccessDenied);
            assert_eq!(outcomes, (Outcome::Rejected("identity_mismatch"), refused));
        }
    });
}

/// The chain of `victim`, and a key of the attacker's own.
fn stolen(victim: &TestLeaf, key_type: KeyType) -> Arc<SingleCertAndKey> {
    let own = TestLeaf::self_signed(CertificateSpec::unnamed().key_type(key_type)).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&own.key()).unwrap();
    Arc::new(CertifiedKey::new(victim.chain().to_vec(), key).into())
}

#[test]
fn a_stolen_certificate_without_its_key() {
    bounded(|| async {
        let pki = pki();
        // The leaves have Ed25519 keys: one of the same kind, and one of another.
        for (version, key_type) in
            VERSIONS.into_iter().flat_map(|version| [(version, KeyType::Ed25519), (version, KeyType::P256)])
        {
            let refused = |error: HandshakeError, peer: &str| match error.rejection() {
                Some(Rejection::KeyNotProven { presented }) => {
                    assert_eq!(presented.common_name(), Some(peer));
                }
                _ => panic!("{error:?}"),
            };
            let heard = rustls::Error::AlertReceived(AlertDescription::DecryptError);

            let (typha, felix) = duplex(64 * 1024);
            let mut config = client_config(None, version);
            config.client_auth_cert_resolver = stolen(&pki.felix, key_type);
            let mut thief = RawPeer::client(config, felix);
            let (outcome, alert) = tokio::join!(acceptor(&pki, version).accept(typha), thief.refusal());
            refused(outcome.unwrap_err(), FELIX_COMMON_NAME);
            assert_eq!(alert.unwrap(), heard);

            for role in CLIENTS {
                let (typha, felix) = duplex(64 * 1024);
                let mut config = server_config(&pki.typha, version);
                config.cert_resolver = stolen(&pki.typha, key_type);
                let mut thief = RawPeer::server(config, typha);
                let connect = Client::new(role, &pki, version).connect(felix);
                let (outcome, alert) = tokio::join!(connect, thief.refusal());
                refused(outcome.unwrap_err(), TYPHA_COMMON_NAME);
                assert_eq!(alert.unwrap(), heard);
            }
        }
    });
}

#[test]
fn a_client_without_a_certificate() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            let (typha, felix) = duplex(64 * 1024);
            let mut client = RawPeer::client(client_config(None, version), felix);
            let (outcome, heard) = tokio::join!(acceptor(&pki, version).accept(typha), client.refusal());
            assert_eq!(outcome.unwrap_err().rejection(), Some(&Rejection::NoCertificate));
            let alert = AlertDescription::CertificateRequired;
            assert_eq!(heard.unwrap(), rustls::Error::AlertReceived(alert));
        }
    });
}

/// Sends the first bytes of what the peer wants to send, and resets the connection.
async fn reset_after(mut peer: RawPeer<TcpStream>, role: Role, offset: usize) {
    if role == Role::Typha {
        peer.receive().await.unwrap();
    }
    let flight = peer.outgoing();
    peer.io.write_all(&flight[..offset]).await.unwrap();
    socket2::SockRef::from(&peer.io).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_tcp_reset() {
    bounded_in_real_time(|| async {
        let pki = pki();
        let reset = Outcome::Io(std::io::ErrorKind::ConnectionReset);
        for version in VERSIONS {
            for offset in [0, 1, 5, 6, 50, 100] {
                let (felix, typha) = tcp_pair().await;
                let client = RawPeer::client(client_config(Some(&pki.felix), version), felix);
                let accept = acceptor(&pki, version).accept_tcp(typha);
                let (outcome, ()) = tokio::join!(accept, reset_after(client, Role::Felix, offset));
                assert_eq!(Outcome::of(outcome), reset, "Typha, {version:?} at {offset}");

                for role in CLIENTS {
                    let (felix, typha) = tcp_pair().await;
                    let server = RawPeer::server(server_config(&pki.typha, version), typha);
                    let connect = Client::new(role, &pki, version).connect_tcp(felix);
                    let (outcome, ()) = tokio::join!(connect, reset_after(server, Role::Typha, offset));
                    assert_eq!(Outcome::of(outcome), reset, "{role}, {version:?} at {offset}");
                }
            }
        }
    });
}

/// The verdict of one handshake does not become that of another which the same task runs.
#[test]
fn handshakes_on_one_task_keep_their_verdicts_apart() {
    bounded(|| async {
        let pki = pki();
        let intruder = pki.ca.issue(felix_spec().common_name("intruder")).unwrap();
        for version in VERSIONS {
            let acceptor = acceptor(&pki, version);
            let one = async |leaf| {
                // Small, so that they take turns.
                let (typha, felix) = duplex(64);
                let connector = connector_with(&pki, leaf, version);
                tokio::join!(acceptor.accept(typha), connector.connect(felix))
            };
            let ((bad, _), (good, _), (worse, _)) =
                tokio::join!(one(&intruder), one(&pki.felix), one(&intruder));
            assert_eq!(good.unwrap().peer().identity().common_name(), Some("typha-client"));
            for bad in [bad, worse] {
                let Err(HandshakeError::Rejected(rejection)) = bad else { panic!("{bad:?}") };
                let Rejection::IdentityMismatch(mismatch) = &**rejection else { panic!("{rejection:?}") };
                assert!(mismatch.to_string().contains("intruder"), "{mismatch}");
            }
        }
    });
}

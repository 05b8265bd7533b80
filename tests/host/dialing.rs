//! `dial`: from a host to a connection.

use std::io;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::sleep;
use typha_tls::HandshakeError;
use typha_tls::dialer::AttemptError;
use typha_tls::error::HandshakePhase::AwaitingFirstByte;
use typha_tls::host::{HostConnector, HostDialError};
use typha_tls::stream::Acceptance;

use crate::site::*;

/// A port on which nothing listens.
async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_connection_by_address_and_by_name() {
    let site = Site::new();
    let server = site.serve(Clients::Required).await.echo();
    for name in ["127.0.0.1", "localhost"] {
        let mut connection =
            bounded(site.connector().dial(&host(name), server.address.port())).await.unwrap();
        assert_eq!(connection.peer_address(), server.address);
        assert_eq!(connection.peer().matched_host(), Some(&host(name)));
        assert_eq!(connection.acceptance(), Acceptance::Confirmed);
        assert_eq!((connection.close_reason(), connection.lost_trust()), (None, None));
        connection.write_all(b"x").await.unwrap();
        connection.flush().await.unwrap();
        assert_eq!(bounded(connection.read_u8()).await.unwrap(), b'x');
    }
}

#[tokio::test]
async fn a_connection_to_one_address_for_another_host() {
    let site = Site::new();
    let server = site.serve(Clients::Required).await.echo();
    let (loopback, port) = (host("127.0.0.1"), server.address.port());
    let connection = bounded(site.connector().dial_as(&loopback, port, &host(NAME))).await.unwrap();
    assert_eq!(connection.peer().matched_host(), Some(&host(NAME)));

    let error =
        bounded(site.connector().dial_as(&loopback, port, &host("etcd-2.example"))).await.unwrap_err();
    assert_eq!(error.label(), "host_mismatch");
    let HostDialError::AllFailed { host: dialled, port: dialled_port, attempts } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((dialled, *dialled_port, attempts.len()), (&loopback, port, 1));
    assert_eq!(attempts[0].address, server.address);
    let Some(HandshakeError::Rejected(rejection)) = error.handshake() else { panic!("{error:?}") };
    assert_eq!(rejection.label(), "host_mismatch");
    let text = error.to_string();
    let start = format!(
        "could not connect to {}: the server's certificate is not valid for the host etcd-2.example: it is valid for ",
        server.address
    );
    assert!(text.starts_with(&start), "{text}");
}

#[tokio::test]
async fn refused_by_the_server() {
    let site = Site::new();
    let server = site.serve(Clients::Required).await.echo();
    let connector = HostConnector::new(site.config(None));
    let error = bounded(connector.dial(&host("127.0.0.1"), server.address.port())).await.unwrap_err();
    assert_eq!(error.label(), "refused_by_peer");
    let Some(HandshakeError::RefusedByPeer { alert }) = error.handshake() else { panic!("{error:?}") };
    assert_eq!(*alert, AlertDescription::CertificateRequired);
}

#[tokio::test]
async fn nobody_listens() {
    let port = closed_port().await;
    let error = bounded(Site::new().connector().dial(&host("127.0.0.1"), port)).await.unwrap_err();
    assert_eq!((error.label(), error.attempts().len()), ("dial", 1));
    let AttemptError::Dial(cause) = &*error.attempts()[0].error else { panic!("{error:?}") };
    assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused);
    assert!(error.handshake().is_none());
    let expected = format!("could not connect to 127.0.0.1:{port}: no TCP connection: {cause}");
    assert_eq!(error.to_string(), expected);
}

/// The top-level domain of RFC 6761 that never has names. Without a network, a resolver may take long to say so.
#[tokio::test]
async fn a_name_that_can_not_be_resolved() {
    const BOUND: Duration = Duration::from_secs(5);
    let connector = Site::new().connector().with_dial_timeout(BOUND);
    match bounded(connector.dial(&host("etcd-1.invalid"), 2379)).await.unwrap_err() {
        error @ HostDialError::Unresolved { .. } => {
            assert_eq!(error.label(), "unresolved");
            assert_eq!(error.to_string(), "the name etcd-1.invalid can not be resolved");
            assert!(error.attempts().is_empty());
        }
        error @ HostDialError::TimedOut { .. } => {
            assert_eq!(error.to_string(), "could not connect to etcd-1.invalid:2379 within 5s");
            assert!(error.attempts().is_empty());
        }
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_server_that_never_answers() {
    const BOUND: Duration = Duration::from_secs(1);
    let site = Site::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let connector = site.connector().with_dial_timeout(BOUND);
    let error = bounded(connector.dial(&host("127.0.0.1"), address.port())).await.unwrap_err();
    let HostDialError::TimedOut { after, attempts, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*after, attempts.len(), error.label()), (BOUND, 1, "timed_out"));
    let Some(HandshakeError::TimedOut { phase, after }) = error.handshake() else { panic!("{error:?}") };
    assert_eq!((*phase, *after), (AwaitingFirstByte, BOUND));
    let expected = format!(
        "could not connect to {address} within 1s: the handshake timed out after 1s (the peer had sent nothing)"
    );
    assert_eq!(error.to_string(), expected);

    // The time of the handshake may be the shorter one.
    let connector = site.connector().with_handshake_timeout(BOUND);
    let error = bounded(connector.dial(&host("127.0.0.1"), address.port())).await.unwrap_err();
    assert!(matches!(error, HostDialError::AllFailed { .. }), "{error:?}");
    assert_eq!(error.label(), "timed_out");
}

/// A dial that is dropped, before and during the handshake, closes what it has opened.
#[tokio::test]
async fn a_dial_that_is_given_up() {
    let site = Site::new();
    let server = site.serve(Clients::Required).await;
    for reads_hello in [false, true] {
        let connector = site.connector();
        let dial = connector.dial(&host("127.0.0.1"), server.port());
        let mut accepted = tokio::select! {
            outcome = dial => panic!("{outcome:?}"),
            accepted = async {
                let mut tcp = server.accept_tcp().await;
                if reads_hello {
                    bounded(tcp.read_u8()).await.unwrap();
                }
                tcp
            } => accepted,
        };
        // What was sent, and then the end.
        let ended = bounded(accepted.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    }
    // One that was never polled has opened nothing.
    drop(site.connector().dial(&host("127.0.0.1"), server.port()));
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

/// The task that reviews a connection ends with it.
#[tokio::test]
async fn a_connection_that_is_dropped_leaves_nothing_behind() {
    let site = Site::new();
    let server = site.serve(Clients::Required).await;
    let connector = site.connector();
    let (connection, theirs) =
        bounded(async { tokio::join!(connector.dial(&host("127.0.0.1"), server.port()), server.accept()) })
            .await;
    let (connection, mut theirs) = (connection.unwrap(), theirs.unwrap());
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
    drop(connection);
    assert_eq!(bounded(theirs.read(&mut [0])).await.unwrap(), 0);
    bounded(async {
        while Handle::current().metrics().num_alive_tasks() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

//! How long a connection waits for the server: its sign of acceptance, its first data, its first byte.

use std::io;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use typha_tls::error::HandshakePhase::{AwaitingAcceptance, AwaitingFirstByte};
use typha_tls::error::alert_of;
use typha_tls::host::HostConnector;
use typha_tls::stream::Acceptance;
use typha_tls::{AcceptanceMode, HandshakeError};

use crate::site::*;

const WAIT: Duration = Duration::from_millis(200);
/// Longer than any of it takes.
const LONG: Duration = Duration::from_secs(30);

/// Connects to a server that does `act` when its handshake is complete, with a ticket sent.
async fn with_server<T>(
    connector: &HostConnector,
    site: &Site,
    act: impl AsyncFnOnce(&mut TlsStream<TcpStream>) -> T,
) -> (Met, TlsStream<TcpStream>) {
    let server = site.serve(Clients::Required).await;
    let tcp = TcpStream::connect(server.address()).await.unwrap();
    let name = host(NAME);
    bounded(async {
        tokio::join!(connector.connect_tcp(&name, tcp), async {
            let mut stream = server.accept().await.unwrap();
            act(&mut stream).await;
            stream
        })
    })
    .await
}

/// As etcd does to a client that is on its revocation list: TLS has accepted it, and then the connection ends.
#[tokio::test]
async fn a_ticket_and_then_the_end() {
    let site = Site::new();
    let first_data = site.connector().with_acceptance(AcceptanceMode::FirstData(LONG));
    for says_goodbye in [true, false] {
        let (ours, _) = with_server(&first_data, &site, async |server| {
            if says_goodbye { server.shutdown().await } else { server.get_mut().0.shutdown().await }
        })
        .await;
        let Err(HandshakeError::Closed { phase }) = ours else { panic!("{ours:?}") };
        assert_eq!(phase, AwaitingAcceptance);
    }
    // The ticket alone is enough for the default, and the end comes with the first read.
    let (ours, _) = with_server(&site.connector(), &site, async |server| server.shutdown().await).await;
    let mut ours = ours.unwrap();
    assert_eq!(ours.acceptance(), Acceptance::Confirmed);
    assert_eq!(bounded(ours.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn the_first_data_confirms_and_is_not_lost() {
    let site = Site::new();
    let connector = site.connector().with_acceptance(AcceptanceMode::FirstData(LONG));
    let (ours, _server) = with_server(&connector, &site, async |server| {
        server.write_all(b"SETTINGS").await.unwrap();
        server.flush().await.unwrap();
    })
    .await;
    let mut ours = ours.unwrap();
    assert_eq!(ours.acceptance(), Acceptance::Confirmed);
    let mut data = [0; 8];
    bounded(ours.read_exact(&mut data)).await.unwrap();
    assert_eq!(&data, b"SETTINGS");
}

#[tokio::test]
async fn a_server_that_waits_for_us_is_unconfirmed_after_the_time() {
    let site = Site::new();
    let connector = site.connector().with_acceptance(AcceptanceMode::FirstData(WAIT));
    let begin = Instant::now();
    let (ours, mut server) = with_server(&connector, &site, async |_| ()).await;
    let mut ours = ours.unwrap();
    assert_eq!(ours.acceptance(), Acceptance::Unconfirmed);
    assert!(begin.elapsed() >= WAIT);
    // It is still usable.
    ours.write_all(b"x").await.unwrap();
    ours.flush().await.unwrap();
    assert_eq!(bounded(server.read_u8()).await.unwrap(), b'x');
}

/// An alert of the server is no mere end.
#[tokio::test]
async fn a_refusal_while_data_is_awaited() {
    let site = Site::new();
    let server = site.serve(Clients::Required).await;
    let without = HostConnector::new(site.config(None)).with_acceptance(AcceptanceMode::FirstData(LONG));
    let (ours, theirs) = server.meet(&without, NAME).await;
    let Err(HandshakeError::RefusedByPeer { alert }) = ours else { panic!("{ours:?}") };
    assert_eq!(alert, AlertDescription::CertificateRequired);
    assert!(theirs.is_err());
    // Without waiting, it comes with the first read.
    let (ours, _) = server.meet(&without.with_acceptance(AcceptanceMode::Off), NAME).await;
    let mut ours = ours.unwrap();
    assert_eq!(ours.acceptance(), Acceptance::Unconfirmed);
    let error = bounded(ours.read(&mut [0])).await.unwrap_err();
    assert_eq!(alert_of(&error), Some(AlertDescription::CertificateRequired));
}

#[tokio::test]
async fn a_server_that_says_nothing() {
    let site = Site::new();
    let server = site.serve(Clients::Required).await;
    let connector = site.connector().with_handshake_timeout(WAIT);
    let tcp = TcpStream::connect(server.address()).await.unwrap();
    let (ours, _silent) = tokio::join!(connector.connect_tcp(&host(NAME), tcp), server.accept_tcp());
    let Err(HandshakeError::TimedOut { phase, after }) = ours else { panic!("{ours:?}") };
    assert_eq!((phase, after), (AwaitingFirstByte, WAIT));
}

#[tokio::test]
async fn reads_wait_as_long_as_they_may() {
    let site = Site::new();
    let connector = site.connector().with_read_timeout(Some(WAIT));
    let (ours, _server) = with_server(&connector, &site, async |_| ()).await;
    let error = bounded(ours.unwrap().read(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    // By default, a server may be silent for longer than a Typha may.
    let (ours, mut server) = with_server(&site.connector(), &site, async |_| ()).await;
    let mut ours = ours.unwrap();
    tokio::time::pause();
    let (read, ()) = tokio::join!(ours.read_u8(), async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        tokio::time::resume();
        server.write_all(b"y").await.unwrap();
        server.flush().await.unwrap();
    });
    assert_eq!(read.unwrap(), b'y');
}

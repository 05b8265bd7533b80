//! A link that breaks: each end notices by its own bound, says why, and works again when the link does.

use std::io::ErrorKind;
use std::time::Duration;

use rustls::version::TLS13;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use typha_tls::error::HandshakePhase;
use typha_tls::listener::ListenerLimits;
use typha_tls::{FelixConnector, HandshakeError};

use crate::hostile::{RawPeer, acceptor, client_config, connector, pki};
use crate::hosts::{Hosts, bounded, listen, until};
use crate::inside::inside;

const TYPHAS_BOUND: Duration = Duration::from_secs(2);
const FELIXS_BOUND: Duration = Duration::from_secs(3);
/// Until a bound must have taken effect, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

async fn connects(hosts: &Hosts, felix: FelixConnector, typha: std::net::SocketAddr) {
    let connected = hosts.felix(move || async move {
        // The first packets may be lost while the hosts find each other again.
        let tcp = TcpStream::connect(typha).await.unwrap();
        felix.connect_tcp(tcp).await.map(drop)
    });
    bounded("connecting", connected).await.unwrap().unwrap();
}

#[test]
fn a_partition_in_a_handshake_ends_it_at_both_bounds() {
    inside("partitions::a_partition_in_a_handshake_ends_it_at_both_bounds", || async {
        let hosts = Hosts::new()?;
        let pki = pki();
        let mut limits = ListenerLimits::default();
        // So that the second one's ClientHello arrives and is not answered before the link breaks.
        limits.handshakes = 1;
        let acceptor = acceptor(&pki, &TLS13).with_handshake_timeout(TYPHAS_BOUND);
        let (mut listener, typha) = listen(acceptor, limits).await;
        let handle = listener.handle();
        let stats = || handle.stats();

        let config = client_config(Some(&pki.felix), &TLS13);
        let (_stay, stays) = oneshot::channel::<()>();
        let _first = hosts.felix(move || async move {
            let mut peer = RawPeer::client(config, TcpStream::connect(typha).await.unwrap());
            peer.send().await.unwrap();
            let _ = stays.await;
        });
        let began = Instant::now();
        until("its ClientHello is there", stats, |stats| stats.in_handshake == 1).await;
        let felix = connector(&pki, &TLS13).with_handshake_timeout(FELIXS_BOUND);
        let second = {
            let felix = felix.clone();
            hosts.felix(move || async move {
                let tcp = TcpStream::connect(typha).await.unwrap();
                let began = Instant::now();
                (felix.connect_tcp(tcp).await.map(drop), began.elapsed())
            })
        };
        until("the other one waits", stats, |stats| stats.queued == 1).await;
        hosts.cut();
        assert_eq!((stats().in_handshake, stats().queued), (1, 1), "the link was cut too late");

        until("the handshake is given back", stats, |stats| stats.in_handshake == 0).await;
        let took = began.elapsed();
        assert!(took >= TYPHAS_BOUND && took < SOON, "{took:?}");
        let (outcome, took) = bounded("Felix", second).await.unwrap();
        match outcome {
            Err(HandshakeError::TimedOut { phase: HandshakePhase::AwaitingFirstByte, after }) => {
                assert_eq!(after, FELIXS_BOUND);
            }
            other => panic!("{other:?}"),
        }
        assert!(took >= FELIXS_BOUND && took < SOON, "{took:?}");
        until("both are counted", stats, |stats| stats.not_accepted() == 1).await;
        assert_eq!(stats().timed_out.into_iter().collect::<Vec<_>>(), [("negotiating", 1)]);
        assert_eq!(stats().shed.into_iter().collect::<Vec<_>>(), [("overload", 1)]);
        assert_eq!((stats().accepted, stats().queued, stats().active), (0, 0, 0));

        hosts.heal();
        let (connection, ()) = tokio::join!(listener.accept(), connects(&hosts, felix, typha));
        drop(connection.unwrap());
        assert_eq!((stats().accepted, stats().active), (1, 0));
        Ok(())
    });
}

#[test]
fn a_partition_in_a_stream_is_noticed_by_both_ends() {
    inside("partitions::a_partition_in_a_stream_is_noticed_by_both_ends", || async {
        let hosts = Hosts::new()?;
        // The system gives up after so many probes; 9 would take longer.
        let probes = "/proc/sys/net/ipv4/tcp_keepalive_probes";
        let gives_up = if std::fs::write(probes, "2").is_ok() { SOON } else { 4 * SOON };
        let pki = pki();
        let second = Duration::from_secs(1);
        let acceptor = acceptor(&pki, &TLS13)
            .with_read_timeout(None)
            .with_write_timeout(Some(second))
            .with_keepalive(Some(second));
        let (mut listener, typha) = listen(acceptor, ListenerLimits::default()).await;
        let handle = listener.handle();

        let felix = connector(&pki, &TLS13).with_read_timeout(Some(second)).with_write_timeout(None);
        let mut ends = Vec::new();
        for _ in 0..2 {
            let felix = felix.clone();
            let end = hosts.felix(move || async move {
                let tcp = TcpStream::connect(typha).await.unwrap();
                let mut stream = felix.connect_tcp(tcp).await.unwrap();
                stream.write_all(b"hello").await.unwrap();
                stream.flush().await.unwrap();
                let began = Instant::now();
                let error = loop {
                    match stream.read(&mut [0; 4096]).await {
                        Ok(0) => panic!("Typha said goodbye"),
                        Ok(_) => {}
                        Err(error) => break error,
                    }
                };
                (error, began.elapsed())
            });
            let mut connection = bounded("a connection", listener.accept()).await.unwrap();
            let mut heard = [0; 5];
            bounded("hello", connection.read_exact(&mut heard)).await.unwrap();
            ends.push((connection, end));
        }
        hosts.cut();
        let began = Instant::now();
        let (mut writer, first) = ends.remove(0);
        let (mut reader, other) = ends.remove(0);
        let writing = async {
            let data = vec![0; 64 * 1024];
            let error = loop {
                if let Err(error) = writer.write_all(&data).await {
                    break error;
                }
            };
            drop(writer);
            (error, began.elapsed())
        };
        let reading = async {
            let error = reader.read(&mut [0]).await.unwrap_err();
            drop(reader);
            (error, began.elapsed())
        };
        let ((written, write_took), (read, read_took)) =
            bounded("Typha", async { tokio::join!(writing, reading) }).await;
        assert_eq!(written.kind(), ErrorKind::TimedOut, "{written}");
        assert_eq!(written.to_string(), "the peer accepted no data within the write timeout");
        assert!(write_took >= second && write_took < SOON, "{write_took:?}");
        // What the system says when nobody answers its probes.
        assert!(matches!(read.kind(), ErrorKind::TimedOut | ErrorKind::HostUnreachable), "{read}");
        assert!(read_took >= second && read_took < gives_up, "{read_took:?}");
        for end in [first, other] {
            let (error, took) = bounded("Felix", end).await.unwrap();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            assert_eq!(error.to_string(), "no application data arrived within the read timeout");
            assert!(took >= second && took < SOON, "{took:?}");
        }
        assert_eq!((handle.stats().accepted, handle.active()), (2, 0));

        hosts.heal();
        let (connection, ()) = tokio::join!(listener.accept(), connects(&hosts, felix, typha));
        drop(connection.unwrap());
        eprintln!(
            "Typha noticed by writing after {write_took:?}, by keep-alive after {read_took:?} ({read})"
        );
        Ok(())
    });
}

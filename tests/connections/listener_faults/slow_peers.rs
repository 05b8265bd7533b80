//! Peers that send too slowly, do not read or do not go: each costs a bounded time.

use std::net::Ipv4Addr;
use std::time::Duration;

use rustls::version::TLS13;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use typha_tls::listener::{ListenerLimits, TyphaListener};

use super::site::{LOOPBACK, Site, assert_within, bounded, counts, serve};
use crate::hostile::{RawPeer, acceptor, client_config, felix_spec, pki};

const BOUND: Duration = Duration::from_secs(1);
/// Until it must have taken effect, on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Sends a byte every now and then, until that fails.
async fn trickle(tcp: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        if tcp.write_all(&[*byte]).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn trickling_peers_are_gone_at_the_bound() {
    let (site, listener) = Site::new(BOUND, ListenerLimits::default()).await;
    let server = serve(listener);
    let began = Instant::now();
    let mut first = site.raw(LOOPBACK, &TLS13).await;
    let mut last = site.raw(LOOPBACK, &TLS13).await;
    last.send().await.unwrap();
    while !last.tls.wants_write() {
        last.receive().await.unwrap();
    }
    let (hello, answer) = (first.outgoing(), last.outgoing());
    let trickling = async { tokio::join!(trickle(&mut first.io, &hello), trickle(&mut last.io, &answer)) };
    let gone = async {
        site.until("both are gone", |stats| stats.not_accepted() == 2).await;
        began.elapsed()
    };
    let took = tokio::select! {
        took = gone => took,
        _ = trickling => panic!("they were listened to until they had said everything"),
    };
    assert_within("both", took, BOUND, SOON);
    assert_eq!(site.stats().timed_out, counts([("negotiating", 2)]));
    site.until_idle().await;
    server.abort();
}

/// A refused peer is listened to, so that it learns why; if it does not go it has a second, and the bound at most.
#[tokio::test]
async fn refused_peers_that_stay_are_gone_in_time() {
    let (site, listener) = Site::new(Duration::from_secs(40), ListenerLimits::default()).await;
    let server = serve(listener);
    let stranger = site.pki.ca.issue(felix_spec().common_name("stranger")).unwrap();
    let began = Instant::now();
    let mut peer = RawPeer::client(client_config(Some(&stranger), &TLS13), site.tcp(LOOPBACK).await);
    peer.handshake().await.unwrap();
    site.until("it is refused", |stats| (stats.not_accepted(), stats.in_handshake) == (1, 1)).await;
    site.until_idle().await;
    assert_within("a refused one", began.elapsed(), Duration::from_secs(1), SOON);
    assert_eq!(site.stats().refused, counts([("identity_mismatch", 1)]));
    server.abort();
}

/// It has been counted as refused when it must make room for those in line, and is not counted as shed.
#[tokio::test]
async fn a_refused_peer_that_stays_makes_room() {
    let mut limits = ListenerLimits::default();
    (limits.handshakes, limits.handshakes_per_address) = (1, 1);
    let (site, listener) = Site::new(Duration::from_secs(40), limits).await;
    let server = serve(listener);
    let stranger = site.pki.ca.issue(felix_spec().common_name("stranger")).unwrap();
    let mut peer = RawPeer::client(client_config(Some(&stranger), &TLS13), site.tcp(LOOPBACK).await);
    peer.handshake().await.unwrap();
    // Two in line are more than there are handshakes, so it has half a second.
    let (one, other) = tokio::join!(site.connect([127, 0, 1, 1].into()), site.connect([127, 0, 1, 2].into()));
    let _felixes = (one.unwrap(), other.unwrap());
    site.until("both are in", |stats| (stats.accepted, stats.in_handshake) == (2, 0)).await;
    let stats = site.stats();
    assert_eq!((stats.refused, stats.shed), (counts([("identity_mismatch", 1)]), counts([])));
    server.abort();
}

#[tokio::test]
async fn peers_that_refuse_typha_are_counted() {
    let (site, listener) = Site::new(Duration::from_secs(40), ListenerLimits::default()).await;
    let server = serve(listener);
    // Trusts another CA of the same name.
    let picky = crate::hostile::connector(&pki(), &TLS13);
    for index in 0..12 {
        let tcp = site.tcp(Ipv4Addr::new(127, 0, 1, index)).await;
        let error = bounded("a handshake", picky.connect_tcp(tcp)).await.unwrap_err();
        assert_eq!(error.label(), "ca_key_mismatch");
    }
    site.until_idle().await;
    assert_eq!(site.stats().failed, counts([("refused_by_peer", 12)]));
    server.abort();
}

/// A listener whose connections have bounds, and one connection whose Felix never reads, with the buffers on the way
/// full.
async fn never_reading(write_timeout: Option<Duration>) -> (RawPeer<TcpStream>, typha_tls::Connection) {
    let pki = pki();
    let acceptor = acceptor(&pki, &TLS13).with_read_timeout(None).with_write_timeout(write_timeout);
    let mut listener = TyphaListener::builder(acceptor).bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr()).await.unwrap();
    let mut peer = RawPeer::client(client_config(Some(&pki.felix), &TLS13), tcp);
    let (connected, connection) = tokio::join!(peer.handshake(), listener.accept());
    connected.unwrap();
    (peer, connection.unwrap())
}

#[tokio::test]
async fn felixes_that_never_read_end_by_the_write_timeout() {
    let (_peer, mut connection) = never_reading(Some(BOUND)).await;
    let began = Instant::now();
    let data = vec![0; 64 * 1024];
    let error = bounded("writing", async {
        loop {
            if let Err(error) = connection.write_all(&data).await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
    assert_within("the write", began.elapsed(), BOUND, SOON);
}

/// What was written did not arrive, and so closing does not say that it did.
#[tokio::test]
async fn closing_on_a_felix_that_never_reads_fails_in_time() {
    let (_peer, mut connection) = never_reading(None).await;
    let data = vec![0; 64 * 1024];
    while tokio::time::timeout(Duration::from_millis(200), connection.write_all(&data)).await.is_ok() {}
    let began = Instant::now();
    let error = bounded("closing", connection.close()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
    assert_within("closing", began.elapsed(), Duration::from_secs(1), SOON);
}

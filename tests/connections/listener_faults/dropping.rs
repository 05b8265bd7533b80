//! Whatever is dropped, at whatever point, gives back what it held and nothing else.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use rustls::version::TLS13;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use typha_tls::listener::ListenerLimits;

use super::site::{HANG, LOOPBACK, Site, bounded, closed, counts, total};
use crate::hostile::{RawPeer, Xorshift};

/// Longer than any test, so that what goes does not go by itself.
const BOUND: Duration = Duration::from_secs(100);

async fn until_tasks_are(count: usize) {
    let deadline = Instant::now() + HANG;
    while Handle::current().metrics().num_alive_tasks() != count {
        let alive = Handle::current().metrics().num_alive_tasks();
        assert!(Instant::now() < deadline, "{alive} tasks are left, not {count}");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_accepts_lose_no_connection() {
    const FELIXES: usize = 100;
    let (site, mut listener) = Site::new(BOUND, ListenerLimits::default()).await;
    let site = Arc::new(site);
    let mut felixes = JoinSet::new();
    for _ in 0..FELIXES {
        let site = site.clone();
        felixes.spawn(async move { site.connect(LOOPBACK).await.unwrap() });
    }
    let mut random = Xorshift::new(1);
    let mut connections = Vec::new();
    let (mut dropped, deadline) = (0, Instant::now() + HANG);
    while connections.len() < FELIXES {
        assert!(Instant::now() < deadline, "{} only", connections.len());
        match timeout(Duration::from_micros(random.below(300) as u64), listener.accept()).await {
            Ok(connection) => connections.push(connection.unwrap()),
            Err(_) => dropped += 1,
        }
    }
    assert!(dropped > 0, "none was dropped");
    let theirs: BTreeSet<SocketAddr> =
        felixes.join_all().await.iter().map(|felix| felix.get_ref().local_addr().unwrap()).collect();
    let ours: BTreeSet<SocketAddr> = connections.iter().map(typha_tls::Connection::peer_address).collect();
    assert_eq!((ours.len(), ours), (FELIXES, theirs));
    assert_eq!((site.stats().accepted, site.stats().active), (FELIXES as u64, FELIXES));
    drop(connections);
    assert_eq!(site.stats().active, 0);
}

/// Peers that hold a place each: silent, half-way through their first message, and in their handshake.
async fn holders(site: &Site, of_each: usize) -> Vec<RawPeer<tokio::net::TcpStream>> {
    let mut peers = Vec::new();
    for index in 0..3 * of_each {
        let mut peer = site.raw(LOOPBACK, &TLS13).await;
        let hello = peer.outgoing();
        let length = [0, hello.len() / 2, hello.len()][index % 3];
        peer.io.write_all(&hello[..length]).await.unwrap();
        peers.push(peer);
    }
    site.until("all hold a place", |stats| (stats.queued, stats.in_handshake) == (2 * of_each, of_each))
        .await;
    peers
}

async fn the_listener_is_dropped() {
    let before = Handle::current().metrics().num_alive_tasks();
    let (site, mut listener) = Site::new(BOUND, ListenerLimits::default()).await;
    let address = site.address();
    let mut kept = Vec::new();
    for _ in 0..2 {
        let (felix, connection) = tokio::join!(site.connect(LOOPBACK), listener.accept());
        kept.push((felix.unwrap(), connection.unwrap()));
    }
    // Nobody has taken these.
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(site.connect(LOOPBACK).await.unwrap());
    }
    site.until("three wait", |stats| stats.accepted == 5).await;
    let mut peers = holders(&site, 5).await;

    let began = Instant::now();
    drop(listener);
    for peer in &mut peers {
        closed(&mut peer.io).await;
    }
    for felix in &mut waiting {
        let end = bounded("the end of one that waited", felix.read(&mut [0])).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    // What is left judges the peers of the two that were handed out.
    until_tasks_are(before + 1).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(site.stats().shed, counts([("shutting_down", 15)]));
    let stats = site.stats();
    assert_eq!((total(&stats), stats.queued, stats.in_handshake, stats.active), (20, 0, 0, 2));
    drop(StdListener::bind(address).unwrap());

    for (felix, connection) in &mut kept {
        let mut heard = [0; 5];
        felix.write_all(b"hello").await.unwrap();
        felix.flush().await.unwrap();
        bounded("hearing", connection.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"hello");
        connection.write_all(b"there").await.unwrap();
        connection.flush().await.unwrap();
        bounded("hearing", felix.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"there");
    }
    drop(kept);
    assert_eq!(site.stats().active, 0);
    until_tasks_are(before).await;
}

#[tokio::test]
async fn a_dropped_listener_leaves_only_what_it_handed_out() {
    the_listener_is_dropped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_listener_leaves_only_what_it_handed_out_on_two_threads() {
    for _ in 0..5 {
        the_listener_is_dropped().await;
    }
}

/// At moments that differ, with Felixes in all stages of their handshakes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_may_be_dropped_at_any_time() {
    let before = Handle::current().metrics().num_alive_tasks();
    for round in 0..30_u64 {
        let (site, mut listener) = Site::new(BOUND, ListenerLimits::default()).await;
        let site = Arc::new(site);
        let mut felixes = JoinSet::new();
        for _ in 0..10 {
            let tcp = site.tcp(LOOPBACK).await;
            let site = site.clone();
            felixes.spawn(async move { bounded("a handshake", site.felix.connect_tcp(tcp)).await.is_ok() });
        }
        let mut taken = 0;
        let dropping = timeout(Duration::from_micros(round * 500), async {
            while listener.accept().await.is_some() {
                taken += 1;
            }
        });
        assert!(dropping.await.is_err(), "it ended by itself");
        drop(listener);
        felixes.join_all().await;
        until_tasks_are(before).await;
        let stats = site.stats();
        assert_eq!((stats.queued, stats.in_handshake, stats.active), (0, 0, 0), "round {round}: {stats:?}");
        assert!(stats.accepted >= taken && total(&stats) <= 10, "round {round}: {stats:?}");
        assert_eq!(stats.not_accepted() + stats.probed, 0, "round {round}: {stats:?}");
    }
}

#[tokio::test]
async fn a_connection_dropped_at_any_point_is_counted_out() {
    let (site, mut listener) = Site::new(BOUND, ListenerLimits::default()).await;
    for point in 0..7 {
        let (felix, connection) = tokio::join!(site.connect(LOOPBACK), listener.accept());
        let (felix, mut connection) = (felix.unwrap(), connection.unwrap());
        assert_eq!(site.stats().active, 1);
        let moment = Duration::from_millis(20);
        let data = vec![0; 16 * 1024 * 1024];
        match point {
            0 => {}
            1 => assert!(timeout(moment, connection.read(&mut [0])).await.is_err()),
            2 => assert!(timeout(moment, connection.write_all(&data)).await.is_err()),
            3 => connection.shutdown().await.unwrap(),
            4 => drop(felix),
            5 => assert_eq!(site.handle.drop_random(1), 1),
            _ => {
                assert!(timeout(moment, connection.write_all(&data)).await.is_err());
                assert!(timeout(moment, connection.close()).await.is_err());
                assert_eq!(site.stats().active, 0, "point {point}");
                continue;
            }
        }
        drop(connection);
        assert_eq!(site.stats().active, 0, "point {point}");
    }
    site.until_idle().await;
}

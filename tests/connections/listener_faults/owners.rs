//! Owners that take nothing, observers that panic, and handles that are used from anywhere.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use typha_tls::AuthenticatedStream;
use typha_tls::Connection;
use typha_tls::listener::{ListenerLimits, TyphaListener};

use super::site::{LOOPBACK, Site, bounded, closed, counts, serve};
use crate::hostile::connector_with;

/// Connections that wait for their owner at most.
const WAITING: u64 = 256;
/// Handshakes that are complete and wait for room among them.
const HANDSHAKES: u64 = 2;

type Felix = AuthenticatedStream<TcpStream>;

/// A listener whose owner has not taken one of as many connections as it keeps, with the Felixes.
async fn filled(bound: Duration) -> (Site, TyphaListener, Vec<Felix>) {
    let mut limits = ListenerLimits::default();
    limits.handshakes = 2;
    limits.queue = 4;
    limits.shutdown_drop_interval_max = Duration::ZERO;
    limits.shutdown_timeout = Duration::from_secs(5);
    let (site, listener) = Site::new(bound, limits).await;
    let mut felixes = Vec::new();
    for _ in 0..WAITING + HANDSHAKES {
        felixes.push(site.connect(LOOPBACK).await.unwrap());
    }
    site.until("those that wait fill the room", |stats| (stats.accepted, stats.in_handshake) == (WAITING, 2))
        .await;
    (site, listener, felixes)
}

/// Takes as many connections as there are; each is a Felix's.
async fn take(listener: &mut TyphaListener, count: u64) -> Vec<Connection> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(bounded("taking a connection", listener.accept()).await.unwrap());
    }
    taken
}

#[tokio::test]
async fn an_owner_that_takes_none_gets_no_more_than_the_room_holds() {
    let (site, mut listener, felixes) = filled(Duration::from_secs(2)).await;
    let began = Instant::now();
    let mut more = JoinSet::new();
    for _ in 0..6 {
        // The listener may be faster than this end.
        let Ok(tcp) = site.try_tcp(LOOPBACK).await else { continue };
        more.spawn(site.felix.connect_tcp(tcp));
    }
    for outcome in bounded("being shed", more.join_all()).await {
        // The two for which the queue has no room are reset.
        let label = outcome.unwrap_err().label();
        assert!(["closed", "io"].contains(&label), "{label}");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let stats = site.stats();
    assert_eq!((stats.accepted, stats.in_handshake, stats.queued), (WAITING, 2, 0));
    assert_eq!(stats.shed, counts([("overload", 4), ("queue_full", 2)]));

    let taken = take(&mut listener, WAITING + HANDSHAKES).await;
    let (felix, connection) = tokio::join!(site.connect(LOOPBACK), listener.accept());
    drop((felix.unwrap(), connection.unwrap(), felixes, taken));
    site.until_idle().await;
    assert_eq!((site.stats().accepted, site.stats().not_accepted()), (WAITING + HANDSHAKES + 1, 0));
}

/// The processor time of this thread, on which all of a test's runtime runs.
fn thread_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// What had no room when the listener was shut down is not handed out afterwards; waiting costs no processor time.
#[tokio::test]
async fn nothing_is_handed_out_after_a_shutdown() {
    let (site, mut listener, felixes) = filled(Duration::from_secs(40)).await;
    let handle = site.handle.clone();
    let shutdown = tokio::spawn(async move { handle.shutdown().await });
    site.until("all are told to go", |stats| stats.dropped == counts([("shutdown", WAITING)])).await;
    let mut taken = take(&mut listener, HANDSHAKES).await;
    let before = thread_time();
    sleep(Duration::from_millis(500)).await;
    let spent = thread_time() - before;
    assert!(spent < Duration::from_millis(250), "{spent:?} of 500 ms");
    // The others may be taken until the grace is over.
    while let Some(connection) = bounded("the end", listener.accept()).await {
        taken.push(connection);
    }
    // Their sockets are shut down, although they are still held.
    let report = bounded("the shutdown", shutdown).await.unwrap();
    assert_eq!((report.dropped as u64, report.left), (WAITING, taken.len()));
    drop(taken);
    assert_eq!(site.stats().shed, counts([("shutting_down", HANDSHAKES)]));
    assert_eq!(site.stats().accepted, WAITING);
    drop(felixes);
    site.until_idle().await;
}

#[tokio::test]
async fn a_panicking_observer_harms_nobody() {
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let observed = told.clone();
    let (site, listener) = Site::with(Duration::from_secs(40), |builder| {
        builder.on_failed_handshake(move |_| {
            observed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            panic!("the observer panics, as it is meant to");
        })
    })
    .await;
    let server = serve(listener);
    let stranger = site.pki.ca.issue(crate::hostile::felix_spec().common_name("stranger")).unwrap();
    let stranger = connector_with(&site.pki, &stranger, &TLS13);
    let began = Instant::now();
    for _ in 0..12 {
        let error = stranger.connect_tcp(site.tcp(LOOPBACK).await).await.unwrap_err();
        assert_eq!(error.label(), "refused_by_peer");
    }
    // One that never sends a byte, and one that ends before its handshake.
    let mut peer = site.raw(LOOPBACK, &TLS13).await;
    let hello = peer.outgoing();
    tokio::io::AsyncWriteExt::write_all(&mut peer.io, &hello[..9]).await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut peer.io).await.unwrap();
    closed(&mut peer.io).await;
    // The address pauses all the same: 100 ms after the tenth, and 200 ms after the next. The last had no handshake.
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    site.connect(LOOPBACK).await.unwrap();
    site.connect(Ipv4Addr::new(127, 0, 0, 2)).await.unwrap();
    site.until_idle().await;
    let stats = site.stats();
    assert_eq!(stats.refused, counts([("identity_mismatch", 12)]));
    assert_eq!(stats.failed, counts([("closed", 1)]));
    assert_eq!((stats.accepted, told.load(std::sync::atomic::Ordering::Relaxed)), (2, 13));
    server.abort();
}

/// A handle may be with a thread that is none of a runtime.
#[tokio::test]
async fn a_handle_works_outside_a_runtime() {
    let (site, mut listener) = Site::new(Duration::from_secs(40), ListenerLimits::default()).await;
    let (felix, connection) = tokio::join!(site.connect(LOOPBACK), listener.accept());
    let (handle, connection) = (site.handle.clone(), connection.unwrap());
    let dropped =
        tokio::task::spawn_blocking(move || std::thread::spawn(move || handle.drop_random(1)).join());
    assert_eq!(dropped.await.unwrap().unwrap(), 1);
    bounded("being told", connection.close_requested().cancelled()).await;
    drop((felix, connection));
    site.until_idle().await;
}

//! The graceful shutdown.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;
use typha_tls::Connection;
use typha_tls::TyphaListener;
use typha_tls::lifetime::CloseReason;

use super::rig::*;

/// An owner that closes its connection when it is asked to. Returns when it was asked.
fn owner(typha: Connection) -> tokio::task::JoinHandle<Instant> {
    tokio::spawn(async move {
        typha.close_requested().clone().cancelled().await;
        assert_eq!(typha.close_reason(), Some(CloseReason::Shutdown));
        let told = Instant::now();
        typha.close().await.unwrap();
        told
    })
}

/// Felixes whose owners close when they are asked to.
async fn felixes(listener: &mut TyphaListener, count: usize) -> Vec<tokio::task::JoinHandle<Instant>> {
    let mut owners = Vec::new();
    for _ in 0..count {
        let (typha, mut felix) = pair(listener).await;
        owners.push(owner(typha));
        tokio::spawn(async move { last_words(&mut felix).await.unwrap() });
    }
    owners
}

#[tokio::test]
async fn without_connections_it_is_done_at_once() {
    let mut listener = listen(limits()).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let report = bounded(handle.shutdown()).await;
    assert_eq!((report.dropped, report.left), (0, 0));
    assert!(listener.accept().await.is_none());
    std::net::TcpListener::bind(address).unwrap();
    assert_eq!(bounded(handle.shutdown()).await, report, "a second call tells the same");
}

#[tokio::test]
async fn connections_are_dropped_one_by_one() {
    let interval = Duration::from_millis(60);
    let limits = limited(|limits| limits.shutdown_drop_interval_max = interval);
    let mut listener = listen(limits).await;
    let owners = felixes(&mut listener, 5).await;
    let handle = listener.handle();
    let began = Instant::now();
    let report = bounded(handle.shutdown()).await;
    assert_eq!((report.dropped, report.left), (5, 0));
    assert_eq!(handle.stats().dropped, BTreeMap::from([("shutdown", 5)]));
    let mut told = Vec::new();
    for owner in owners {
        told.push(owner.await.unwrap());
    }
    told.sort();
    // Never before its time; the machine may delay it.
    for (number, told) in (0..).zip(told) {
        assert!(told >= began + interval * number, "number {number}: {:?}", told - began);
    }
}

#[tokio::test]
async fn nothing_new_is_begun() {
    let mut listener = listen(limits()).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let (typha, mut felix) = pair(&mut listener).await;
    let in_queue = tcp(address).await;
    let in_handshake = sent(1, address, &client_hello().await).await;
    until(&handle, |stats| (stats.queued, stats.in_handshake) == (1, 1)).await;
    let shutdown = tokio::spawn(async move { handle.shutdown().await });
    assert_eq!(ending(in_queue).await, Ok(()));
    let mut rest = Vec::new();
    let mut in_handshake = in_handshake;
    // The data that Typha had sent before, and the end.
    let _ = bounded(in_handshake.read_to_end(&mut rest)).await;
    assert!(listener.accept().await.is_none());
    assert_eq!(listener.handle().stats().shed, BTreeMap::from([("shutting_down", 2)]));
    let refused = tokio::net::TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    owner(typha).await.unwrap();
    assert_eq!(last_words(&mut felix).await.unwrap(), "");
    assert_eq!(bounded(shutdown).await.unwrap().left, 0);
}

#[tokio::test]
async fn those_that_nobody_takes_do_not_hold_it_up() {
    let limits = limited(|limits| {
        limits.shutdown_timeout = Duration::from_millis(400);
        limits.handshakes = 4;
    });
    let mut listener = listen_patiently(limits).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let felixes: Vec<_> = (0..260).map(|_| tokio::spawn(connect_patiently(address))).collect();
    until(&handle, |stats| (stats.accepted, stats.in_handshake) == (256, 4)).await;
    let report = bounded(handle.shutdown()).await;
    assert_eq!((report.dropped, report.left), (256, 0));
    assert_eq!(handle.stats().shed, BTreeMap::from([("shutting_down", 4)]));
    assert!(bounded(listener.accept()).await.is_none());
    assert_eq!(handle.active(), 0);
    // All but the four whose handshake was given up get an orderly end.
    let mut ended = 0;
    for felix in felixes {
        if let Ok(mut felix) = bounded(felix).await.unwrap() {
            ended += usize::from(last_words(&mut felix).await.is_ok_and(|words| words.is_empty()));
        }
    }
    assert!((256..=260).contains(&ended), "{ended}");
}

#[tokio::test]
async fn it_ends_in_time_whatever_owners_do() {
    let limits = limited(|limits| limits.shutdown_timeout = Duration::from_millis(400));
    let mut listener = listen(limits).await;
    let (mut reads, mut told) = pair(&mut listener).await;
    let (keeps, mut not_told) = pair(&mut listener).await;
    let reading = tokio::spawn(async move { reads.read(&mut [0]).await.unwrap_err().kind() });
    let report = bounded(listener.handle().shutdown()).await;
    assert_eq!((report.dropped, report.left), (2, 1));
    assert_eq!(reading.await.unwrap(), ErrorKind::ConnectionAborted);
    assert_eq!(last_words(&mut told).await.unwrap(), "");
    // An owner that does not use its connection can not keep it open, but it can not send the end either.
    assert!(keeps.close_requested().is_cancelled());
    assert_eq!(last_words(&mut not_told).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    drop(keeps);
}

#[tokio::test]
async fn it_goes_on_when_nobody_waits_for_it() {
    let mut listener = listen(limits()).await;
    let owners = felixes(&mut listener, 1).await;
    let handle = listener.handle();
    tokio::select! {
        biased;
        _ = handle.shutdown() => panic!("so fast?"),
        () = tokio::task::yield_now() => {}
    }
    for owner in owners {
        bounded(owner).await.unwrap();
    }
    assert_eq!(bounded(handle.shutdown()).await.left, 0);
}

#[tokio::test]
async fn no_time_is_time_enough() {
    let limits = limited(|limits| limits.shutdown_timeout = Duration::ZERO);
    let mut listener = listen(limits).await;
    let (typha, mut felix) = pair(&mut listener).await;
    let report = bounded(listener.handle().shutdown()).await;
    assert_eq!((report.dropped, report.left), (1, 1));
    assert_eq!(last_words(&mut felix).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    drop(typha);
}

#[tokio::test]
async fn all_time_is_no_panic() {
    let limits = limited(|limits| {
        limits.shutdown_timeout = Duration::MAX;
        limits.drop_interval = Duration::MAX;
        limits.shutdown_drop_interval_max = Duration::MAX;
    });
    let mut listener = listen(limits).await;
    let owners = felixes(&mut listener, 2).await;
    let handle = listener.handle();
    handle.rebalance(1);
    let shutdown = tokio::spawn(async move { handle.shutdown().await });
    // One at once, the other in a very long time.
    bounded(until(&listener.handle(), |stats| stats.active == 1)).await;
    listener.handle().drop_random(1);
    let report = bounded(shutdown).await.unwrap();
    assert_eq!((report.dropped, report.left), (1, 0));
    drop(owners);
}

#[test]
fn without_its_runtime_it_is_over() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (its, other) = (runtime(), runtime());
    let (listener, typha, felix) = its.block_on(async {
        let mut listener = listen(limits()).await;
        let (typha, felix) = pair(&mut listener).await;
        (listener, typha, felix)
    });
    let handle = listener.handle();
    drop(its);
    let report = other.block_on(bounded(handle.shutdown()));
    assert_eq!((report.dropped, report.left), (0, 1));
    drop((typha, felix));
}

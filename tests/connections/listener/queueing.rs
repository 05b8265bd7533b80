//! The cap on handshakes, the queue behind it, shares, and shedding.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use rustls::AlertDescription;

use super::rig::*;

#[tokio::test]
async fn beyond_the_queue_the_longest_silent_is_shed_by_a_reset() {
    let mut listener = listen(limited(|limits| limits.queue = 2)).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let mut silent = Vec::new();
    for count in 1..=2 {
        silent.push(tcp(address).await);
        until(&handle, |stats| stats.queued == count).await;
    }
    // A connection counts as silent only after it has had time to send its message.
    tokio::time::sleep(Duration::from_millis(150)).await;
    let (_typha, _felix) = pair(&mut listener).await;
    let oldest = silent.remove(0);
    assert_eq!(ending(oldest).await, Err(ErrorKind::ConnectionReset));
    let stats = until(&handle, |stats| stats.in_handshake == 0).await;
    assert_eq!((stats.queued, stats.accepted), (1, 1));
    assert_eq!(stats.shed, BTreeMap::from([("queue_full", 1)]));
}

#[tokio::test]
async fn a_stalled_handshake_makes_room_for_one_that_waits() {
    let mut listener = listen(limited(|limits| limits.handshakes = 1)).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let _stalled = sent(2, address, &client_hello().await).await;
    until(&handle, |stats| stats.in_handshake == 1).await;
    // Its bound is 10 s; the other one is in long before.
    let (_typha, _felix) = pair(&mut listener).await;
    let stats = until(&handle, |stats| stats.in_handshake == 0).await;
    assert_eq!(stats.shed, BTreeMap::from([("stalled", 1)]));
    assert_eq!((stats.accepted, stats.not_accepted()), (1, 0));
}

#[tokio::test]
async fn one_address_does_not_hold_up_the_others() {
    let limits = limited(|limits| {
        limits.handshakes = 3;
        limits.handshakes_per_address = 2;
    });
    let mut listener = listen(limits).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let hello = client_hello().await;
    let mut stalled = Vec::new();
    for _ in 0..5 {
        stalled.push(sent(2, address, &hello).await);
    }
    until(&handle, |stats| (stats.in_handshake, stats.queued) == (2, 3)).await;
    let (_typha, _felix) = pair(&mut listener).await;
    assert_eq!(handle.stats().shed, BTreeMap::new(), "nobody had to go for it");
}

#[tokio::test]
async fn who_can_not_be_served_in_time_is_shed() {
    let acceptor = acceptor().with_handshake_timeout(Duration::from_secs(2));
    let limits = limited(|limits| limits.handshakes = 1);
    let (listener, _failed) = listen_and_watch(acceptor, limits).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let hello = client_hello().await;
    let _busy = sent(2, address, &hello).await;
    until(&handle, |stats| stats.in_handshake == 1).await;
    // Waiting in line may take a quarter of the bound; the other one has not stalled for a second by then.
    let waiting = sent(1, address, &hello).await;
    assert_eq!(ending(waiting).await, Ok(()));
    assert_eq!(handle.stats().shed, BTreeMap::from([("overload", 1)]));
}

#[tokio::test]
async fn at_the_limit_of_connections_new_ones_are_shed() {
    let mut listener = listen(limited(|limits| limits.connections = 1)).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let (typha, felix) = pair(&mut listener).await;
    assert_eq!(ending(tcp(address).await).await, Ok(()));
    assert_eq!(handle.stats().shed, BTreeMap::from([("connection_limit", 1)]));
    drop((typha, felix));
    pair(&mut listener).await;
}

#[tokio::test]
async fn one_address_can_not_take_every_place() {
    let mut listener = listen(limited(|limits| limits.connections = 4)).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let mut first = pair(&mut listener).await;
    let mut second = pair(&mut listener).await;
    assert_eq!(ending(tcp(address).await).await, Ok(()));
    assert_eq!(handle.stats().shed, BTreeMap::from([("address_limit", 1)]));
    let other = tcp_from(2, address).await;
    let (typha, felix) = tokio::join!(bounded(listener.accept()), bounded(connector().connect_tcp(other)));
    let (_typha, _felix) = (typha.unwrap(), felix.unwrap());
    assert!(is_alive(&mut first.0, &mut first.1).await && is_alive(&mut second.0, &mut second.1).await);
    drop(first);
    pair(&mut listener).await;
}

#[tokio::test]
async fn an_address_that_keeps_failing_waits_and_others_do_not() {
    let (mut listener, mut failed) = listen_and_watch(acceptor(), limits()).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let stranger = stranger();
    for _ in 0..12 {
        let tcp = tcp_from(2, address).await;
        let refused = bounded(stranger.connect_tcp(tcp)).await.unwrap_err();
        assert_eq!(refused.alert(), Some(AlertDescription::AccessDenied));
        bounded(failed.recv()).await.unwrap();
    }
    // The next one has to wait for 400 ms.
    let slowed = tokio::spawn(async move { stranger.connect_tcp(tcp_from(2, address).await).await });
    until(&handle, |stats| stats.queued == 1).await;
    let (_typha, _felix) = pair(&mut listener).await;
    assert_eq!(handle.stats().queued, 1, "the other address was served meanwhile");
    let refused = bounded(slowed).await.unwrap().unwrap_err();
    assert_eq!(refused.alert(), Some(AlertDescription::AccessDenied));
    until(&handle, |stats| stats.refused["identity_mismatch"] == 13).await;
}

#[tokio::test]
async fn a_success_makes_up_for_failures() {
    let (mut listener, mut failed) = listen_and_watch(acceptor(), limits()).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let stranger = stranger();
    for number in 0..12 {
        if number == 9 {
            let tcp = tcp_from(2, address).await;
            let (typha, felix) =
                tokio::join!(bounded(listener.accept()), bounded(connector().connect_tcp(tcp)));
            drop((typha.unwrap(), felix.unwrap()));
        }
        bounded(stranger.connect_tcp(tcp_from(2, address).await)).await.unwrap_err();
        bounded(failed.recv()).await.unwrap();
    }
    // A slowed one would get one handshake at a time.
    let hello = client_hello().await;
    let _stalled = [sent(2, address, &hello).await, sent(2, address, &hello).await];
    until(&handle, |stats| stats.in_handshake == 2).await;
}

#[tokio::test]
async fn who_takes_no_connections_gets_no_more_handshakes() {
    let limits = limited(|limits| limits.handshakes = 4);
    let mut listener = listen_patiently(limits).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let mut felixes = Vec::new();
    // So many wait to be taken, and four handshakes with them.
    for _ in 0..260 {
        felixes.push(tokio::spawn(connect_patiently(address)));
    }
    until(&handle, |stats| (stats.accepted, stats.in_handshake) == (256, 4)).await;
    let late = tokio::spawn(connect_patiently(address));
    until(&handle, |stats| stats.queued == 1).await;
    let mut taken = Vec::new();
    while taken.len() < 261 {
        taken.push(bounded(listener.accept()).await.unwrap());
    }
    felixes.push(late);
    for felix in felixes {
        felix.await.unwrap().unwrap();
    }
    assert_eq!(handle.stats().accepted, 261);
}

/// Handshakes that stall hold no more than handshakes do, however low the limit of connections is.
#[tokio::test]
async fn stalled_handshakes_are_no_connections_in_service() {
    let limits = limited(|limits| (limits.connections, limits.connections_per_address) = (4, Some(4)));
    let mut listener = listen(limits).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let hello = client_hello().await;
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(sent(2, address, &hello).await);
    }
    until(&handle, |stats| stats.in_handshake == 4).await;
    let (_typha, _felix) = pair(&mut listener).await;
    let stats = until(&handle, |stats| stats.in_handshake == 3).await;
    assert_eq!(stats.shed, BTreeMap::from([("stalled", 1)]));
    assert_eq!((stats.accepted, stats.active), (1, 1));
}

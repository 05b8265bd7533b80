//! The connections that the listener yields, and those that it does not.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream as _;
use rustls::AlertDescription;
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use typha_tls::error::HandshakePhase;
use typha_tls::identity::MatchedBy;
use typha_tls::{HandshakeError, Role};

use super::rig::*;

fn counts<const N: usize>(counts: [(&'static str, u64); N]) -> BTreeMap<&'static str, u64> {
    counts.into()
}

#[tokio::test]
async fn authenticated_connections_are_yielded() {
    let mut listener = listen(limits()).await;
    let handle = listener.handle();
    let (mut typha, mut felix) = pair(&mut listener).await;
    assert_eq!(typha.peer().role(), Role::Felix);
    assert_eq!(typha.peer().matched_by(), MatchedBy::CommonName);
    assert_eq!(typha.peer_address(), felix.get_ref().local_addr().unwrap());
    assert_eq!(typha.tls(), felix.tls());
    assert!(is_alive(&mut typha, &mut felix).await);
    assert_eq!(typha.close_reason(), None);

    let stats = until(&handle, |stats| stats.in_handshake == 0).await;
    assert_eq!((stats.accepted, stats.active, stats.queued, handle.active()), (1, 1, 0, 1));
    assert_eq!(stats.matched, counts([("both", 0), ("common_name", 1), ("uri_san", 0)]));
    assert_eq!(stats.handshake_seconds.count(), 1);
    assert!(stats.handshake_seconds.sum > Duration::ZERO);
    drop(typha);
    assert_eq!(handle.active(), 0);
}

#[tokio::test]
async fn it_is_a_stream_too() {
    let mut listener = listen(limits()).await;
    let felix = tokio::spawn(connect(listener.local_addr()));
    let typha = bounded(poll_fn(|cx| Pin::new(&mut listener).poll_next(cx))).await.unwrap();
    assert_eq!(typha.peer_address(), felix.await.unwrap().unwrap().get_ref().local_addr().unwrap());
    let handle = listener.handle();
    bounded(async { tokio::join!(handle.shutdown(), typha.close()) }).await.1.unwrap();
    assert!(poll_fn(|cx| Pin::new(&mut listener).poll_next(cx)).await.is_none());
}

#[tokio::test]
async fn refused_peers_are_told_of_and_not_yielded() {
    let (mut listener, mut failed) = listen_and_watch(acceptor(), limits()).await;
    let tcp = tcp(listener.local_addr()).await;
    let from = tcp.local_addr().unwrap();
    let refused = bounded(stranger().connect_tcp(tcp)).await.unwrap_err();
    assert_eq!(refused.alert(), Some(AlertDescription::AccessDenied));
    let handshake = bounded(failed.recv()).await.unwrap();
    assert_eq!(handshake.peer_address, from);
    assert_eq!(handshake.error.label(), "identity_mismatch");
    assert!(handshake.took > Duration::ZERO);

    let (_typha, _felix) = pair(&mut listener).await;
    let stats = listener.handle().stats();
    assert_eq!((stats.accepted, stats.not_accepted()), (1, 1));
    assert_eq!(stats.refused, counts([("identity_mismatch", 1)]));
    assert_eq!((stats.failed, stats.timed_out, stats.shed), Default::default());
}

#[tokio::test]
async fn what_is_no_tls_fails() {
    let (listener, mut failed) = listen_and_watch(acceptor(), limits()).await;
    let _peer = sent(1, listener.local_addr(), b"GET / HTTP/1.1\r\n\r\n").await;
    let handshake = bounded(failed.recv()).await.unwrap();
    assert!(matches!(handshake.error, HandshakeError::NotTls { start } if start == "GET / HTTP/1.1.."));
    assert_eq!(listener.handle().stats().failed, counts([("not_tls", 1)]));
}

#[tokio::test]
async fn probes_are_counted_apart() {
    let (listener, mut failed) = listen_and_watch(acceptor(), limits()).await;
    let handle = listener.handle();
    drop(tcp(listener.local_addr()).await);
    let by_reset = tcp(listener.local_addr()).await;
    SockRef::from(&by_reset).set_linger(Some(Duration::ZERO)).unwrap();
    drop(by_reset);
    let stats = until(&handle, |stats| stats.probed == 2 && stats.queued == 0).await;
    assert_eq!((stats.not_accepted(), stats.accept_errors), (0, 0));
    assert!(failed.try_recv().is_err(), "nobody is told of probes");
}

#[tokio::test]
async fn silence_and_half_a_message_time_out_without_a_handshake() {
    let acceptor = acceptor().with_handshake_timeout(Duration::from_millis(300));
    let (listener, mut failed) = listen_and_watch(acceptor, limits()).await;
    let silent = tcp(listener.local_addr()).await;
    let hello = client_hello().await;
    let half = sent(1, listener.local_addr(), &hello[..hello.len() / 2]).await;
    let waiting = until(&listener.handle(), |stats| stats.queued == 2).await;
    assert_eq!(waiting.in_handshake, 0);

    assert_eq!(ending(silent).await, Ok(()));
    assert_eq!(ending(half).await, Ok(()));
    let mut phases = Vec::new();
    for _ in 0..2 {
        match bounded(failed.recv()).await.unwrap().error {
            HandshakeError::TimedOut { phase, after } => phases.push((phase, after.as_millis())),
            other => panic!("{other:?}"),
        }
    }
    assert!(phases.contains(&(HandshakePhase::AwaitingFirstByte, 300)));
    assert!(phases.contains(&(HandshakePhase::Negotiating, 300)));
    assert_eq!(listener.handle().stats().timed_out, counts([("awaiting_first_byte", 1), ("negotiating", 1)]));
}

#[tokio::test]
async fn a_message_may_come_in_pieces() {
    let (listener, mut failed) = listen_and_watch(acceptor(), limits()).await;
    let hello = client_hello().await;
    let mut tcp = sent(1, listener.local_addr(), &hello[..3]).await;
    for piece in [&hello[3..5], &hello[5..100], &hello[100..hello.len() - 1]] {
        tokio::time::sleep(Duration::from_millis(20)).await;
        tcp.write_all(piece).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(listener.handle().stats().in_handshake, 0);
    tcp.write_all(&hello[hello.len() - 1..]).await.unwrap();
    until(&listener.handle(), |stats| stats.in_handshake == 1).await;
    drop(tcp);
    let error = bounded(failed.recv()).await.unwrap().error;
    assert!(matches!(error, HandshakeError::Closed { .. } | HandshakeError::Io(_)), "{error:?}");
}

#[tokio::test]
async fn half_a_message_and_the_end_is_a_failure_at_once() {
    let (listener, mut failed) = listen_and_watch(acceptor(), limits()).await;
    let hello = client_hello().await;
    let mut tcp = sent(1, listener.local_addr(), &hello[..hello.len() / 2]).await;
    tcp.shutdown().await.unwrap();
    let error = bounded(failed.recv()).await.unwrap().error;
    assert!(matches!(error, HandshakeError::Closed { phase: HandshakePhase::Negotiating }), "{error:?}");
}

#[tokio::test]
async fn giving_up_accept_loses_no_connection() {
    let mut listener = listen(limits()).await;
    let address = listener.local_addr();
    let felixes: Vec<_> = (0..20).map(|_| tokio::spawn(connect(address))).collect();
    let mut accepted = Vec::new();
    while accepted.len() < 20 {
        // The future is dropped after one poll, again and again.
        tokio::select! {
            biased;
            connection = listener.accept() => accepted.push(connection.unwrap()),
            () = tokio::task::yield_now() => {}
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for felix in felixes {
        felix.await.unwrap().unwrap();
    }
    assert_eq!(listener.handle().stats().accepted, 20);
}

#[tokio::test]
async fn connections_outlive_their_listener() {
    let mut listener = listen(limits()).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    let (mut typha, mut felix) = pair(&mut listener).await;
    let hello = client_hello().await;
    let in_queue = tcp(address).await;
    let in_handshake = sent(1, address, &hello).await;
    until(&handle, |stats| (stats.queued, stats.in_handshake) == (1, 1)).await;
    drop(listener);
    assert_eq!(ending(in_queue).await, Ok(()));
    drop(in_handshake);
    let stats = until(&handle, |stats| (stats.queued, stats.in_handshake) == (0, 0)).await;
    assert_eq!(stats.shed, counts([("shutting_down", 2)]));
    assert!(is_alive(&mut typha, &mut felix).await);
    assert_eq!(handle.active(), 1);
    // The port is free.
    std::net::TcpListener::bind(address).unwrap();
}

//! Connections whose owners are asked to close them.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;
use typha_tls::Connection;
use typha_tls::TyphaListener;
use typha_tls::lifetime::CloseReason;

use super::rig::*;

async fn pairs(listener: &mut TyphaListener, count: usize) -> Vec<(Connection, Stream)> {
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push(pair(listener).await);
    }
    pairs
}

fn told(pairs: &[(Connection, Stream)]) -> usize {
    pairs.iter().filter(|(typha, _)| typha.close_requested().is_cancelled()).count()
}

#[tokio::test]
async fn so_many_are_told_and_the_others_stay() {
    let mut listener = listen(limits()).await;
    let handle = listener.handle();
    let mut pairs = pairs(&mut listener, 5).await;
    assert_eq!(handle.drop_random(2), 2);
    assert_eq!(told(&pairs), 2);
    // Those are still there, and their owners are not asked again.
    assert_eq!(handle.active(), 5);
    assert_eq!(handle.drop_random(10), 3);
    assert_eq!(told(&pairs), 5);
    assert_eq!(handle.stats().dropped, BTreeMap::from([("requested", 5)]));
    assert_eq!(handle.drop_random(1), 0);
    for (typha, _) in &pairs {
        assert_eq!(typha.close_reason(), Some(CloseReason::Requested));
    }
    // They work for the time of the grace.
    let (typha, felix) = &mut pairs[0];
    assert!(is_alive(typha, felix).await);
}

#[tokio::test]
async fn an_owner_who_listens_ends_its_connection_in_order() {
    let mut listener = listen(limits()).await;
    let handle = listener.handle();
    let (mut typha, mut felix) = pair(&mut listener).await;
    let owner = tokio::spawn(async move {
        typha.close_requested().clone().cancelled().await;
        typha.write_all(b"to be continued").await.unwrap();
        typha.close().await
    });
    assert_eq!(handle.drop_random(1), 1);
    assert_eq!(last_words(&mut felix).await.unwrap(), "to be continued");
    drop(felix);
    bounded(owner).await.unwrap().unwrap();
    assert_eq!(handle.active(), 0);
}

#[tokio::test]
async fn an_owner_who_only_reads_is_stopped_and_felix_told() {
    let limits = limited(|limits| limits.drop_grace = Duration::from_millis(50));
    let mut listener = listen(limits).await;
    let handle = listener.handle();
    let (mut typha, mut felix) = pair(&mut listener).await;
    let owner = tokio::spawn(async move {
        let error = typha.read(&mut [0]).await.unwrap_err();
        let written = typha.write(b"x").await.unwrap_err().kind();
        (typha, (error.kind(), error.to_string(), written))
    });
    assert_eq!(handle.drop_random(1), 1);
    let (kept, ended) = bounded(owner).await.unwrap();
    let text = "this connection was force-closed on our side (requested)".to_owned();
    assert_eq!(ended, (ErrorKind::ConnectionAborted, text, ErrorKind::ConnectionAborted));
    // Although its owner keeps it.
    assert_eq!(last_words(&mut felix).await.unwrap(), "");
    assert_eq!(handle.active(), 1);
    drop(kept);
    assert_eq!(handle.active(), 0);
}

#[tokio::test]
async fn an_owner_without_a_buffer_is_stopped_too() {
    let mut listener = listen(limited(|limits| limits.drop_grace = Duration::from_millis(50))).await;
    let handle = listener.handle();
    let (mut typha, mut felix) = pair(&mut listener).await;
    felix.write_all(b"hello").await.unwrap();
    assert_eq!(bounded(typha.fill_buf()).await.unwrap(), b"hello");
    typha.consume(2);
    assert_eq!(bounded(typha.fill_buf()).await.unwrap(), b"llo", "what is not consumed stays");
    typha.consume(3);
    let owner = tokio::spawn(async move { typha.fill_buf().await.unwrap_err().kind() });
    assert_eq!(handle.drop_random(1), 1);
    assert_eq!(bounded(owner).await.unwrap(), ErrorKind::ConnectionAborted);
    assert_eq!(last_words(&mut felix).await.unwrap(), "");
}

#[tokio::test]
async fn an_owner_who_lets_go_says_goodbye() {
    let mut listener = listen(limits()).await;
    let handle = listener.handle();
    let (typha, mut felix) = pair(&mut listener).await;
    handle.drop_random(1);
    drop(typha);
    assert_eq!(last_words(&mut felix).await.unwrap(), "");

    // Also without having been asked to.
    let (typha, mut felix) = pair(&mut listener).await;
    drop(typha);
    assert_eq!(last_words(&mut felix).await.unwrap(), "");
}

#[tokio::test]
async fn a_felix_that_does_not_read_is_not_waited_for() {
    let limits = limited(|limits| limits.drop_grace = Duration::from_millis(50));
    let mut listener = listen(limits).await;
    let handle = listener.handle();
    let (typha, felix) = pair(&mut listener).await;
    // Both halves at work, and none of them can go on.
    let (mut reader, mut writer) = tokio::io::split(typha);
    let reading = tokio::spawn(async move { reader.read(&mut [0]).await.unwrap_err().kind() });
    let writing = tokio::spawn(async move {
        loop {
            if let Err(error) = writer.write_all(&[0; 64 * 1024]).await {
                return error.kind();
            }
        }
    });
    sleep(Duration::from_millis(100)).await;
    assert_eq!(handle.drop_random(1), 1);
    assert_eq!(bounded(reading).await.unwrap(), ErrorKind::ConnectionAborted);
    assert_eq!(bounded(writing).await.unwrap(), ErrorKind::ConnectionAborted);
    assert_eq!(handle.active(), 0);
    drop(felix);
}

#[tokio::test]
async fn rebalancing_drops_down_to_its_target() {
    let limits = limited(|limits| {
        limits.drop_interval = Duration::from_millis(20);
        limits.connections_lower = 2;
    });
    let mut listener = listen(limits).await;
    let handle = listener.handle();
    let mut all = pairs(&mut listener, 6).await;
    assert_eq!(handle.rebalance(4), 4);
    let stats = until(&handle, |stats| stats.dropped.values().sum::<u64>() == 2).await;
    assert_eq!(stats.dropped, BTreeMap::from([("rebalance", 2)]));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(told(&all), 2, "no more than needed");

    // The target holds for those who come later, and has its limits.
    all.retain(|(typha, _)| !typha.close_requested().is_cancelled());
    all.extend(pairs(&mut listener, 1).await);
    until(&handle, |stats| stats.dropped["rebalance"] == 3).await;
    assert_eq!(handle.rebalance(0), 2);
    until(&handle, |stats| stats.dropped["rebalance"] == 5).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(handle.stats().dropped["rebalance"], 5);
    assert_eq!(handle.rebalance(usize::MAX), 10_000);
}

/// The owner may be stuck, or have forgotten the connection.
#[tokio::test]
async fn a_force_closed_connection_ends_although_nobody_uses_it() {
    let limits = limited(|limits| {
        limits.drop_grace = Duration::from_millis(2);
        limits.connections = 1;
    });
    let mut listener = listen(limits).await;
    let handle = listener.handle();
    let (mut stuck, mut felix) = pair(&mut listener).await;
    assert_eq!(handle.drop_random(1), 1);
    // It is truncated: only the owner could have sent `close_notify`.
    assert_eq!(last_words(&mut felix).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    until(&handle, |stats| (stats.active, stats.unreleased) == (0, 1)).await;
    // There is room for another one while the owner still holds this one.
    let (mut typha, mut other) = pair(&mut listener).await;
    assert!(is_alive(&mut typha, &mut other).await);
    assert_eq!(stuck.write_all(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    drop(stuck);
    let stats = handle.stats();
    assert_eq!((stats.active, stats.unreleased, stats.accepted), (1, 0, 2));
}

/// A part of a message must not look like all of it.
#[tokio::test]
async fn a_message_that_is_cut_off_has_no_orderly_end() {
    let limits = limited(|limits| limits.drop_grace = Duration::from_millis(2));
    let mut listener = listen(limits).await;
    let handle = listener.handle();
    for _ in 0..20 {
        let (mut typha, mut felix) = pair(&mut listener).await;
        let message = vec![7; 8 * 1024 * 1024];
        let writing =
            tokio::spawn(async move { typha.write_all(&message).await.map_err(|error| error.kind()) });
        let reading = tokio::spawn(async move {
            let mut received = Vec::new();
            let end = felix.read_to_end(&mut received).await;
            (received.len(), end.map_err(|error| error.kind()))
        });
        handle.drop_random(1);
        let written = bounded(writing).await.unwrap();
        let (received, end) = bounded(reading).await.unwrap();
        if let Err(kind) = written {
            assert_eq!(kind, ErrorKind::ConnectionAborted);
            assert!(received < 8 * 1024 * 1024);
        }
        // Also if all was written, the last of it may not have left before the grace ended.
        let is_cut = matches!(end, Err(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset));
        let is_whole = (received, end) == (8 * 1024 * 1024, Ok(received));
        assert!(is_cut || is_whole || received == 0, "{received} bytes, then {end:?}");
    }
}

/// A program that passes data on must not make a truncated stream look whole.
#[tokio::test]
async fn with_reset_on_drop_only_a_shutdown_ends_in_order() {
    let mut listener = listen(limits()).await;
    let handle = listener.handle();
    let (typha, mut felix) = pair(&mut listener).await;
    drop(typha.with_reset_on_drop());
    assert_eq!(bounded(felix.read(&mut [0])).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

    let (typha, mut felix) = pair(&mut listener).await;
    let mut typha = typha.with_reset_on_drop();
    assert_eq!(handle.drop_random(1), 1);
    assert_eq!(bounded(typha.read(&mut [0])).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    drop(typha);
    assert_eq!(bounded(felix.read(&mut [0])).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

    // The listener takes it from an owner that does not use it.
    #[cfg(target_os = "linux")]
    {
        let (typha, mut felix) = pair(&mut listener).await;
        let _typha = typha.with_reset_on_drop();
        assert_eq!(handle.drop_random(1), 1);
        assert_eq!(bounded(felix.read(&mut [0])).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    let (typha, mut felix) = pair(&mut listener).await;
    let mut typha = typha.with_reset_on_drop();
    typha.write_all(b"all").await.unwrap();
    typha.shutdown().await.unwrap();
    drop(typha);
    assert_eq!(last_words(&mut felix).await.unwrap(), "all");
}

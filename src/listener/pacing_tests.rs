//! Shutdown and rebalancing with a paused clock and connections without a socket.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use rustls_pki_types::UnixTime;

use super::handle::{ListenerHandle, ShutdownReport};
use super::limits::ListenerLimits;
use super::{Entrance, TyphaListener};
use crate::Role;
use crate::lifetime::{Entry, TrustState};
use crate::stream::TcpShutdown;
use crate::testing::{TestLeaf, TestPki};
use crate::verifier::VerifiedPeer;

/// A listener without a socket.
struct Site {
    entrance: Arc<Entrance>,
    handle: ListenerHandle,
}

fn site(limits: ListenerLimits) -> Site {
    let acceptor = TestPki::new().unwrap().acceptor().unwrap();
    let (entrance, handle, _) = TyphaListener::builder(acceptor)
        .limits(limits)
        .build(([127, 0, 0, 1], 1).into(), tokio::sync::mpsc::channel(1).1);
    Site { entrance, handle }
}

static FELIX: LazyLock<(VerifiedPeer, TestLeaf)> = LazyLock::new(|| {
    let pki = TestPki::new().unwrap();
    let acceptor = pki.acceptor().unwrap();
    let now = UnixTime::now();
    let chain = acceptor.verifier().verify(pki.felix.chain(), Role::Felix, now).unwrap();
    (VerifiedPeer::proven(chain), pki.felix)
});

/// A connection without a socket.
fn enter(site: &Site) -> Arc<Entry> {
    let (peer, felix) = &*FELIX;
    let trust = TrustState::new(peer.clone(), felix.chain(), 1);
    site.entrance.connections.add(([127, 0, 0, 1], 1).into(), trust, TcpShutdown::default())
}

/// An owner that keeps its connection for `takes` after it was asked. Returns when it was asked.
fn connection(site: &Site, takes: Duration) -> JoinHandle<Instant> {
    let (connections, entry) = (site.entrance.connections.clone(), enter(site));
    tokio::spawn(async move {
        entry.close_requested().cancelled().await;
        let asked = Instant::now();
        sleep(takes).await;
        connections.remove(&entry);
        asked
    })
}

/// When each owner was asked, in order, in milliseconds after the start.
async fn asked(began: Instant, owners: Vec<JoinHandle<Instant>>) -> Vec<u128> {
    let mut times = Vec::new();
    for owner in owners {
        times.push((owner.await.unwrap() - began).as_millis());
    }
    times.sort_unstable();
    times
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_connections_take_95_percent_of_the_timeout() {
    let site = site(ListenerLimits::default());
    let owners: Vec<_> = (0..10_000).map(|_| connection(&site, Duration::ZERO)).collect();
    let began = Instant::now();
    let report = site.handle.clone().shut_down().await;
    assert_eq!(report, ShutdownReport { dropped: 10_000, left: 0 });
    // 300 s * 95 % / 10,000 = 28.5 ms for each; the first one at once. The timer has steps of 1 ms.
    for (number, millis) in asked(began, owners).await.into_iter().enumerate() {
        let due = number as u128 * 28_500 / 1000;
        assert!((due..=due + 2).contains(&millis), "number {number} was asked after {millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn few_connections_do_not_take_longer_than_the_interval_allows() {
    let site = site(ListenerLimits::default());
    let owners: Vec<_> = (0..4).map(|_| connection(&site, Duration::ZERO)).collect();
    let began = Instant::now();
    site.handle.shut_down().await;
    assert_eq!(began.elapsed().as_secs(), 3);
    assert_eq!(asked(began, owners).await, [0, 1000, 2000, 3000]);
}

#[tokio::test(start_paused = true)]
async fn more_than_one_may_be_due_at_a_time() {
    let timeout = Duration::from_millis(100);
    let site = site(ListenerLimits { shutdown_timeout: timeout, ..ListenerLimits::default() });
    let owners: Vec<_> = (0..1000).map(|_| connection(&site, Duration::ZERO)).collect();
    let began = Instant::now();
    let report = site.handle.shut_down().await;
    assert_eq!(report, ShutdownReport { dropped: 1000, left: 0 });
    assert!(asked(began, owners).await.iter().all(|millis| *millis <= 96));
}

#[tokio::test(start_paused = true)]
async fn owners_that_do_not_let_go_are_left_behind() {
    let site = site(ListenerLimits::default());
    let slow: Vec<_> = (0..2).map(|_| connection(&site, Duration::from_secs(1000))).collect();
    let quick = connection(&site, Duration::ZERO);
    let began = Instant::now();
    let report = site.handle.clone().shut_down().await;
    assert_eq!(report, ShutdownReport { dropped: 3, left: 2 });
    // The last one is asked after 2 s at the latest, and has 1 s to close and 250 ms for its last bytes. Then its
    // socket is shut down.
    assert!((2250..=3251).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(site.handle.active(), 0);
    drop((slow, quick));
}

#[tokio::test(start_paused = true)]
async fn their_use_ends_after_the_grace() {
    let site = site(ListenerLimits::default());
    let entry = enter(&site);
    assert_eq!(site.handle.drop_random(1), 1);
    tokio::task::yield_now().await;
    sleep(Duration::from_millis(999)).await;
    assert!(entry.close_requested().is_cancelled() && !entry.is_force_closed());
    sleep(Duration::from_millis(2)).await;
    assert!(entry.is_force_closed());
}

#[tokio::test(start_paused = true)]
async fn rebalancing_keeps_its_pace_and_its_target() {
    let site = site(ListenerLimits { connections_lower: 1, ..ListenerLimits::default() });
    let owners: Vec<_> = (0..50).map(|_| connection(&site, Duration::ZERO)).collect();
    let governor = tokio::spawn(site.handle.clone().keep_balanced());
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(site.entrance.connections.staying_count(), 50, "without a target nothing is dropped");
    let began = Instant::now();
    site.handle.rebalance(10);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(site.entrance.connections.staying_count(), 10);
    site.handle.rebalance(0);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(site.handle.drop_random(2), 1, "the lower limit holds");
    let times = asked(began, owners).await;
    let pauses: Vec<_> = times.windows(2).take(39).map(|pair| pair[1] - pair[0]).collect();
    // One second plus up to a tenth; not always the same.
    assert!(pauses.iter().all(|pause| (999..=1102).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    site.entrance.stop();
    governor.await.unwrap();
}

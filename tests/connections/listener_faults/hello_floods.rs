//! Peers that begin a handshake and stop, by the hundred: all are gone at the bound, and nobody waits for them.

use std::net::Ipv4Addr;
use std::time::Duration;

use rustls::version::TLS13;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use typha_tls::listener::ListenerLimits;

use super::site::{LOOPBACK, Site, assert_within, closed, counts, serve};

/// The address of those that stop.
const MANY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

struct Flood {
    half: usize,
    whole: usize,
    silent: usize,
    bound: Duration,
    /// When all must be gone.
    gone: Duration,
    /// What a good Felix may take meanwhile.
    good: Duration,
    good_from: Ipv4Addr,
}

/// Returns how many good Felixes got in, with the site.
async fn flood(flood: Flood) -> (Site, u64) {
    let (site, listener) = Site::new(flood.bound, ListenerLimits::default()).await;
    let site = std::sync::Arc::new(site);
    let server = serve(listener);
    let mut peers = JoinSet::new();
    for index in 0..flood.half + flood.whole + flood.silent {
        let began = Instant::now();
        let mut peer = site.raw(MANY, &TLS13).await;
        let hello = peer.outgoing();
        let part = match index {
            _ if index < flood.half => &hello[..hello.len() / 2],
            _ if index < flood.half + flood.whole => &hello[..],
            _ => &[],
        };
        peer.io.write_all(part).await.unwrap();
        peers.spawn(async move {
            closed(&mut peer.io).await;
            began.elapsed()
        });
    }
    let mut good = 0;
    let all_are_there = Instant::now();
    let mut slowest = Duration::ZERO;
    while !peers.is_empty() {
        let began = Instant::now();
        let stream = site.connect(flood.good_from).await.unwrap();
        slowest = slowest.max(began.elapsed());
        assert_within("a good Felix", began.elapsed(), Duration::ZERO, flood.good);
        drop(stream);
        good += 1;
        while let Some(took) = peers.try_join_next() {
            // Those that were shed need not wait for the bound.
            assert_within("one that stops", took.unwrap(), Duration::ZERO, flood.gone);
        }
        assert!(all_are_there.elapsed() < flood.gone, "{} are still there", peers.len());
        sleep(Duration::from_millis(50)).await;
    }
    println!("{good} good Felixes, the slowest in {slowest:?}");
    site.until_idle().await;
    server.abort();
    let Ok(site) = std::sync::Arc::try_unwrap(site) else { panic!("it is in use") };
    (site, good)
}

#[tokio::test]
async fn half_client_hellos_hold_up_nobody() {
    let bound = Duration::from_secs(2);
    let (site, good) = flood(Flood {
        half: 300,
        whole: 0,
        silent: 50,
        bound,
        gone: 2 * bound,
        good: bound / 2,
        // Behind the same address even.
        good_from: MANY,
    })
    .await;
    let stats = site.stats();
    assert_eq!(stats.timed_out, counts([("awaiting_first_byte", 50), ("negotiating", 300)]));
    assert_eq!((stats.accepted, stats.not_accepted()), (good, 350));
    assert_eq!(stats.shed, counts([]));
}

/// Each holds a handshake, up to their address's share of them; the others give up in line, after a quarter of the
/// bound.
#[tokio::test]
async fn whole_client_hellos_hold_up_nobody_elsewhere() {
    let bound = Duration::from_secs(2);
    let (site, good) = flood(Flood {
        half: 60,
        whole: 64 + 36,
        silent: 20,
        bound,
        gone: 2 * bound,
        good: bound / 2,
        good_from: LOOPBACK,
    })
    .await;
    let stats = site.stats();
    // On a fast machine, 36 are shed. On a slow one, some give up before they are given a handshake that is free, get
    // one after others have timed out, or are timed out before their first byte is read.
    let shed: u64 = stats.shed.values().sum();
    assert!((1..=100).contains(&shed), "{shed}");
    assert_eq!((stats.accepted, stats.not_accepted()), (good, 60 + 100 + 20 - shed));
    assert_eq!(stats.timed_out.values().sum::<u64>(), stats.not_accepted(), "{:?}", stats.timed_out);
}

#[tokio::test]
#[ignore = "takes 10 s: Calico's bound, at full size"]
async fn a_thousand_half_client_hellos_are_gone_at_calicos_bound() {
    let (site, good) = flood(Flood {
        half: 1000,
        whole: 0,
        silent: 0,
        bound: Duration::from_secs(10),
        gone: Duration::from_secs(12),
        good: Duration::from_secs(1),
        good_from: LOOPBACK,
    })
    .await;
    let stats = site.stats();
    assert_eq!(stats.timed_out, counts([("negotiating", 1000)]));
    assert_eq!((stats.accepted, stats.not_accepted()), (good, 1000));
    assert_eq!(stats.shed, counts([]));
    assert!(good >= 100, "{good} good ones only");
}

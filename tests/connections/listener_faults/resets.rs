//! Peers that go away at every step of a handshake, by a reset and by closing their half: each is counted for what it
//! was.

use std::net::Ipv4Addr;
use std::time::Duration;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use typha_tls::listener::{ListenerLimits, ListenerStats};

use super::site::{LOOPBACK, Site, closed, counts, reset, serve, total};
use crate::hostile::RawPeer;

/// How far a peer goes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Connected,
    HalfHello,
    WholeHello,
    /// It has received Typha's first messages.
    TyphasFlight,
    /// Typha has accepted it.
    Accepted,
}

const STEPS: [Step; 5] =
    [Step::Connected, Step::HalfHello, Step::WholeHello, Step::TyphasFlight, Step::Accepted];

#[derive(Clone, Copy, Debug)]
enum Ending {
    /// It closes its half, and waits for Typha to close the other.
    HalfClose,
    Reset,
}

/// The timeout of handshakes: longer than any wait here, so that it does not end any of them.
const BOUND: Duration = Duration::from_secs(40);

const PEERS: u8 = 12;

async fn go(peer: &mut RawPeer<TcpStream>, step: Step, version: &SupportedProtocolVersion) {
    match step {
        Step::Connected => {}
        Step::HalfHello => {
            let hello = peer.outgoing();
            peer.io.write_all(&hello[..hello.len() / 2]).await.unwrap();
        }
        Step::WholeHello => peer.send().await.unwrap(),
        Step::TyphasFlight => {
            peer.send().await.unwrap();
            while !peer.tls.wants_write() {
                peer.receive().await.unwrap();
            }
        }
        Step::Accepted => {
            peer.handshake().await.unwrap();
            if version.version == TLS13.version {
                // The ticket, which Typha sends when it has accepted.
                peer.receive().await.unwrap();
            }
        }
    }
}

fn expected(step: Step, ending: Ending) -> (u64, u64, Vec<(&'static str, u64)>) {
    let peers = u64::from(PEERS);
    match (step, ending) {
        (Step::Connected, _) => (0, peers, vec![]),
        (Step::Accepted, _) => (peers, 0, vec![]),
        (_, Ending::HalfClose) => (0, 0, vec![("closed", peers)]),
        (_, Ending::Reset) => (0, 0, vec![("io", peers)]),
    }
}

async fn peers_go_away(version: &'static SupportedProtocolVersion, step: Step, ending: Ending) {
    let (site, listener) =
        Site::speaking(version, BOUND, |builder| builder.limits(ListenerLimits::default())).await;
    let server = serve(listener);
    let mut peers = JoinSet::new();
    for index in 0..PEERS {
        // One address each, as one alone would be slowed down after ten failures.
        let mut peer = site.raw(Ipv4Addr::new(127, 0, 1, index), version).await;
        peers.spawn(async move {
            go(&mut peer, step, version).await;
            match ending {
                Ending::HalfClose => {
                    peer.io.shutdown().await.unwrap();
                    closed(&mut peer.io).await;
                }
                Ending::Reset => reset(peer.io),
            }
        });
    }
    while let Some(done) = peers.join_next().await {
        done.unwrap();
    }
    let what = format!("{step:?}, {ending:?}");
    site.until(&what, |stats| total(stats) >= u64::from(PEERS)).await;
    site.until_idle().await;
    let (accepted, probed, failed) = expected(step, ending);
    let stats = site.stats();
    assert_eq!((stats.accepted, stats.probed), (accepted, probed), "{what}: {stats:?}");
    assert_eq!(stats.failed, failed.into_iter().collect(), "{what}");
    assert_eq!(total(&stats), u64::from(PEERS), "{what}: {stats:?}");
    assert_eq!(stats.handshake_seconds.count(), accepted, "{what}");

    site.connect(LOOPBACK).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    server.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_go_away_give_their_places_back() {
    for version in [&TLS13, &TLS12] {
        for step in STEPS {
            for ending in [Ending::HalfClose, Ending::Reset] {
                peers_go_away(version, step, ending).await;
            }
        }
    }
}

/// Whether Typha has read what it needs before it sees the reset is open: it counts each once, either way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_reset_with_their_last_message_are_counted_once() {
    let (site, listener) = Site::new(BOUND, ListenerLimits::default()).await;
    let server = serve(listener);
    for index in 0..100 {
        let mut peer = site.raw(Ipv4Addr::new(127, 0, 1, index), &TLS13).await;
        peer.handshake().await.unwrap();
        reset(peer.io);
    }
    site.until("all are counted", |stats| total(stats) >= 100).await;
    site.until_idle().await;
    let stats: ListenerStats = site.stats();
    let failed = stats.failed.get("io").copied().unwrap_or_default();
    assert_eq!((stats.accepted + failed, total(&stats)), (100, 100), "{stats:?}");
    server.abort();
}

/// Those that wait in line are served or found gone when it is their turn.
#[tokio::test]
async fn peers_that_reset_in_line_do_not_hold_it_up() {
    let mut limits = ListenerLimits::default();
    (limits.handshakes, limits.handshakes_per_address) = (1, 1);
    let (site, listener) = Site::new(BOUND, limits).await;
    let server = serve(listener);
    let mut holder = site.raw(LOOPBACK, &TLS13).await;
    holder.send().await.unwrap();
    site.until("the only handshake is taken", |stats| stats.in_handshake == 1).await;
    let mut gone = Vec::new();
    for index in 0..8 {
        let mut peer = site.raw(Ipv4Addr::new(127, 0, 1, index), &TLS13).await;
        peer.send().await.unwrap();
        gone.push(peer);
    }
    site.until("the others wait", |stats| stats.queued == 8).await;
    gone.into_iter().for_each(|peer| reset(peer.io));
    reset(holder.io);
    site.connect(LOOPBACK).await.unwrap();
    site.until_idle().await;
    assert_eq!((site.stats().accepted, site.stats().failed), (1, counts([("io", 9)])));
    server.abort();
}

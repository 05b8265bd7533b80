//! More Felixes than there is room for: each is in or turned away at once, and the counts add up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use typha_tls::listener::ListenerLimits;

use super::site::{HANG, LOOPBACK, Site, serve, total};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn felixes_that_try_again_all_get_in() {
    const FELIXES: u64 = 48;
    let mut limits = ListenerLimits::default();
    (limits.handshakes, limits.queue) = (2, 4);
    // In line for a quarter of it at most.
    let bound = Duration::from_secs(8);
    let (site, listener) = Site::new(bound, limits).await;
    let (site, server) = (Arc::new(site), serve(listener));
    let made = Arc::new(AtomicU64::new(0));
    let mut felixes = JoinSet::new();
    for _ in 0..FELIXES {
        let (site, made) = (site.clone(), made.clone());
        felixes.spawn(async move {
            let deadline = Instant::now() + HANG;
            let mut turned_away = 0;
            loop {
                assert!(Instant::now() < deadline, "not in after {turned_away} tries");
                let began = Instant::now();
                // The system has made the connection even if it is reset before this end learns of it.
                made.fetch_add(1, Ordering::Relaxed);
                let outcome = match site.try_tcp(LOOPBACK).await {
                    Ok(tcp) => site.felix.connect_tcp(tcp).await.map_err(|error| error.label()),
                    Err(error) => {
                        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                        Err("io")
                    }
                };
                // Far less than the bound.
                assert!(began.elapsed() < bound / 2, "{:?}", began.elapsed());
                match outcome {
                    Ok(stream) => return (stream, turned_away),
                    Err(reason) => assert_eq!(reason, "io"),
                }
                turned_away += 1;
                sleep(Duration::from_millis(5)).await;
            }
        });
    }
    let (streams, turned_away): (Vec<_>, Vec<u64>) = felixes.join_all().await.into_iter().unzip();
    let made = made.load(Ordering::Relaxed);
    // Felix may know before it is counted.
    site.until("all are counted", |stats| total(stats) >= made).await;
    let stats = site.stats();
    assert_eq!((stats.accepted, stats.active), (FELIXES, streams.len()));
    let shed: u64 = stats.shed.values().sum();
    assert_eq!((shed, shed > 0), (turned_away.iter().sum(), true), "{stats:?}");
    assert_eq!(total(&stats), made, "{stats:?}");
    assert_eq!(stats.not_accepted() + stats.probed, 0, "{stats:?}");
    assert!(stats.shed.keys().all(|cause| *cause == "queue_full"), "{stats:?}");
    drop(streams);
    site.until_idle().await;
    server.abort();
}

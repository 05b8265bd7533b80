//! A Typha dies without a word, and its Felixes go to another one.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use typha_tls::config::{FelixConfig, Sources};
use typha_tls::dialer::{DialerPhase, FelixDialer, TyphaEndpoint};

use super::rig::*;

/// So many Felixes hold a connection each to the Typha of their own node, which is killed. Returns how long it took
/// until the last one had another Typha.
async fn kill(felixes: usize) -> Duration {
    let pki = Pki::new();
    // They are all on this machine: more of them than usual have one address.
    let limits = format!("--max-queue-per-address {felixes}");
    let (first, second) = (Typha::start(&pki, &limits), Typha::start(&pki, &limits));
    let endpoint = |typha: &Typha| TyphaEndpoint::new(typha.address.parse().unwrap());
    let endpoints = [endpoint(&first).on_node("ours"), endpoint(&second)];
    let config = FelixConfig::load(&Sources::none().with_file(pki.path("felix.cfg"))).unwrap();
    let connector = config.connector().unwrap();
    let cancel = CancellationToken::new();
    let mut states = Vec::new();
    for _ in 0..felixes {
        let dialer = FelixDialer::new(connector.clone(), Vec::from_iter(endpoints.clone()));
        let dialer = dialer.with_node_name("ours");
        states.push(dialer.state());
        let cancel = cancel.clone();
        tokio::spawn(async move {
            dialer
                .run(cancel, async |mut connection| match connection.read(&mut [0]).await {
                    Ok(_) => Err("Typha has ended it"),
                    Err(_) => Err("Typha is gone"),
                })
                .await;
        });
    }
    let all = |count: usize| move |stats: &serde_json::Value| stats["active"] == json!(count);
    let (first, second) = tokio::task::spawn_blocking(move || {
        first.until(all(felixes));
        second.until(all(0));
        (first, second)
    })
    .await
    .unwrap();
    let (second_address, killed) = (second.address.parse().unwrap(), Instant::now());
    drop(first);
    for mut state in states {
        let connected = state.wait_for(|state| {
            matches!(&state.phase, DialerPhase::Connected { endpoint, .. } if endpoint.address == second_address)
        });
        timeout(Duration::from_secs(60), connected).await.unwrap().unwrap();
    }
    let took = killed.elapsed();
    let second = tokio::task::spawn_blocking(move || {
        second.until(all(felixes));
        second
    });
    let stats = second.await.unwrap().stats();
    println!("{felixes} Felixes had another Typha after {took:?}: {stats}");
    assert_eq!((&stats["accepted"], &stats["shed"]), (&json!(felixes), &json!({})));
    cancel.cancel();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn felixes_find_another_typha() {
    kill(50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "of the real size"]
async fn five_hundred_felixes_find_another_typha_in_five_seconds() {
    assert!(kill(500).await < Duration::from_secs(5));
}

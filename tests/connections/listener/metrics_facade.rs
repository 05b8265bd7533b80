//! The counts, as the recorder of the `metrics` facade gets them.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::runtime::Builder;

use super::rig::*;

fn recorded(snapshotter: &Snapshotter) -> BTreeMap<String, DebugValue> {
    let metrics = snapshotter.snapshot().into_vec().into_iter();
    metrics
        .map(|(key, _, _, value)| {
            let labels: Vec<_> =
                key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            (format!("{}{{{}}}", key.key().name(), labels.join(",")), value)
        })
        .collect()
}

#[test]
fn the_recorder_gets_the_same_counts() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // Its own thread's recorder, so that no other test is in its way.
    let recorded = metrics::with_local_recorder(&recorder, || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let (mut listener, mut failed) = listen_and_watch(acceptor(), limits()).await;
            let (address, handle) = (listener.local_addr(), listener.handle());
            bounded(stranger().connect_tcp(tcp(address).await)).await.unwrap_err();
            bounded(failed.recv()).await.unwrap();
            drop(tcp(address).await);
            until(&handle, |stats| stats.probed == 1).await;
            let _pair = pair(&mut listener).await;
            handle.drop_random(1);
            until(&handle, |stats| stats.in_handshake == 0).await;
            recorded(&snapshotter)
        })
    });
    let counts = [
        ("typha_connections_accepted{}", 1),
        ("typha_connections_dropped{reason=requested}", 1),
        ("typha_connections_matched{by=common_name}", 1),
        ("typha_connections_probed{}", 1),
        ("typha_handshakes_refused{reason=identity_mismatch}", 1),
        ("typha_accept_errors{}", 0),
    ];
    for (name, count) in counts {
        assert_eq!(recorded.get(name), Some(&DebugValue::Counter(count)), "{name}");
    }
    let gauges = [
        ("typha_connections_active{}", 1.0),
        ("typha_handshakes_queued{}", 0.0),
        ("typha_handshakes_in_progress{}", 0.0),
    ];
    for (name, value) in gauges {
        assert_eq!(recorded.get(name), Some(&DebugValue::Gauge(value.into())), "{name}");
    }
    match recorded.get("typha_handshake_seconds{}") {
        Some(DebugValue::Histogram(seconds)) => assert_eq!(seconds.len(), 1),
        other => panic!("{other:?}"),
    }
}

/// Of those that come to nothing, nothing stays in the gauges.
#[test]
fn gauges_fall_when_a_probe_or_a_stalled_peer_is_gone() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let gauge = |name: &str| recorded(&snapshotter).remove(name);
    metrics::with_local_recorder(&recorder, || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = listen(limits()).await;
            let (address, handle) = (listener.local_addr(), listener.handle());
            drop(tcp(address).await);
            until(&handle, |stats| stats.probed == 1 && stats.queued == 0).await;
            assert_eq!(gauge("typha_handshakes_queued{}"), Some(DebugValue::Gauge(0.0.into())));

            let stalled = sent(1, address, &client_hello().await).await;
            until(&handle, |stats| stats.in_handshake == 1).await;
            handle.shutdown().await;
            assert_eq!(gauge("typha_handshakes_in_progress{}"), Some(DebugValue::Gauge(0.0.into())));
            drop(stalled);
        });
    });
}

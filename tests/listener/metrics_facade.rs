//! The counts, as the recorder of the `metrics` facade gets them.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::runtime::Builder;

use crate::rig::*;

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

//! The state, as the recorder of the `metrics` facade gets it.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::runtime::Builder;

use crate::rig::*;

fn recorded(snapshotter: &Snapshotter) -> BTreeMap<String, DebugValue> {
    let metrics = snapshotter.snapshot().into_vec().into_iter();
    metrics
        .map(|(key, _, _, value)| {
            let labels = key.key().labels().map(|label| format!("{}={}", label.key(), label.value()));
            (format!("{}{{{}}}", key.key().name(), labels.collect::<Vec<_>>().join(",")), value)
        })
        .collect()
}

#[test]
fn the_recorder_gets_the_state() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // Its own thread's recorder, so that no other test is in its way.
    metrics::with_local_recorder(&recorder, || {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let pki = Pki::new();
            let source = Source::at_once(Act::Give(pki.second()));
            let rig = Rig::start(pki.first(), source).await;
            let end = |index: usize| rig.state().certificates[index].not_after.as_secs() as f64;
            let gauge = |value: f64| Some(DebugValue::Gauge(value.into()));
            let not_after = |kind: &str, subject: &str| {
                format!(
                    "typha_tls_certificate_not_after_seconds{{certificate={kind},subject=CN=\"{subject}\"}}"
                )
            };
            let mut now = recorded(&snapshotter);
            for (name, value) in [
                ("typha_tls_snapshot_generation{}".to_owned(), gauge(2.0)),
                ("typha_tls_reloads{outcome=replaced}".to_owned(), Some(DebugValue::Counter(1))),
                ("typha_tls_reloads{outcome=failed}".to_owned(), Some(DebugValue::Counter(0))),
                ("typha_tls_last_reload_successful{}".to_owned(), gauge(1.0)),
                (not_after("own_leaf", "typha"), gauge(end(0))),
                (not_after("ca", "a"), gauge(end(1))),
                (not_after("ca", "b"), gauge(end(2))),
            ] {
                assert_eq!(now.remove(&name), value, "{name}");
            }
            assert_eq!(now, BTreeMap::new());
            rig.source.set(Act::Fail("bad"));
            let _ = rig.reloader.reload_now().await;
            seconds(0.001).await;
            let now = recorded(&snapshotter);
            // Seen once a snapshot of the recorder: increments since the last one.
            assert_eq!(now.get("typha_tls_reloads{outcome=failed}"), Some(&DebugValue::Counter(1)));
            assert_eq!(now.get("typha_tls_last_reload_successful{}"), gauge(0.0).as_ref());
            rig.source.set(Act::Give(pki.first()));
            let _ = rig.reloader.reload_now().await;
            seconds(0.001).await;
            let now = recorded(&snapshotter);
            assert_eq!(now.get("typha_tls_reloads{outcome=failed}"), Some(&DebugValue::Counter(0)));
            assert_eq!(now.get("typha_tls_last_reload_successful{}"), gauge(1.0).as_ref());
            assert_eq!(now.get(&not_after("ca", "b")), gauge(0.0).as_ref());
            assert_eq!(now.get(&not_after("ca", "a")), gauge(end(1)).as_ref());
        });
    });
}

#[test]
fn reloaders_add_up() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let pki = Pki::new();
            // Both ends of a program, say, or one that is followed anew.
            for _ in 0..3 {
                let rig = Rig::start(pki.first(), Source::at_once(Act::Give(pki.second()))).await;
                assert_eq!(rig.counts(), [2, 1, 1, 0]);
                seconds(61.0).await;
            }
            let replaced = recorded(&snapshotter).remove("typha_tls_reloads{outcome=replaced}");
            assert_eq!(replaced, Some(DebugValue::Counter(3)));
        });
    });
}

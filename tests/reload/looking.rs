//! When it looks, and what has to settle first.

use std::sync::Arc;
use std::time::Duration;

use typha_tls::reload::{ReloadOptions, Reloaded};

use crate::rig::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_is_unchanged_changes_nothing() {
    let pki = Pki::new();
    // Not the same value, but the same contents.
    let rig = Rig::start(pki.first(), Source::new(Act::Give(pki.first()), SECOND)).await;
    let before = rig.acceptor.verifier();
    assert_eq!(rig.counts(), [1, 1, 0, 0], "it looks when it starts");
    seconds(90.1).await;
    assert_eq!(rig.counts(), [1, 4, 0, 0]);
    assert!(Arc::ptr_eq(&before, &rig.acceptor.verifier()));
    assert_eq!((rig.log.take(), rig.last_error()), (Vec::new(), None));
    assert_eq!(rig.state().loaded_from, "the program");
}

#[tokio::test(start_paused = true)]
async fn what_is_new_has_to_settle() {
    let pki = Pki::new();
    let rig = Rig::start(pki.first(), Source::new(Act::Give(pki.first()), SECOND)).await;
    let before = rig.state();
    rig.source.set(Act::Give(pki.second()));
    seconds(30.9).await;
    assert_eq!(rig.counts(), [1, 2, 0, 0]);
    let half_a_day = DAY / 2;
    pki.clock.turn(half_a_day);
    seconds(0.2).await;
    assert_eq!(rig.counts(), [2, 3, 1, 0]);
    let state = rig.state();
    assert_eq!(state.loaded_from, "the test");
    assert!(state.loaded_at.as_secs() >= before.loaded_at.as_secs() + half_a_day.as_secs());
    assert_eq!(
        rig.log.take(),
        ["INFO configuration replaced generation=2 source=the test changes=CA added: CN=\"b\""]
    );
    let subjects: Vec<_> = state.certificates.iter().map(|one| (one.kind, &*one.subject)).collect();
    assert_eq!(subjects, [("own_leaf", "CN=\"typha\""), ("ca", "CN=\"a\""), ("ca", "CN=\"b\"")]);
    seconds(60.0).await;
    assert_eq!(rig.counts(), [2, 5, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_last_is_passed_over() {
    let pki = Pki::new();
    let rig = Rig::start(pki.first(), Source::new(Act::Give(pki.first()), SECOND)).await;
    for passing in [Act::Give(pki.second()), Act::Fail("half-written"), Act::Panic] {
        let looks = rig.state().looks;
        rig.source.set(passing);
        seconds(30.0).await;
        rig.source.set(Act::Give(pki.first()));
        seconds(1.01).await;
        assert_eq!(rig.counts(), [1, looks + 2, 0, 0]);
    }
    assert_eq!((rig.log.take(), rig.last_error()), (Vec::new(), None));
}

#[tokio::test(start_paused = true)]
async fn what_changes_at_each_look_is_never_used() {
    let pki = Pki::new();
    let third = pki.config(&[&pki.b], &pki.leaf);
    let source = Source::new(Act::Alternate([pki.second(), third]), SECOND);
    let rig = Rig::start(pki.first(), source).await;
    seconds(8.5).await;
    assert_eq!(rig.counts(), [1, 9, 0, 0]);
    seconds(0.6).await;
    assert_eq!(rig.counts(), [1, 10, 0, 1]);
    let text =
        "the source gave something different at each of 10 loads; write new files and rename them into place";
    assert_eq!(rig.last_error().as_deref(), Some(text));
    // From then on at the polling interval, and in silence.
    seconds(300.0).await;
    assert_eq!(rig.counts(), [1, 20, 0, 1]);
    let warning = format!(
        "WARN the new configuration can not be used; the configuration in force stays source=the test reason=unsettled \
         detail={text} generation=1"
    );
    assert_eq!(rig.log.take(), [warning]);
    // It does not starve for ever.
    rig.source.set(Act::Give(pki.second()));
    seconds(60.0).await;
    assert_eq!((rig.counts()[0], rig.last_error()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn a_hint_saves_the_wait() {
    let pki = Pki::new();
    let rig = Rig::start(pki.first(), Source::new(Act::Give(pki.first()), SECOND)).await;
    seconds(5.0).await;
    rig.source.set(Act::Give(pki.second()));
    rig.source.hint.notify_one();
    seconds(0.9).await;
    assert_eq!(rig.counts(), [1, 2, 0, 0]);
    seconds(0.2).await;
    assert_eq!(rig.counts(), [2, 3, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn hints_that_never_end_do_not_make_it_spin() {
    let pki = Pki::new();
    let rig = Rig::start(pki.first(), Source::new(Act::Give(pki.first()), SECOND)).await;
    let hint = rig.source.hint.clone();
    let hints = tokio::spawn(async move {
        loop {
            hint.notify_one();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    seconds(10.0).await;
    hints.abort();
    let looks = rig.state().looks;
    assert!((90..=101).contains(&looks), "{looks}");
    // And what is new settles in spite of them.
    rig.source.set(Act::Give(pki.second()));
    seconds(31.0).await;
    assert_eq!(rig.state().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_program_puts_in_force_counts() {
    let pki = Pki::new();
    let mut options = ReloadOptions::default();
    options.poll_interval = Duration::from_secs(600);
    let source = Source::at_once(Act::Give(pki.first()));
    let rig = Rig::start_with(pki.first(), source, options).await;
    assert_eq!(rig.acceptor.replace(pki.second()), 2);
    seconds(1.0).await;
    let state = rig.state();
    assert_eq!((rig.counts(), &*state.loaded_from), ([2, 1, 0, 0], "the program"));
    assert_eq!(state.certificates.len(), 3);
    // The same from the source is nothing new.
    rig.source.set(Act::Give(pki.second()));
    seconds(600.0).await;
    assert_eq!(rig.counts(), [2, 2, 0, 0]);
    rig.source.set(Act::Give(pki.first()));
    seconds(600.0).await;
    assert_eq!(rig.counts(), [3, 3, 1, 0]);
    assert_eq!(
        rig.log.take(),
        ["INFO configuration replaced generation=3 source=the test changes=CA removed: CN=\"b\""]
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_interval_it_looks_only_when_asked() {
    let pki = Pki::new();
    let mut options = ReloadOptions::default();
    options.poll_interval = Duration::ZERO;
    let source = Source::new(Act::Give(pki.second()), SECOND);
    let rig = Rig::start_with(pki.first(), source, options).await;
    rig.source.hint.notify_one();
    seconds(100_000.0).await;
    assert_eq!(rig.counts(), [1, 0, 0, 0]);
    rig.reloader.reload_now().await.unwrap();
    seconds(100_000.0).await;
    assert_eq!(rig.counts(), [2, 1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_tiny_interval_does_not_make_it_spin() {
    let pki = Pki::new();
    let mut options = ReloadOptions::default();
    options.poll_interval = Duration::from_nanos(1);
    let rig = Rig::start_with(pki.first(), Source::at_once(Act::Give(pki.first())), options).await;
    seconds(1.05).await;
    let looks = rig.state().looks;
    assert!((10..=11).contains(&looks), "{looks}");
}

#[tokio::test(start_paused = true)]
async fn what_the_program_puts_in_force_is_newer_than_a_look_that_is_under_way() {
    let pki = Pki::new();
    let third = pki.config(&[&pki.b], &pki.leaf);
    for is_asked in [false, true] {
        let source = Source::at_once(Act::Give(pki.first()));
        let rig = Rig::start(pki.first(), source).await;
        rig.source.set(Act::GiveLate(pki.second()));
        let asked = match is_asked {
            true => {
                let reloader = rig.reloader.clone();
                Some(tokio::spawn(async move { reloader.reload_now().await }))
            }
            false => {
                rig.source.hint.notify_one();
                None
            }
        };
        seconds(2.0).await;
        // It withdraws trust in `a`, where the source has it from, too.
        rig.source.set(Act::Give(third.clone()));
        rig.acceptor.replace(third.clone());
        seconds(5.0).await;
        assert_eq!(*rig.acceptor.generations().borrow(), 2, "trust in `a` came back");
        assert_eq!(rig.counts()[2..], [0, 0]);
        if let Some(asked) = asked {
            assert_eq!(asked.await.unwrap().unwrap(), Reloaded::Unchanged);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_list_of_application_protocols_is_another_policy() {
    let pki = Pki::new();
    let with_alpn = |names: &[&str]| {
        let mut config = pki.first();
        config.policy = config.policy.with_alpn(names).unwrap();
        config
    };
    let rig = Rig::start(pki.first(), Source::at_once(Act::Give(with_alpn(&["h2"])))).await;
    seconds(1.0).await;
    let line = |generation| {
        format!(
            "INFO configuration replaced generation={generation} source=the test changes=TLS policy changed"
        )
    };
    assert_eq!(rig.log.take(), [line(2)]);
    seconds(60.0).await;
    assert_eq!(rig.log.take(), [""; 0]);
    rig.source.set(Act::Give(with_alpn(&["h2", "http/1.1"])));
    seconds(60.0).await;
    assert_eq!(rig.log.take(), [line(3)]);
    assert!(rig.acceptor.config().policy.alpn().eq([&b"h2"[..], b"http/1.1"]));
}

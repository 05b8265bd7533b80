//! Sources that fail, hang and panic: the configuration in force stays, and each change is told once.

use std::time::Duration;

use typha_tls::reload::{ReloadError, ReloadOptions, Reloaded, SourceError, TlsConfigSource};
use typha_tls::{TlsConfig, TyphaAcceptor};

use crate::rig::*;

fn warning(reason: &str, detail: &str) -> String {
    format!(
        "WARN the new configuration can not be used; the configuration in force stays source=the test reason={reason} \
         detail={detail} generation=1"
    )
}

#[tokio::test(start_paused = true)]
async fn each_change_for_the_worse_is_told_once() {
    let pki = Pki::new();
    let rig = Rig::start(pki.first(), Source::new(Act::Give(pki.first()), Duration::from_secs(1))).await;
    for (act, detail, failures) in [
        (Act::Fail("first"), Some("first"), 1),
        (Act::Fail("second"), Some("second"), 2),
        (Act::Fail("first"), Some("first"), 3),
        (Act::Give(pki.first()), None, 3),
        (Act::Fail("first"), Some("first"), 4),
    ] {
        rig.source.set(act);
        seconds(300.0).await;
        assert_eq!((rig.state().failures, rig.last_error().as_deref()), (failures, detail));
        let told = match detail {
            Some(detail) => warning("source", detail),
            None => "INFO the source matches the active configuration again source=the test".to_owned(),
        };
        assert_eq!(rig.log.take(), [told]);
    }
    rig.source.set(Act::Give(pki.second()));
    seconds(40.0).await;
    assert_eq!((rig.state().generation, rig.last_error()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_given_up_and_asked_again() {
    let pki = Pki::new();
    let rig = Rig::start(pki.first(), Source::at_once(Act::Hang)).await;
    seconds(9.9).await;
    assert_eq!(rig.counts(), [1, 0, 0, 0]);
    seconds(0.2).await;
    assert_eq!(rig.counts(), [1, 1, 0, 1]);
    assert!(
        matches!(&*rig.state().last_error.unwrap(), ReloadError::TimedOut(after) if after.as_secs() == 10)
    );
    // A poll 30 s after each look that took 10 s.
    seconds(120.0).await;
    assert_eq!(rig.counts(), [1, 4, 0, 1]);
    let detail = "the source gave nothing within 10 s; is it on a network that is down?";
    assert_eq!(rig.log.take(), [warning("timed_out", detail)]);
    rig.source.set(Act::Give(pki.second()));
    seconds(30.0).await;
    assert_eq!(rig.counts(), [2, 5, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_asked_again() {
    let pki = Pki::new();
    let rig = Rig::start(pki.first(), Source::at_once(Act::Panic)).await;
    seconds(60.1).await;
    assert_eq!(rig.counts(), [1, 3, 0, 1]);
    assert_eq!(rig.log.take(), [warning("source", "the source panicked: no parts today")]);
    rig.source.set(Act::Give(pki.second()));
    seconds(30.0).await;
    assert_eq!(rig.counts(), [2, 4, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_reads_otherwise_each_time_is_told_nevertheless() {
    let pki = Pki::new();
    let rig = Rig::start(pki.first(), Source::new(Act::FailAnew, Duration::from_secs(1))).await;
    seconds(300.0).await;
    assert_eq!((rig.state().failures, rig.last_error().as_deref()), (1, Some("request 9 failed")));
    assert_eq!(rig.log.take(), [warning("source", "request 9 failed")]);
    rig.source.set(Act::Give(pki.second()));
    seconds(60.0).await;
    assert_eq!((rig.state().generation, rig.last_error()), (2, None));
}

/// Its settle time panics.
struct Unsettling(Source);

impl TlsConfigSource for Unsettling {
    async fn load(&self) -> Result<TlsConfig, SourceError> {
        self.0.load().await
    }

    fn settle_time(&self) -> Duration {
        panic!("no settle time")
    }

    fn description(&self) -> String {
        self.0.description()
    }
}

#[tokio::test(start_paused = true)]
async fn a_settle_time_that_panics_does_not_end_it() {
    let pki = Pki::new();
    let acceptor = TyphaAcceptor::new(pki.first());
    let source = Source::at_once(Act::Give(pki.second()));
    let reloader = acceptor.follow(Unsettling(source.clone()), ReloadOptions::default());
    seconds(60.0).await;
    assert_eq!(*acceptor.generations().borrow(), 2);
    source.set(Act::Give(pki.first()));
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 3 });
}

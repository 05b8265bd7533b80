//! `reload_now`, and the end.

use std::sync::Arc;
use std::time::Duration;

use typha_tls::TyphaAcceptor;
use typha_tls::reload::{ReloadError, ReloadOptions, Reloaded};

use crate::rig::*;

/// Long enough that nothing settles by itself.
const LONG: Duration = Duration::from_secs(1_000_000);

async fn rig(pki: &Pki, act: Act) -> Rig {
    let mut options = ReloadOptions::default();
    options.poll_interval = LONG;
    Rig::start_with(pki.first(), Source::new(act, LONG), options).await
}

#[tokio::test(start_paused = true)]
async fn asking_does_not_wait_for_anything_to_settle() {
    let pki = Pki::new();
    let rig = rig(&pki, Act::Give(pki.first())).await;
    assert_eq!(rig.reloader.reload_now().await.unwrap(), Reloaded::Unchanged);
    rig.source.set(Act::Give(pki.second()));
    assert_eq!(rig.reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 2 });
    assert_eq!(rig.reloader.reload_now().await.unwrap(), Reloaded::Unchanged);
    rig.source.set(Act::Fail("bad"));
    let failed = rig.reloader.reload_now().await.unwrap_err();
    assert!(matches!(&*failed, ReloadError::Source(_)) && failed.to_string() == "bad", "{failed:?}");
    // The same failure is one failure.
    assert!(Arc::ptr_eq(&failed, &rig.reloader.reload_now().await.unwrap_err()));
    assert!(Arc::ptr_eq(&failed, &rig.state().last_error.unwrap()));
    assert_eq!(rig.counts(), [2, 6, 1, 1]);
    rig.source.set(Act::Give(pki.second()));
    assert_eq!(rig.reloader.reload_now().await.unwrap(), Reloaded::Unchanged);
    assert_eq!(rig.last_error(), None);
    assert_eq!(
        rig.log.take(),
        [
            "INFO configuration replaced generation=2 source=the test changes=CA added: CN=\"b\"",
            "WARN the new configuration can not be used; the configuration in force stays source=the test \
             reason=source detail=bad generation=2",
            "INFO the source matches the active configuration again source=the test",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_share_a_look() {
    let pki = Pki::new();
    let rig = rig(&pki, Act::Give(pki.second())).await;
    let looks = rig.source.asked();
    let calls: Vec<_> = (0..50).map(|_| rig.reloader.clone()).collect();
    let calls = calls.into_iter().map(|reloader| tokio::spawn(async move { reloader.reload_now().await }));
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().unwrap(), Reloaded::Replaced { generation: 2 });
    }
    assert_eq!(rig.source.asked(), looks + 1);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_under_way_does_not_count() {
    let pki = Pki::new();
    let rig = rig(&pki, Act::Give(pki.first())).await;
    rig.source.set(Act::Hang);
    let reloader = rig.reloader.clone();
    let first = tokio::spawn(async move { reloader.reload_now().await });
    seconds(1.0).await;
    rig.source.set(Act::Give(pki.second()));
    let looks = rig.source.asked();
    let second = rig.reloader.reload_now().await;
    assert!(matches!(&*first.await.unwrap().unwrap_err(), ReloadError::TimedOut(_)));
    assert_eq!(second.unwrap(), Reloaded::Replaced { generation: 2 });
    assert_eq!(rig.source.asked(), looks + 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_can_be_dropped() {
    let pki = Pki::new();
    let rig = rig(&pki, Act::Hang).await;
    for _ in 0..3 {
        let call = rig.reloader.reload_now();
        tokio::time::timeout(Duration::from_millis(1), call).await.unwrap_err();
    }
    // The first look, at the start, is given up; those that nobody waits for are not made.
    seconds(30.0).await;
    assert_eq!(rig.source.asked(), 1);
    rig.source.set(Act::Give(pki.first()));
    assert_eq!(rig.reloader.reload_now().await.unwrap(), Reloaded::Unchanged);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_clone_ends_it_even_in_the_middle_of_a_look() {
    let pki = Pki::new();
    for act in [Act::Give(pki.first()), Act::Hang] {
        let rig = rig(&pki, act).await;
        let Rig { reloader, source, .. } = rig;
        let held = Arc::strong_count(&source.asked);
        let clone = reloader.clone();
        drop(reloader);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&source.asked), held);
        let mut state = clone.state();
        while state.has_changed().unwrap() {
            state.mark_unchanged();
        }
        drop(clone);
        assert!(state.changed().await.is_err());
        assert_eq!(Arc::strong_count(&source.asked), held - 1);
    }
}

#[test]
fn without_its_runtime_it_says_so() {
    let pki = Pki::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let acceptor = TyphaAcceptor::new(pki.first());
    let source = Source::at_once(Act::Give(pki.first()));
    let reloader = first.block_on(async { acceptor.follow(source, ReloadOptions::default()) });
    drop(first);
    let stopped = runtime().block_on(reloader.reload_now()).unwrap_err();
    assert!(matches!(&*stopped, ReloadError::Stopped), "{stopped:?}");
}

/// Such as the problem that a `SpiffeSource` has now.
#[tokio::test(start_paused = true)]
async fn a_source_can_be_asked_while_it_is_followed() {
    let pki = Pki::new();
    let source = Arc::new(Source::new(Act::Give(pki.second()), Duration::from_secs(1)));
    let acceptor = TyphaAcceptor::new(pki.first());
    let _reloader = acceptor.follow(source.clone(), ReloadOptions::default());
    seconds(0.5).await;
    assert_eq!((source.asked(), *acceptor.generations().borrow()), (1, 1));
    seconds(1.0).await;
    assert_eq!((source.asked(), *acceptor.generations().borrow()), (2, 2));
    source.set(Act::Give(pki.first()));
    source.hint.notify_one();
    seconds(1.5).await;
    assert_eq!(*acceptor.generations().borrow(), 3);
}

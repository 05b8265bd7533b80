//! Lookups with test resolvers.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, mpsc};
use std::thread;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::*;
use crate::error::WithCauses;

fn address(last: u8, port: u16) -> SocketAddr {
    ([192, 0, 2, last], port).into()
}

fn endpoints(names: &[&str], resolve: Resolve) -> DnsEndpoints {
    DnsEndpoints::with_resolver(names.iter().map(|name| name.parse().unwrap()).collect(), resolve)
}

fn names_of_two() -> Resolve {
    Arc::new(|host, port| match host {
        "one" => Ok(vec![address(1, port), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], port).into()]),
        "two" => Ok(vec![address(2, port), address(1, port)]),
        "none" => Ok(Vec::new()),
        _ => Err(io::Error::other("no such name")),
    })
}

async fn found(dns: &DnsEndpoints) -> Result<Vec<String>, String> {
    match dns.endpoints().await {
        Ok(endpoints) => Ok(endpoints.iter().map(ToString::to_string).collect()),
        Err(error) => Err(WithCauses(&error).to_string()),
    }
}

#[tokio::test]
async fn all_addresses_of_all_names() {
    let dns = endpoints(&["one:5", "bad:5", "none:5", "two:5", "two:6", "[::1]:7"], names_of_two());
    let addresses =
        ["192.0.2.1:5", "[2001:db8::1]:5", "192.0.2.2:5", "192.0.2.2:6", "192.0.2.1:6", "[::1]:7"];
    assert_eq!(found(&dns).await.unwrap(), addresses);
}

#[tokio::test]
async fn no_address_at_all_is_an_error() {
    for (names, text) in [
        (
            &["bad:5"][..],
            "bad:5 can not be looked up (check the name and the DNS of this host): no such name",
        ),
        (
            &["none:5", "bad:6"],
            "bad:6 can not be looked up (check the name and the DNS of this host): no such name",
        ),
        (&["none:5"], "none:5 has no address"),
        (&[], "the list of Typha names is empty"),
    ] {
        assert_eq!(found(&endpoints(names, names_of_two())).await.unwrap_err(), text);
    }
}

#[tokio::test]
async fn an_address_needs_no_lookup() {
    let dns = endpoints(&["192.0.2.1:5", "[2001:db8::1]:6"], Arc::new(|_, _| panic!("looked up")));
    assert_eq!(found(&dns).await.unwrap(), ["192.0.2.1:5", "[2001:db8::1]:6"]);
}

#[tokio::test]
async fn a_lookup_that_was_given_up_is_joined() {
    let (calls, (release, released)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel::<u8>());
    let (counted, released) = (calls.clone(), Mutex::new(released));
    let dns = endpoints(
        &["slow:5"],
        Arc::new(move |_, port| {
            counted.fetch_add(1, SeqCst);
            Ok(vec![address(released.lock().unwrap().recv().unwrap(), port)])
        }),
    );
    for _ in 0..100 {
        assert!(dns.clone().endpoints().now_or_never().is_none());
    }
    let both = async { tokio::join!(found(&dns), found(&dns)) };
    let (both, ()) = tokio::join!(both, async { release.send(7).unwrap() });
    let expected = Ok(vec!["192.0.2.7:5".to_owned()]);
    assert_eq!((both, calls.load(SeqCst)), ((expected.clone(), expected), 1));
    // The addresses are not cached.
    release.send(8).unwrap();
    assert_eq!(found(&dns).await.unwrap(), ["192.0.2.8:5"]);
    assert_eq!(calls.load(SeqCst), 2);
}

#[tokio::test]
async fn the_answer_of_a_lookup_that_nobody_waited_for_is_not_used() {
    let calls = Arc::new(AtomicUsize::new(0));
    let (release, released) = mpsc::channel::<()>();
    let (counted, released) = (calls.clone(), Mutex::new(released));
    let dns = endpoints(
        &["name:5"],
        Arc::new(move |_, port| {
            let call = counted.fetch_add(1, SeqCst);
            // Once the sender is gone it does not wait.
            let _ = released.lock().unwrap().recv();
            Ok(vec![address(call.try_into().unwrap(), port)])
        }),
    );
    assert!(dns.endpoints().now_or_never().is_none());
    drop(release);
    while !dns.names[0].lookup.is_over() {
        tokio::task::yield_now().await;
    }
    assert_eq!(found(&dns).await.unwrap(), ["192.0.2.1:5"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_takes_long_does_not_hold_back_the_others() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let dns = endpoints(
        &["slow:5", "192.0.2.9:5", "bad:5"],
        Arc::new(move |host, port| match host {
            "slow" => {
                released.lock().unwrap().recv().unwrap();
                Ok(vec![address(1, port)])
            }
            _ => Err(io::Error::other("no such name")),
        }),
    );
    let begun = Instant::now();
    assert_eq!(found(&dns).await.unwrap(), ["192.0.2.9:5"]);
    assert_eq!(begun.elapsed(), LAGGARDS);
    // The lookup that is still running is joined.
    let mut both = pin!(found(&dns));
    assert!(both.as_mut().now_or_never().is_none());
    release.send(()).unwrap();
    while !dns.names[0].lookup.is_over() {
        tokio::task::yield_now().await;
    }
    assert_eq!(both.await.unwrap(), ["192.0.2.1:5", "192.0.2.9:5"]);
}

#[test]
fn a_lookup_does_not_hold_up_the_end_of_the_runtime() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let dns = endpoints(
        &["slow:5"],
        Arc::new(move |_, _| {
            let _ = released.lock().unwrap().recv();
            Ok(Vec::new())
        }),
    );
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { assert!(dns.endpoints().now_or_never().is_none()) });
        drop(runtime);
        ended.send(()).unwrap();
    });
    let outcome = end.recv_timeout(Duration::from_secs(20));
    drop(release);
    assert_eq!(outcome, Ok(()));
}

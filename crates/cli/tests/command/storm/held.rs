//! Connections that are there for longer: stalled ones and kept ones.

use std::net::{Shutdown, TcpListener};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use serde_json::json;
use typha_tls::policy::TlsPolicy;

use super::running::{Pki, Storm, ended};
use super::typhas::{Behaviour, Typha, TyphaCommand, half_a_hello, hello, reset};

#[test]
fn stalled_ones_are_held_until_typha_closes_them() {
    let pki = Pki::new();
    let typha = TyphaCommand::start(&pki, &[]).with_handshake_timeout(&pki, "0.3");
    let storm = Storm::run(&pki, &typha.address, "-n 10 -c 2 --stalled 70 --stalled-for 60");
    let stalled = &storm.ended["stalled"];
    assert_eq!((&stalled["opened"], &stalled["closed_by_peer"]), (&json!(70), &json!(70)));
    let longest = stalled["longest_seconds"].as_f64().unwrap();
    assert!((0.2..30.0).contains(&longest), "{longest}");
    assert_eq!((&storm.ended["good"]["accepted"], storm.code), (&json!(10), 0));
    typha.assert_saw("10 accepted, 70 timed_out");
}

#[test]
fn stalled_ones_are_held_until_the_storm_is_over_or_so_long() {
    let pki = Pki::new();
    for more in ["", "--stalled-for 0.1 --keep 1 --hold 0.3"] {
        let typha = TyphaCommand::start(&pki, &[]).with_handshake_timeout(&pki, "60");
        let storm = Storm::run(&pki, &typha.address, &format!("-n 10 -c 2 --stalled 5 {more}"));
        let stalled = json!({ "opened": 5, "closed_by_peer": 0, "dial_failed": 0, "longest_seconds": null });
        assert_eq!((&storm.ended["stalled"], storm.code), (&stalled, 0));
        typha.assert_saw("10 accepted, 5 io");
    }
}

#[test]
fn stalled_ones_come_first_and_send_half_a_hello() {
    let pki = Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let typha = thread::spawn(move || {
        let mut stalled: Vec<_> = (0..3).map(|_| listener.accept().unwrap().0).collect();
        for tcp in &mut stalled {
            half_a_hello(tcp);
        }
        let (mut good, _) = listener.accept().unwrap();
        hello(&mut good);
        // Waits until the storm has seen it.
        let mut closed = stalled.pop().unwrap();
        closed.shutdown(Shutdown::Write).unwrap();
        assert_eq!(std::io::copy(&mut closed, &mut std::io::sink()).unwrap(), 0);
        drop(good);
        // The others were not closed before the storm was over, nor did they send any more.
        for mut tcp in stalled {
            assert_eq!(std::io::copy(&mut tcp, &mut std::io::sink()).unwrap(), 0);
        }
    });
    let storm = Storm::run(&pki, &address, "-n 1 -c 1 --stalled 3");
    typha.join().unwrap();
    let stalled = &storm.ended["stalled"];
    assert_eq!((&stalled["opened"], &stalled["closed_by_peer"]), (&json!(3), &json!(1)));
    assert!(stalled["longest_seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!((&storm.ended["good"]["closed"], storm.code), (&json!(1), 1));
}

#[test]
fn stalled_ones_come_from_their_own_addresses_and_come_again() {
    let pki = Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let sent = "--stalled 4 --stalled-send hello --stalled-again --warm-up 600";
    let storm = Storm::start(&pki, &address, &format!("-n 7 --sources 1 --stalled-sources 2 {sent}"));
    let next = || {
        let (mut tcp, peer) = listener.accept().unwrap();
        let hello = hello(&mut tcp);
        (peer.ip().to_string(), hello, tcp)
    };
    let mut stalled: Vec<_> = (0..4).map(|_| next()).collect();
    stalled.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let addresses: Vec<_> = stalled.iter().map(|(address, ..)| address.as_str()).collect();
    // 127.0.0.2 is for the others.
    assert_eq!(addresses, ["127.0.0.3", "127.0.0.3", "127.0.0.4", "127.0.0.4"]);
    let (of_closed, hello, closed) = stalled.pop().unwrap();
    assert!(stalled.iter().all(|(_, other, _)| *other == hello));
    reset(closed);
    let (again, same, reopened) = next();
    assert_eq!((again, same), (of_closed, hello));
    // None begins its handshake before the time.
    let mut storm = storm.interrupt();
    for tcp in stalled.into_iter().map(|(.., tcp)| tcp).chain([reopened]) {
        assert_eq!(std::io::copy(&mut { tcp }, &mut std::io::sink()).unwrap(), 0);
    }
    assert!(storm.ended["stalled"]["longest_seconds"].take().as_f64().unwrap() >= 0.0);
    storm.drop_timings();
    let mut expected = ended(&address, json!({ "asked": 7, "not_started": 7 }), json!({}));
    expected["interrupted"] = json!(true);
    expected["stalled"] =
        json!({ "opened": 5, "closed_by_peer": 1, "dial_failed": 0, "longest_seconds": null });
    assert_eq!((storm.ended, storm.code), (expected, 1));
}

#[test]
fn a_warm_up_ends() {
    let pki = Pki::new();
    let typha = TyphaCommand::start(&pki, &[]).with_handshake_timeout(&pki, "60");
    let storm = Storm::run(&pki, &typha.address, "-n 10 -c 2 --stalled 5 --stalled-send hello --warm-up 0.1");
    assert_eq!((&storm.ended["stalled"]["opened"], storm.code), (&json!(5), 0));
    typha.assert_saw("10 accepted, 5 io");
}

#[test]
fn the_newest_are_kept_and_held() {
    let pki = Pki::new();
    let typha = Typha::start(&pki, &TlsPolicy::builder().build().unwrap(), Behaviour::Serve);
    let storm = Storm::start(&pki, &typha.address, "-n 20 -c 1 --keep 5 --hold 600");
    typha.wait_for(|seen| seen.closed_cleanly.load(Relaxed) == 15 && seen.open.lock().unwrap().len() == 5);
    // The oldest were closed, by a goodbye.
    assert_eq!(typha.open(), (15..20).collect::<Vec<_>>());
    let mut storm = storm.interrupt();
    storm.assert_timings();
    let mut expected = ended(&typha.address, json!({ "asked": 20, "accepted": 20 }), json!({}));
    expected["kept"]["at_end"] = json!(5);
    expected["interrupted"] = json!(true);
    assert_eq!((storm.ended, storm.code), (expected, 0));
    typha.wait_for(|seen| seen.closed_cleanly.load(Relaxed) == 20);
    assert_eq!(typha.open(), [0; 0]);
}

#[test]
fn kept_ones_that_typha_closes_are_counted() {
    let pki = Pki::new();
    let typha = Typha::start(&pki, &TlsPolicy::builder().build().unwrap(), Behaviour::CloseEverySecond);
    let storm = Storm::run(&pki, &typha.address, "-n 8 -c 1 --keep 6 --hold 1");
    assert_eq!(storm.ended["good"]["accepted"], 8);
    assert_eq!((&storm.ended["kept"], storm.code), (&json!({ "at_end": 6, "closed_by_peer": 3 }), 0));
}

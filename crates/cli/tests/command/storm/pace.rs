//! When connections begin, and where they come from.

use std::net::TcpListener;
use std::thread;

use serde_json::json;

use super::running::{Pki, Storm, ended};
use super::typhas::TyphaCommand;

#[test]
fn a_rate_is_kept() {
    let pki = Pki::new();
    let typha = TyphaCommand::start(&pki, &[]);
    let mut storm = Storm::run(&pki, &typha.address, "-n 41 -c 41 --rate 100");
    // The last one is due 400 ms after the first.
    assert!(storm.ended["elapsed_seconds"].as_f64().unwrap() >= 0.4, "{}", storm.ended);
    storm.assert_timings();
    assert_eq!(storm.ended, ended(&typha.address, json!({ "asked": 41, "accepted": 41 }), json!({})));
    assert_eq!(storm.code, 0);
    typha.assert_saw("41 accepted");
}

#[test]
fn what_is_due_while_all_are_busy_is_not_started() {
    let pki = Pki::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    // Due within 190 ms, while the first two wait for 2 s.
    let mut storm = Storm::run(&pki, &address, "-n 20 -c 2 --rate 100 --bad 50 --timeout 2");
    storm.drop_timings();
    let one = json!({
        "asked": 10, "timed_out": { "awaiting_first_byte": 1 }, "not_started": 9,
        "first_failure": "the handshake timed out after 2s (the peer had sent nothing)",
    });
    assert_eq!((storm.ended, storm.code), (ended(&address, one.clone(), one), 1));
}

#[test]
fn sources_take_turns() {
    let pki = Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let typha = thread::spawn(move || {
        let source = |_| listener.accept().unwrap().1.ip().to_string();
        (0..6).map(source).collect::<Vec<_>>()
    });
    let storm = Storm::run(&pki, &address, "-n 6 -c 1 --sources 4");
    assert_eq!(
        typha.join().unwrap(),
        ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.2", "127.0.0.3"]
    );
    assert_eq!(storm.code, 1);
}

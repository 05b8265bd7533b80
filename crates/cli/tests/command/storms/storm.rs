//! Storms of Felixes: all good, half of them strangers, stalled ones among them, and more than can be served.

use serde_json::{Value, json};

use super::rig::*;

fn number(line: &Value, path: &str) -> f64 {
    line.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {line}"))
}

/// Everybody gets in.
fn all_good(clients: usize, at_once: usize) {
    let pki = Pki::new();
    let typha = Typha::start(&pki, "");
    let (code, line) = storm(&pki, &typha, &format!("-n {clients} -c {at_once}"));
    println!("{clients} good ones: {line}");
    assert_eq!((code, &line["good"]["accepted"]), (Some(0), &json!(clients)), "{line}");
    typha.rested();
    let stats = typha.stats();
    assert_eq!(
        (&stats["accepted"], &stats["shed"], &stats["refused"]),
        (&json!(clients), &json!({}), &json!({}))
    );
}

#[test]
fn a_storm_of_good_ones() {
    all_good(1000, 100);
}

#[test]
#[ignore = "of the real size"]
fn a_storm_of_ten_thousand_good_ones() {
    all_good(10_000, 500);
}

/// The good ones get in, and the strangers are told why they do not.
fn half_strangers(clients: usize, at_once: usize) {
    let pki = Pki::new();
    let typha = Typha::start(&pki, "");
    let arguments = format!("-n {clients} -c {at_once} --bad 50 {}", pki.strangers());
    let (code, line) = storm(&pki, &typha, &arguments);
    println!("{clients}, half of them strangers: {line}");
    assert_eq!(code, Some(0), "{line}");
    assert_eq!(line["good"]["accepted"], json!(clients / 2));
    assert_eq!(line["bad"]["refused_by_peer"], json!({ "access_denied": clients / 2 }));
    typha.rested();
    let stats = typha.stats();
    assert_eq!(stats["refused"], json!({ "identity_mismatch": clients / 2 }));
}

#[test]
fn a_storm_with_strangers() {
    half_strangers(1000, 100);
}

#[test]
#[ignore = "of the real size"]
fn a_storm_of_ten_thousand_with_strangers() {
    half_strangers(10_000, 500);
}

/// Those that stop in the middle of their first message are gone at the bound of the handshake, and hold up nobody.
fn among_stalled_ones(clients: usize, stalled: usize, handshake_timeout: &str) -> Value {
    let pki = Pki::new();
    let config = pki.path("typha.cfg");
    let parameters = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{parameters}ServerHandshakeTimeoutSecs={handshake_timeout}\n")).unwrap();
    let typha = Typha::start(&pki, "");
    // However slow the machine is, each is begun when it is due.
    let arguments = format!("-n {clients} -c {clients} --rate 100 --stalled {stalled} --stalled-for 30");
    let (code, line) = storm(&pki, &typha, &arguments);
    println!("{clients} good ones among {stalled} stalled ones: {line}");
    assert_eq!((code, &line["good"]["accepted"]), (Some(0), &json!(clients)), "{line}");
    assert_eq!(line["stalled"]["closed_by_peer"], json!(stalled));
    let stats = typha.until(|stats| stats["queued"] == 0);
    assert_eq!(stats["timed_out"], json!({ "negotiating": stalled }));
    line
}

#[test]
fn a_storm_among_stalled_ones() {
    among_stalled_ones(150, 300, "2");
}

#[test]
#[ignore = "of the real size"]
fn a_storm_among_a_thousand_stalled_ones() {
    let line = among_stalled_ones(1100, 1000, "10");
    assert!(number(&line, "/stalled/longest_seconds") < 12.0, "{line}");
    assert!(number(&line, "/latency_ms/max") < 1000.0, "{line}");
}

/// With twice as many as one core can serve, it serves nearly as many as when just so many come. Compared within one
/// run; Felixes have the other cores.
#[test]
#[ignore = "of the real size"]
fn twice_the_load_is_served_as_well_as_the_load() {
    if cores() < 3 {
        println!("skipped: the load needs at least two cores of its own");
        return;
    }
    let pki = Pki::new();
    let typha = Typha::on_core(&pki, 0, "");
    let many = "--sources 200";
    storm(&pki, &typha, &format!("-n 5000 -c 200 {many}"));
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let (_, peak) = storm(&pki, &typha, &format!("-n 30000 -c 200 {many}"));
        let served = number(&peak, "/handshakes_per_second");
        let offered = (served * 2.0) as u64;
        let arguments = format!("-n {} -c 8000 --rate {offered} {many}", offered * 6);
        let (_, overload) = storm(&pki, &typha, &arguments);
        let goodput = number(&overload, "/handshakes_per_second");
        let slowest = number(&overload, "/latency_ms/max");
        println!("peak {served:.0}/s; offered {offered}/s, served {goodput:.0}/s: {overload}");
        assert!(slowest < 10_000.0, "a good one took longer than its bound");
        ratios.push(goodput / served);
    }
    println!("goodput: {ratios:?}; {}", typha.stats());
    ratios.sort_by(f64::total_cmp);
    assert!(ratios.get(1).is_some_and(|median| *median >= 0.9), "{ratios:?}");
}

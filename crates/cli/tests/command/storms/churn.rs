//! What Typha needs after many connections, and while it holds many.

use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::*;

/// Memory, descriptors and tasks are what they were, after as many handshakes as before, half of them refused.
fn comes_and_goes(handshakes: usize, at_once: usize, slack: u64) {
    let pki = Pki::new();
    let typha = Typha::start(&pki, "");
    let half = handshakes / 2;
    // An odd number of addresses, so that each has good ones and strangers in turn: only strangers would be slowed
    // down.
    let wave = format!("-n {half} -c {at_once} --bad 50 --sources 101 {}", pki.strangers());
    let mut usages = vec![typha.rested()];
    for _ in 0..2 {
        let (code, line) = storm(&pki, &typha, &wave);
        println!("{line}");
        assert_eq!(code, Some(0), "{line}");
        usages.push(typha.rested());
    }
    println!("{handshakes} handshakes, half of them refused: {usages:?}");
    let stats = typha.stats();
    assert_eq!((&stats["accepted"], &stats["refused"]["identity_mismatch"]), (&json!(half), &json!(half)));
    let [before, first, second] = &usages[..] else { panic!("{usages:?}") };
    assert_eq!((second.descriptors, second.tasks), (before.descriptors, before.tasks));
    // The first wave fills caches and the allocator's reserve.
    assert!(second.resident <= first.resident + slack, "{usages:?}");
}

#[test]
fn nothing_is_left_of_connections_that_came_and_went() {
    comes_and_goes(2000, 50, 8 * 1024 * 1024);
}

#[test]
#[ignore = "of the real size"]
fn nothing_is_left_of_two_hundred_thousand_handshakes() {
    comes_and_goes(200_000, 200, 2 * 1024 * 1024);
}

/// Holds as many, replaces the oldest ones all the time, and does not grow.
fn held(connections: usize, per_second: usize, length: Duration) {
    let pki = Pki::new();
    // New ones come before the oldest go.
    let typha = Typha::start(&pki, &format!("--max-connections {}", connections + 1000));
    let before = typha.rested();
    let seconds = usize::try_from(length.as_secs()).unwrap();
    let fill = connections.div_ceil(per_second);
    let count = per_second * (fill + seconds);
    let arguments = format!("-n {count} -c 100 --rate {per_second} --keep {connections} --sources 50");
    let mut storm = start_storm(&pki, &typha, &arguments);
    typha.until(|stats| stats["active"].as_u64().unwrap() >= connections as u64);
    let full = typha.usage();
    let mut usages = Vec::new();
    let mut next = Instant::now();
    while !storm.is_over() {
        if Instant::now() >= next {
            usages.push(typha.usage());
            next += length / 10;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let (code, line) = storm.end();
    assert_eq!(code, Some(0), "{line}");
    let each = (full.resident - before.resident) / connections as u64;
    println!("{connections} connections held: {each} bytes each; {full:?}, then {usages:?}");
    // Which were held, and not more than are coming and going beside them.
    let most = connections + per_second + 100;
    assert!(usages.iter().all(|usage| usage.descriptors <= before.descriptors + most), "{usages:?}");
    assert!(usages.iter().all(|usage| usage.tasks <= RESTING_TASKS + 2 * most as u64), "{usages:?}");
    let middle = usages.get(usages.len() / 2).unwrap();
    let last = usages.last().unwrap();
    let slack = full.resident / 20;
    assert!(last.resident <= middle.resident + slack, "{usages:?}");
    typha.rested();
}

#[test]
fn connections_that_are_held_and_replaced_do_not_add_up() {
    held(200, 100, Duration::from_secs(3));
}

#[test]
#[ignore = "of the real size: ten minutes"]
fn ten_thousand_connections_are_held_and_replaced() {
    held(10_000, 500, Duration::from_secs(600));
}

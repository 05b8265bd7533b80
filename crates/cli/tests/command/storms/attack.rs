//! Felixes that must get in while many other addresses hold handshakes.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use typha_tls::FelixConnector;
use typha_tls::stream::Acceptance;

use super::rig::*;

/// A Typha with few handshakes at a time, which answers waiting connections for 2 s.
fn typha(pki: &Pki) -> Typha {
    let config = pki.path("typha.cfg");
    let parameters = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{parameters}ServerHandshakeTimeoutSecs=8\n")).unwrap();
    Typha::start(pki, "--max-handshakes 8")
}

/// 80 addresses with 4 connections each want ten times the handshakes that Typha can end within the 2 s. Typha ends 16
/// in a second, so that it knows the failures of all addresses after 5 s.
const ATTACK: &str = "--stalled 320 --stalled-sources 80 --stalled-send hello --stalled-again --sources 20";

const FELIXES: u64 = 20;

/// So many of 20 must get in on a busy machine. If all addresses were alike, one or none would.
const MOST: u64 = 15;

#[test]
fn felixes_get_in_while_many_addresses_hold_handshakes() {
    let pki = Pki::new();
    let typha = typha(&pki);
    let arguments = format!("-n {FELIXES} -c {FELIXES} --rate 10 --warm-up 8 {ATTACK}");
    let (_, line) = storm(&pki, &typha, &arguments);
    println!("{line}");
    // The attack has lasted to the end.
    assert!(line["stalled"]["closed_by_peer"].as_u64().unwrap() > 0, "{line}");
    assert!(line["good"]["accepted"].as_u64().unwrap() >= MOST, "{line}");
    typha.until(|stats| stats["accepted"] == line["good"]["accepted"]);
}

/// A Felix far away, or on a busy node, is no attacker.
#[tokio::test]
async fn slow_felixes_get_in_while_many_addresses_hold_handshakes() {
    let pki = Pki::new();
    let typha = typha(&pki);
    // The only Felix of the storm comes when the slow ones are done.
    let attack = start_storm(&pki, &typha, &format!("-n 1 -c 1 --warm-up 15 {ATTACK}"));
    typha.until(|stats| stats["shed"]["stalled"].as_u64() > Some(120));
    let felix = pki.pki.connector().unwrap();
    let mut felixes = JoinSet::new();
    for number in 0..FELIXES {
        felixes.spawn(slow(felix.clone(), typha.address.clone(), number));
    }
    let accepted = felixes.join_all().await.into_iter().filter(|accepted| *accepted).count() as u64;
    println!("{accepted} slow ones: {}", typha.stats());
    assert!(accepted >= MOST, "{accepted}");
    let (_, line) = attack.end();
    assert_eq!(line["good"]["asked"], json!(1));
}

/// Whether a Felix gets in that answers after 300 ms. It has an address of its own.
async fn slow(felix: FelixConnector, typha: String, number: u64) -> bool {
    tokio::time::sleep(Duration::from_millis(100 * number)).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("127.0.0.{}:0", 2 + number).parse().unwrap()).unwrap();
    let tcp = socket.connect(typha.parse().unwrap()).await.unwrap();
    let (ours, theirs) = duplex(64 * 1024);
    let (mut from_felix, mut to_felix) = tokio::io::split(theirs);
    let (mut from_typha, mut to_typha) = tcp.into_split();
    let relay = async {
        let up = tokio::io::copy(&mut from_felix, &mut to_typha);
        let down = async {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(length @ 1..) = from_typha.read(&mut buffer).await {
                tokio::time::sleep(Duration::from_millis(300)).await;
                to_felix.write_all(&buffer[..length]).await?;
            }
            to_felix.shutdown().await
        };
        let _ = tokio::join!(up, down);
    };
    tokio::select! {
        stream = felix.connect(ours) => stream.is_ok_and(|s| s.acceptance() == Acceptance::Confirmed),
        () = relay => false,
    }
}

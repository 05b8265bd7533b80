//! Other ends of a connection, and of a storm.

use std::io::Write as _;
use std::net::TcpListener;
use std::thread;

use serde_json::json;
use typha_tls::testing::{CertificateSpec, TestCa};

use super::running::{Pki, Storm, ended, line};
use super::typhas::{TyphaCommand, hello, reset};

#[test]
fn each_failure_has_its_count() {
    let pki = Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let typha = thread::spawn(move || {
        let next = || listener.accept().unwrap().0;
        let mut closes = next();
        hello(&mut closes);
        drop(closes);
        let mut other_protocol = next();
        hello(&mut other_protocol);
        other_protocol.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
        let mut resets = next();
        hello(&mut resets);
        reset(resets);
        let mut alert = next();
        hello(&mut alert);
        alert.write_all(&[21, 3, 3, 0, 2, 2, 80]).unwrap();
        let silent = next();
        let mut stops = next();
        stops.write_all(&[22, 3, 3]).unwrap();
        // Held until Felix has given up both.
        for mut tcp in [silent, stops] {
            std::io::copy(&mut tcp, &mut std::io::sink()).unwrap();
        }
    });
    let mut storm = Storm::run(&pki, &address, "-n 6 -c 1 --timeout 0.5");
    typha.join().unwrap();
    storm.drop_timings();
    let good = json!({
        "asked": 6, "closed": 1, "not_tls": 1, "io": 1, "refused_by_peer": { "internal_error": 1 },
        "timed_out": { "awaiting_first_byte": 1, "negotiating": 1 },
        "first_failure": "the peer closed the connection during the handshake (the peer had sent nothing)",
    });
    assert_eq!((storm.ended, storm.code), (ended(&address, good, json!({})), 1));
}

#[test]
fn a_typha_that_is_not_there_is_exit_code_5() {
    let pki = Pki::new();
    // Nobody listens on a port that was given back.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut storm = Storm::run(&pki, &gone, "-n 30 -c 3 --bad 10 --stalled 2");
    storm.drop_timings();
    let failed = |asked| {
        let why = "Connection refused (os error 111)";
        json!({ "asked": asked, "dial_failed": asked, "first_failure": why })
    };
    let mut expected = ended(&gone, failed(27), failed(3));
    expected["stalled"]["dial_failed"] = json!(2);
    assert_eq!((storm.ended, storm.code), (expected, 5));

    let mut storm = Storm::run(&pki, "..:5473", "-n 30");
    storm.drop_timings();
    let good = json!({ "asked": 30, "not_started": 30 });
    assert_eq!((storm.ended, storm.code), (ended("..:5473", good, json!({})), 5));
    assert!(storm.stderr.starts_with("typha-tls: ..:5473 can not be resolved: "), "{}", storm.stderr);
}

#[test]
fn an_interrupted_storm_has_its_line() {
    for signal in ["INT", "TERM"] {
        let pki = Pki::new();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let storm = Storm::start(&pki, &address, "-n 50 -c 5 --stalled 2 --timeout 600");
        let mut connections: Vec<_> = (0..7).map(|_| silent.accept().unwrap().0).collect();
        // Each sends something only when it is begun.
        for tcp in connections.iter_mut().skip(2) {
            hello(tcp);
        }
        let mut storm = storm.end_by(signal);
        storm.drop_timings();
        let good = json!({ "asked": 50, "unfinished": 5, "not_started": 45 });
        let mut expected = ended(&address, good, json!({}));
        expected["interrupted"] = json!(true);
        expected["stalled"]["opened"] = json!(2);
        assert_eq!((storm.ended, storm.code), (expected, 1));
    }
}

#[test]
fn what_can_not_be_used_is_exit_code_2() {
    let pki = Pki::new();
    let other = TestCa::new(CertificateSpec::ca("other")).unwrap();
    let other = other.issue(CertificateSpec::leaf("other")).unwrap();
    let (chain, key) = pki.write_leaf("other", &other);
    let felix_key = pki.path("felix-key.pem");
    for arguments in [
        "-n 0",
        "-c 0",
        "-n 10000001",
        "-n x",
        "--rate 0",
        "--rate NaN",
        "--bad 101",
        "--bad -1",
        "--timeout 0",
        "--sources 0",
        "--hold 1",
        "--stalled-for 1",
        "--stalled-again",
        "--stalled-send hello",
        "--stalled-sources 2",
        "--warm-up 1",
        "--stalled 2 --stalled-send whole",
        "--stalled 2 --stalled-sources 0",
        "--stalled 2 --stalled-again --stalled-for 1",
        "--keep 1 --hold -1",
        "--no-such-flag",
        "--typha-cn none --typha-uri-san none",
        "--ca-file /nowhere.pem",
        "-c 1000000000 -n 10000000",
        &format!("--bad 50 --bad-cert-file {chain}"),
        &format!("--bad-cert-file {chain} --bad-key-file {key}"),
        &format!("--bad 50 --bad-cert-file {chain} --bad-key-file {felix_key}"),
        &format!("--bad 50 --bad-cert-file /nowhere.pem --bad-key-file {key}"),
    ] {
        let output = Storm::command(&pki, "127.0.0.1:1", arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments}: {output:?}");
    }
    for address in ["[::1]:1", "192.0.2.1:1"] {
        let complaint = format!(
            "typha-tls: --sources and --stalled-sources need a Typha at an IPv4 loopback address (127.0.0.0/8), and \
             {address} has none\n"
        );
        for arguments in ["--sources 2", "--stalled 2 --stalled-sources 2"] {
            let output = Storm::command(&pki, address, arguments).output().unwrap();
            assert_eq!(
                (output.status.code(), std::str::from_utf8(&output.stderr)),
                (Some(2), Ok(&*complaint))
            );
        }
    }
}

#[test]
fn what_does_not_fit_into_the_limit_is_said() {
    let pki = Pki::new();
    let limited = |arguments: &str| {
        let storm = Storm::command(&pki, "127.0.0.1:1", arguments);
        Storm::in_shell("ulimit -n 200; exec \"$0\" \"$@\"", &storm).output().unwrap()
    };
    let output = limited("-n 200 -c 60 --stalled 21 --keep 20");
    assert_eq!(
        (output.status.code(), std::str::from_utf8(&output.stderr)),
        (
            Some(2),
            Ok(
                "typha-tls: -c, --stalled and --keep come to 101 connections, and this process may have 100: raise the \
                limit of file descriptors (ulimit -Hn), or take fewer\n"
            )
        )
    );
    // It fits.
    let output = limited("-n 200 -c 60 --stalled 20 --keep 20");
    assert_eq!(
        (output.status.code(), line(&output.stdout)["good"]["dial_failed"].as_u64()),
        (Some(5), Some(200))
    );
}

#[test]
fn the_soft_limit_is_raised() {
    let pki = Pki::new();
    let typha = TyphaCommand::start(&pki, &[]);
    let storm = Storm::command(&pki, &typha.address, "-n 80 -c 2 --keep 80");
    let output = Storm::in_shell("ulimit -Sn 40; exec \"$0\" \"$@\"", &storm).output().unwrap();
    assert_eq!((output.status.code(), line(&output.stdout)["kept"]["at_end"].as_u64()), (Some(0), Some(80)));
}

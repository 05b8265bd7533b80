//! The work `forward`: which proxies are measured, and which figures they have.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::report::{assert_cpu_time, bench, median, report_of, texts, with_descriptors};

/// Whether the program `typha-tls` is there: it is, if all tests are built. With `TYPHA_TLS_REQUIRE_INTEROP=1`, it and
/// the other proxies have to be.
fn is_possible(others: &[&str]) -> bool {
    let ours = Path::new(env!("CARGO_BIN_EXE_typha-tls-bench")).with_file_name("typha-tls");
    let runs = |program: &Path| Command::new(program).arg("-version").output().is_ok();
    let missing =
        [ours.to_str().unwrap()].iter().chain(others).find(|program| !runs(Path::new(program))).copied();
    let Some(missing) = missing else { return true };
    let required = std::env::var("TYPHA_TLS_REQUIRE_INTEROP").as_deref() == Ok("1");
    assert!(!required, "{missing} does not run, but TYPHA_TLS_REQUIRE_INTEROP=1 requires it");
    // Not by a macro, whose output the test harness hides when a test passes.
    let _ = writeln!(io::stderr(), "skipped: no {missing}");
    false
}

#[test]
fn each_proxy_has_all_figures() {
    if !is_possible(&["haproxy", "stunnel4"]) {
        return;
    }
    // With few file descriptors, fewer connections are held, which takes less time.
    let report = report_of(&with_descriptors(600, "--seconds 1 --clients 4 --work forward --format json"));
    let works = ["forward-connections", "forward-bulk", "forward-latency", "forward-idle"];
    assert_eq!(texts(&report["works"], "work"), works);
    assert_eq!(
        report["notes"].as_array().unwrap().iter().find(|note| note.to_string().contains("forward")),
        None
    );
    for (proxy, version) in [("haproxy", "HAProxy version "), ("stunnel", "stunnel ")] {
        assert!(report["versions"][proxy].as_str().unwrap().starts_with(version), "{}", report["versions"]);
    }
    let proxies = ["ours", "haproxy", "stunnel"];
    for work in report["works"].as_array().unwrap() {
        let name = work["work"].as_str().unwrap();
        let (direct, peers): (Vec<_>, Vec<_>) =
            work["peers"].as_array().unwrap().iter().partition(|peer| peer["peer"] == "direct");
        assert_eq!(peers.iter().map(|peer| peer["peer"].as_str().unwrap()).collect::<Vec<_>>(), proxies);
        assert_eq!(direct.len(), usize::from(name == "forward-latency"));
        for peer in peers {
            assert_eq!((&peer["failed"], &peer["resumed"]), (&0.into(), &0.into()), "{peer}");
            match name {
                "forward-connections" => {
                    assert_connections(peer);
                    assert_eq!(peer["ratio_to"].as_object().unwrap().len(), 2, "{peer}");
                }
                "forward-bulk" => {
                    assert!(median(peer, "megabytes_per_second_to_felix") > 0.0);
                    assert!(median(peer, "megabytes_per_second_to_typha") > 0.0);
                    assert_cpu_time(peer, "typha", "_per_megabyte_to_felix");
                    assert_cpu_time(peer, "typha", "_per_megabyte_to_typha");
                }
                "forward-latency" => {
                    for slice in 0..3 {
                        let of = |peer: &Value, figure: &str| peer["slices"][slice][figure].as_f64().unwrap();
                        let added = of(peer, "p50_micros") - of(direct[0], "p50_micros");
                        assert!((of(peer, "added_p50_micros") - added).abs() < 1e-6, "{peer}");
                    }
                }
                _ => assert!(median(peer, "bytes_per_idle_connection") > 0.0),
            }
        }
    }
}

/// Each Felix has got its byte through a new connection, with the same TLS at each proxy.
fn assert_connections(peer: &Value) {
    let negotiated = &peer["negotiated"];
    let negotiated = ["version", "cipher_suite", "group"].map(|name| negotiated[name].as_str().unwrap());
    assert_eq!(negotiated, ["1.3", "TLS_AES_128_GCM_SHA256", "x25519"], "{peer}");
    assert!(peer["completed"].as_u64().unwrap() > 0, "{peer}");
    assert_cpu_time(peer, "typha", "");
    for slice in peer["slices"].as_array().unwrap() {
        let product = slice["connections_per_cpu_second"].as_f64().unwrap()
            * slice["typha_cpu_micros"].as_f64().unwrap();
        assert!((product / 1e6 - 1.0).abs() < 1e-6, "{slice}");
    }
}

#[test]
fn new_clients_are_measured_too() {
    if !is_possible(&[]) {
        return;
    }
    let arguments = "--seconds 1 --clients 2 --work forward --cache cold --format json";
    let report = report_of(&bench(arguments).env("PATH", "/nonexistent").output().unwrap());
    // What is missing is noted, and the others are measured.
    let notes: Vec<_> = report["notes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let title = "forward 1.3 x25519 p256 chain-0 cold";
    for program in ["haproxy", "stunnel4"] {
        assert!(notes.contains(&&*format!("{title}: {program} is not installed")), "{notes:?}");
    }
    let work = &report["works"][0];
    assert_eq!(texts(&work["peers"], "peer"), ["ours"]);
    let peer = &work["peers"][0];
    assert_eq!(peer["unseen"], peer["completed"]);
    assert_connections(peer);
}

#[test]
fn a_proxy_that_serves_another_name_is_an_error() {
    if !is_possible(&["haproxy", "stunnel4"]) {
        return;
    }
    for (program, check) in [("haproxy", "session reject"), ("stunnel4", "checkHost")] {
        let (dir, path) = (TempDir::new().unwrap(), std::env::var("PATH").unwrap());
        let script = format!(
            "#!/bin/sh\nPATH='{path}'\n\
             for last; do :; done\n\
             [ -f \"$last\" ] && sed -i '/{check}/d' \"$last\"\n\
             exec {program} \"$@\"\n"
        );
        let file = dir.path().join(program);
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let mut bench = bench("--seconds 1 --clients 2 --work forward");
        let output = bench.env("PATH", format!("{}:{path}", dir.path().display())).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        let name = program.trim_end_matches('4');
        let expected =
            format!("typha-tls-bench: {name} cannot be measured: it serves a Felix with another name\n");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.ends_with(&expected), "{stderr}");
    }
}

#[test]
fn without_our_program_there_is_nothing_to_compare() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let alone = dir.path().join("typha-tls-bench");
    fs::hard_link(env!("CARGO_BIN_EXE_typha-tls-bench"), &alone).unwrap();
    let output = Command::new(alone).args(["--work", "forward"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = "/typha-tls is missing: build it with `cargo build --release -p typha-tls-cli`, in the profile of \
                    this benchmark\n";
    assert!(stderr.ends_with(expected), "{stderr}");
}

//! `typha-tls bench`: what it reports, not how fast anything is.

#![cfg(target_os = "linux")]
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test may fail this way")]

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

fn bench(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
    command.arg("bench").args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

fn run(arguments: &str) -> Output {
    bench(arguments).output().unwrap()
}

/// The report of a run that ends well.
fn report(arguments: &str) -> Value {
    let output = run(&format!("{arguments} --json"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn texts(array: &Value, member: &str) -> Vec<String> {
    array.as_array().unwrap().iter().map(|value| value[member].as_str().unwrap().to_owned()).collect()
}

/// The median of a figure.
fn median(peer: &Value, figure: &str) -> f64 {
    peer["figures"][figure]["median"].as_f64().unwrap_or_else(|| panic!("no {figure} in {peer}"))
}

fn assert_handshakes(work: &Value, peers: &[&str]) {
    assert_eq!(texts(&work["peers"], "peer"), peers);
    for peer in work["peers"].as_array().unwrap() {
        assert_eq!((&peer["failed"], &peer["resumed"]), (&0.into(), &0.into()), "{peer}");
        assert!(peer["completed"].as_u64().unwrap() > 0, "{peer}");
        for figure in ["handshakes_per_second", "typha_cpu_micros", "felix_cpu_micros", "p50_micros"] {
            assert!(median(peer, figure) > 0.0, "{peer}");
        }
        assert!(median(peer, "p50_micros") <= median(peer, "p99_micros"), "{peer}");
        assert!(peer["slices"].as_array().unwrap().len() >= 3, "{peer}");
    }
}

#[test]
fn a_work_has_a_line_for_each_peer_and_all_targets() {
    let report = report("--seconds 1 --peers ours,bare --work handshake");
    assert_eq!(report["peers"], serde_json::json!(["ours", "bare"]));
    assert_eq!(texts(&report["works"], "work"), ["handshake"]);
    let work = &report["works"][0];
    assert_handshakes(work, &["ours", "bare"]);
    assert_eq!(work["mode"]["group"], "x25519");
    let floor = &work["floor"];
    let part = |name: &str| floor[name]["median"].as_f64().unwrap();
    let sum = part("key_exchange_micros") + part("sign_micros") + part("verify_micros");
    assert!((floor["total_micros"].as_f64().unwrap() - sum).abs() < 1e-6, "{floor}");
    assert_eq!(floor["verifies"], 1);
    for peer in work["peers"].as_array().unwrap() {
        assert!(peer["ratio_to_floor"].as_f64().unwrap() > 0.0);
        assert_eq!(peer["ratio_to"].as_object().unwrap().len(), 1);
    }
    let targets = report["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 15);
    let measured = targets.iter().filter(|target| !target["measured"].is_null());
    let measured: Vec<_> = measured.map(|target| (&target["work"], &target["what"])).collect();
    assert_eq!(
        measured,
        [
            (&"handshake".into(), &"handshakes/s against bare".into()),
            (&"handshake".into(), &"Typha's CPU against the floor".into())
        ]
    );
    assert_eq!(report["versions"].as_object().unwrap().len(), 2);
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0);
}

#[test]
fn every_other_work_is_measured() {
    let works = "cold,post-quantum,tls12,rsa2048,both-ends,latency,idle,bulk,resumption,in-memory,floor";
    let report = report(&format!("--seconds 1 --peers ours,bare --clients 4 --work {works}"));
    assert_eq!(texts(&report["works"], "work").join(","), works);
    for work in report["works"].as_array().unwrap() {
        let peers = work["peers"].as_array().unwrap();
        match work["work"].as_str().unwrap() {
            "idle" => peers.iter().for_each(|peer| assert!(median(peer, "bytes_per_idle_connection") > 0.0)),
            "bulk" => {
                for peer in peers {
                    assert!(median(peer, "megabytes_per_second_to_felix") > 0.0);
                    assert!(median(peer, "megabytes_per_second_to_typha") > 0.0);
                }
            }
            "resumption" => {
                assert_eq!(
                    (peers[0]["peer"].as_str(), median(&peers[0], "resumed_share")),
                    (Some("ours"), 0.0)
                );
                assert!(median(&peers[1], "resumed_share") > 0.0);
            }
            "in-memory" => {
                peers.iter().for_each(|peer| assert!(median(peer, "typha_in_memory_micros") > 0.0));
            }
            "floor" => assert_eq!(peers.len(), 0),
            _ => assert_handshakes(work, &["ours", "bare"]),
        }
    }
    let verifies = |index: usize| report["works"][index]["floor"]["verifies"].as_u64();
    assert_eq!((verifies(0), verifies(1)), (Some(2), Some(1)));
}

#[test]
fn mode_flags_make_a_matrix() {
    let report =
        report("--seconds 1 --peers ours --key p256,ed25519 --chain-length 1 --identity cn --cache cold");
    assert_eq!(
        texts(&report["works"], "work"),
        ["1.3 x25519 p256 chain-1 cold cn", "1.3 x25519 ed25519 chain-1 cold cn"]
    );
    for work in report["works"].as_array().unwrap() {
        assert_handshakes(work, &["ours"]);
        assert_eq!(work["floor"]["verifies"], 3);
    }
    assert_eq!(report["targets"], serde_json::json!([]));
}

#[test]
fn growth_has_its_points_and_its_plot() {
    let dir = TempDir::new().unwrap();
    let plot = dir.path().join("growth.svg");
    let report = report(&format!(
        "--seconds 1 --peers ours,bare --grow bundle,hit-share --clients 4 --plot {}",
        plot.display()
    ));
    let points = |index: usize| {
        let points = report["growth"][index]["points"].as_array().unwrap();
        points.iter().map(|point| {
            assert_handshakes(&point["result"], &["ours", "bare"]);
            point["x"].as_u64().unwrap()
        })
    };
    assert_eq!(texts(&report["growth"], "curve"), ["bundle", "hit-share"]);
    assert_eq!(points(0).collect::<Vec<_>>(), [1, 10, 50, 100, 150]);
    assert_eq!(points(1).collect::<Vec<_>>(), [0, 25, 50, 75, 100]);
    let svg = fs::read_to_string(&plot).unwrap();
    for text in ["ours", "bare", "CAs in the bundle", "% of clients seen before"] {
        assert!(svg.contains(text), "no {text} in {svg}");
    }
}

#[test]
fn the_table_and_the_plot_name_the_peers() {
    let dir = TempDir::new().unwrap();
    let plot = dir.path().join("works.svg");
    let output = run(&format!("--seconds 1 --peers ours,bare --work handshake --plot {}", plot.display()));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (table, svg) = (String::from_utf8(output.stdout).unwrap(), fs::read_to_string(&plot).unwrap());
    for text in ["handshake", "ours", "bare"] {
        assert!(svg.contains(text) && table.contains(text), "no {text} in {table}\n{svg}");
    }
    for text in ["vs floor", "targets", "machine: "] {
        assert!(table.contains(text), "no {text} in {table}");
    }
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "measuring handshake\n");
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    for arguments in [
        "--peers theirs",
        "--seconds 0",
        "--quick --seconds 5",
        "--work sleep",
        "--grow money",
        "--grow all --work idle",
        "--tls 1.2 --work idle",
        "--chain-length 3",
        "--clients 0",
        "--tls 1.2 --group X25519MLKEM768",
        "--plot /does/not/exist.svg",
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {output:?}");
        assert_eq!((output.stdout.len(), output.stderr.is_empty()), (0, false), "{arguments}");
    }
}

#[test]
fn a_go_that_is_missing_is_a_note_unless_it_was_asked_for() {
    let nowhere = |arguments| bench(arguments).env("PATH", "/nonexistent").output().unwrap();
    let output = nowhere("--seconds 1 --peers ours,go --work floor");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "typha-tls: go is not on this machine\n");
    let output = nowhere("--seconds 1 --work floor --json");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["notes"], serde_json::json!(["go is not on this machine"]));
    assert_eq!(report["peers"], serde_json::json!(["ours", "bare"]));
}

#[test]
fn a_run_that_is_interrupted_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let mut command = bench("--seconds 60 --peers ours,bare --work handshake");
    command.env("TMPDIR", dir.path()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut bench = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    // A Typha for each peer, and Felixes and the floor.
    while workers(bench.id()) < 4 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(workers(bench.id()) >= 4);
    let kill = format!("kill -INT {}", bench.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(bench.wait().unwrap().code(), Some(5));
    let mut stderr = String::new();
    bench.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    // What was measured, if anything was yet, is said before it.
    assert!(stderr.ends_with("typha-tls: interrupted\n"), "{stderr}");
    assert_eq!((fs::read_dir(dir.path()).unwrap().count(), workers(bench.id())), (0, 0));
}

/// How many children a process has.
fn workers(parent: u32) -> usize {
    let parent_of = |stat: String| stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    stats.filter_map(parent_of).filter(|found| *found == parent).count()
}

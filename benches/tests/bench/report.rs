//! What the program reports, not how fast anything is.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) fn bench(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls-bench"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

fn run(arguments: &str) -> Output {
    bench(arguments).output().unwrap()
}

/// Runs it where there are only so many file descriptors.
pub(crate) fn with_descriptors(most: usize, arguments: &str) -> Output {
    let script = format!("ulimit -n {most} && exec {} {arguments}", env!("CARGO_BIN_EXE_typha-tls-bench"));
    Command::new("sh").args(["-c", &script]).output().unwrap()
}

/// The report of a run that ends well.
fn report(arguments: &str) -> Value {
    report_of(&run(&format!("{arguments} --format json")))
}

pub(crate) fn report_of(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn texts(array: &Value, member: &str) -> Vec<String> {
    array.as_array().unwrap().iter().map(|value| value[member].as_str().unwrap().to_owned()).collect()
}

/// The median of a figure.
pub(crate) fn median(peer: &Value, figure: &str) -> f64 {
    peer["figures"][figure]["median"].as_f64().unwrap_or_else(|| panic!("no {figure} in {peer}"))
}

/// In each slice, user and system time are the CPU time.
pub(crate) fn assert_cpu_time(peer: &Value, end: &str, per: &str) {
    for slice in peer["slices"].as_array().unwrap() {
        let part = |part: &str| slice[format!("{end}_{part}_micros{per}")].as_f64().unwrap();
        let (total, user, system) = (part("cpu"), part("user"), part("system"));
        assert!(total > 0.0 && (total - user - system).abs() < 1e-6 * total, "{end}: {slice}");
    }
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
        assert_cpu_time(peer, "typha", "");
        assert_cpu_time(peer, "felix", "");
        assert!(peer["slices"].as_array().unwrap().len() >= 3, "{peer}");
        assert!(
            peer["negotiated"]["version"].is_string() && peer["negotiated"]["group"].is_string(),
            "{peer}"
        );
        // All clients of a warm cache were seen before, and none of a cold one.
        let unseen = if work["mode"]["cache"] == "cold" { &peer["completed"] } else { &Value::from(0) };
        let mixed = work["work"].as_str().unwrap().starts_with("hit-share");
        assert!(mixed || &peer["unseen"] == unseen, "{peer}");
    }
}

#[test]
fn a_work_has_a_result_for_each_peer() {
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
        let ratios = peer["ratio_to"].as_object().unwrap();
        assert_eq!(ratios.len(), 1);
        for ratio in ratios.values().chain([&peer["ratio_to_floor"]]) {
            let [min, median, max] = ["min", "median", "max"].map(|name| ratio[name].as_f64().unwrap());
            assert!(0.0 < min && min <= median && median <= max, "{ratio}");
        }
    }
    let suite = |index: usize| &work["peers"][index]["negotiated"]["cipher_suite"];
    assert_eq!((suite(0), suite(1)), (&"TLS_AES_128_GCM_SHA256".into(), &"TLS_AES_256_GCM_SHA384".into()));
    assert_eq!(report["clients"], 32);
    assert_eq!(report["versions"].as_object().unwrap().len(), 2);
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0);
}

#[test]
fn every_other_work_is_measured() {
    let works = "cold,post-quantum,tls12,rsa2048,both-ends,latency,idle,bulk,in-memory,floor";
    let dir = TempDir::new().unwrap();
    let plot = dir.path().join("works.svg");
    let flags = format!("--peers ours,bare --clients 4 --plot {}", plot.display());
    // With few file descriptors, `idle` holds fewer connections, which takes less time.
    let report =
        report_of(&with_descriptors(600, &format!("--seconds 1 {flags} --work {works} --format json")));
    let svg = fs::read_to_string(&plot).unwrap();
    for text in ["p50 of a round", "bytes per idle connection", "MB/s to Felix", "MB/s to Typha"] {
        assert!(svg.contains(text), "no {text} in {svg}");
    }
    assert_eq!(texts(&report["works"], "work").join(","), works);
    for work in report["works"].as_array().unwrap() {
        let peers = work["peers"].as_array().unwrap();
        match work["work"].as_str().unwrap() {
            "idle" => peers.iter().for_each(|peer| assert!(median(peer, "bytes_per_idle_connection") > 0.0)),
            "bulk" => {
                for peer in peers {
                    assert!(median(peer, "megabytes_per_second_to_felix") > 0.0);
                    assert!(median(peer, "megabytes_per_second_to_typha") > 0.0);
                    for (end, direction) in
                        [("typha", "felix"), ("typha", "typha"), ("felix", "felix"), ("felix", "typha")]
                    {
                        assert_cpu_time(peer, end, &format!("_per_megabyte_to_{direction}"));
                    }
                }
            }
            "in-memory" => {
                for peer in peers {
                    assert!(median(peer, "typha_in_memory_micros") > 0.0);
                    assert!(median(peer, "felix_in_memory_micros") > 0.0);
                }
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
    let report = report("--seconds 1 --peers ours --key p256,ed25519 --chain-length 1 --cache cold");
    assert_eq!(
        texts(&report["works"], "work"),
        ["1.3 x25519 p256 chain-1 cold", "1.3 x25519 ed25519 chain-1 cold"]
    );
    for work in report["works"].as_array().unwrap() {
        assert_handshakes(work, &["ours"]);
        assert_eq!(work["floor"]["verifies"], 3);
    }
}

#[test]
fn works_can_be_measured_in_other_modes() {
    let report =
        report("--seconds 1 --peers bare,bare-aes128 --clients 4 --work handshake,latency --tls 1.2,1.3");
    assert_eq!(
        texts(&report["works"], "work"),
        [
            "handshake 1.2 x25519 p256 chain-0 warm",
            "latency 1.2 x25519 p256 chain-0 warm",
            "handshake 1.3 x25519 p256 chain-0 warm",
            "latency 1.3 x25519 p256 chain-0 warm",
        ]
    );
    for work in report["works"].as_array().unwrap() {
        assert_handshakes(work, &["bare", "bare-aes128"]);
        for peer in work["peers"].as_array().unwrap() {
            assert_eq!(peer["negotiated"]["version"], work["mode"]["tls"]);
        }
        let suite = work["peers"][1]["negotiated"]["cipher_suite"].as_str().unwrap();
        assert!(suite.contains("AES_128_GCM_SHA256"), "{suite}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let start = |format: &str, stdout: Stdio| {
        let mut command = bench(&format!("--seconds 1 --peers bare --work floor --format {format}"));
        command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap()
    };
    // At the same time: each takes a second.
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into();
    let failing = ["text", "json"].map(|format| start(format, full()));
    let mut closed = start("text", Stdio::piped());
    drop(closed.stdout.take());
    for bench in failing {
        let output = bench.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(5), "{stderr}");
        assert!(stderr.contains("typha-tls-bench: the report cannot be written: No space left"), "{stderr}");
    }
    assert_eq!(closed.wait().unwrap().code(), Some(0));
}

#[test]
fn too_few_file_descriptors_are_seen_before_anything_starts() {
    let output = with_descriptors(500, "--peers bare --work floor --clients 201");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("take 200 clients"), "{stderr}");
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
    for point in report["growth"][1]["points"].as_array().unwrap() {
        for peer in point["result"]["peers"].as_array().unwrap() {
            let [completed, unseen] = ["completed", "unseen"].map(|name| peer[name].as_f64().unwrap());
            let expected = completed * (1.0 - point["x"].as_f64().unwrap() / 100.0);
            // Each of four Felixes counts for itself, in each slice and in the one that does not count.
            let slack = 4.0 * (1.0 + peer["slices"].as_array().unwrap().len() as f64);
            assert!((unseen - expected).abs() <= slack, "{}: {peer}", point["x"]);
        }
    }
    let svg = fs::read_to_string(&plot).unwrap();
    for text in ["ours", "bare", "CAs in the bundle", "% of clients that Typha knows"] {
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
    for text in ["vs floor", "user+system", "machine: "] {
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
        "--tls 1.2 --work tls12",
        "--key p384 --work handshake,cold",
        "--tls 1.2 --work latency",
        "--tls 1.2 --work forward",
        "--group X25519MLKEM768 --work forward",
        "--peers haproxy",
        "--cache cold --work bulk",
        "--tls 1.2 --grow cores",
        "--chain-length 3",
        "--clients 0",
        "--format xml",
        "--json --format text",
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
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "typha-tls-bench: go is not installed\n");
    let output = nowhere("--seconds 1 --work floor --format json");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // A machine of one core has more to note.
    assert_eq!(report["notes"][0], "go is not installed");
    assert_eq!(report["peers"], serde_json::json!(["ours", "bare"]));
}

#[test]
fn a_run_that_is_interrupted_leaves_nothing_behind() {
    for signal in ["INT", "TERM", "HUP"] {
        let dir = TempDir::new().unwrap();
        let mut command = bench("--seconds 60 --peers ours,bare --work handshake");
        command.env("TMPDIR", dir.path());
        let mut bench = started(&mut command, 4);
        // A Typha for each peer, and Felixes and the floor.
        assert!(workers(bench.id()) >= 4);
        kill(signal, &bench);
        assert_eq!(bench.wait().unwrap().code(), Some(5));
        let mut stderr = String::new();
        bench.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        // The works that were begun are named before it.
        assert!(stderr.ends_with("typha-tls-bench: interrupted\n"), "{signal}: {stderr}");
        assert_eq!((fs::read_dir(dir.path()).unwrap().count(), workers(bench.id())), (0, 0));
    }
}

/// A directory with a `go` whose `go build` runs the script.
fn go_that(script: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let program = dir.path().join("go");
    fs::write(&program, format!("#!/bin/sh\n[ \"$1\" = version ] && exit 0\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn with_go(command: &mut Command, go: &TempDir) {
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", go.path().display()));
}

#[test]
fn a_build_is_interrupted_too() {
    let (go, dir) = (go_that("exec sleep 300"), TempDir::new().unwrap());
    let mut command = bench("--peers ours,go --work floor");
    with_go(&mut command, &go);
    command.env("TMPDIR", dir.path());
    let mut bench = started(&mut command, 1);
    kill("INT", &bench);
    assert_eq!(bench.wait().unwrap().code(), Some(5));
    assert_eq!((fs::read_dir(dir.path()).unwrap().count(), workers(bench.id())), (0, 0));
}

#[test]
fn a_go_worker_that_cannot_be_run_is_a_note_unless_it_was_asked_for() {
    // What `go build -buildvcs=false -o FILE .` makes here cannot be run, as in a directory without the right to.
    let go = go_that("echo \"$GOGC$GOFLAGS$GOPROXY\" > \"$4\"");
    let run = |arguments| {
        let mut command = bench(arguments);
        with_go(&mut command, &go);
        command.env("GOGC", "off").output().unwrap()
    };
    let output = run("--seconds 1 --peers ours,go --work floor");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let output = run("--seconds 1 --work floor --format json");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.starts_with("the Go worker cannot be run from the temporary directory: "), "{note}");
    assert_eq!(report["peers"], serde_json::json!(["ours", "bare"]));
}

/// Starts it, and waits until it has so many children.
fn started(command: &mut Command, children: usize) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let bench = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while workers(bench.id()) < children && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    bench
}

fn kill(signal: &str, child: &Child) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// How many children a process has.
fn workers(parent: u32) -> usize {
    let parent_of = |stat: String| stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    stats.filter_map(parent_of).filter(|found| *found == parent).count()
}

//! Counts the instructions of what runs for each connection, with valgrind's callgrind, and compares them with the
//! counts in `instructions.json`: 3 % more is a failure. Unlike time, instructions are the same however busy the
//! machine is.
//!
//! `cargo bench -p typha-tls-benches --bench instructions` compares; `-- --record` writes the counts again, after an
//! intended change.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]

use std::error::Error;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustls_pki_types::UnixTime;
use serde_json::{Map, Value, json};
use typha_tls::Role;
use typha_tls::identity::{PeerIdentity, RequiredIdentity};
use typha_tls::material::RevocationLists;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{FELIX_COMMON_NAME, FELIX_SPIFFE_ID, TestPki, handshake};
use typha_tls::verifier::PeerVerifier;

/// What is counted: name, and how often it runs in one count.
const WORKLOADS: [(&str, u64); 3] = [("identity_rule", 1000), ("known_chain", 1000), ("handshake", 50)];

/// How much more than recorded is a failure.
const TOLERANCE: f64 = 0.03;

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--run", workload, ..] => {
            run(workload);
            Ok(true)
        }
        ["--record", ..] => record().map(|()| true),
        _ => compare(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `operation` once outside of the count, so that what is made once is made, and then in it.
fn run(workload: &str) {
    let times = WORKLOADS.iter().find(|(name, _)| *name == workload).unwrap().1;
    let pki = TestPki::new().unwrap();
    let required = RequiredIdentity::either(FELIX_COMMON_NAME, FELIX_SPIFFE_ID).unwrap();
    match workload {
        "identity_rule" => {
            let presented = PeerIdentity::from_certificate(pki.felix.chain().first().unwrap()).unwrap();
            repeat(times, || drop(black_box(required.check(&presented))));
        }
        "known_chain" => {
            let policy = TlsPolicy::builder().build().unwrap();
            let bundle = pki.ca.trust_bundle().unwrap();
            let verifier = PeerVerifier::new(bundle, RevocationLists::none(), required, &policy);
            let now = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()));
            repeat(times, || drop(verifier.verify(pki.felix.chain(), Role::Felix, now).unwrap()));
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let (acceptor, connector) = (pki.acceptor().unwrap(), pki.connector().unwrap());
            repeat(times, || {
                let (typha, felix) = runtime.block_on(handshake(&acceptor, &connector));
                drop((typha.unwrap(), felix.unwrap()));
            });
        }
    }
}

fn repeat(times: u64, mut operation: impl FnMut()) {
    operation();
    for _ in 0..times {
        counted(&mut operation);
    }
}

/// callgrind counts while this runs, and finds it by its name.
#[inline(never)]
fn counted(operation: &mut dyn FnMut()) {
    operation();
    black_box(());
}

/// Instructions of one operation of each workload.
fn count() -> Result<Map<String, Value>, Box<dyn Error>> {
    let executable = std::env::current_exe()?;
    let mut counts = Map::new();
    for (workload, times) in WORKLOADS {
        let output = Command::new("valgrind")
            .args([
                "--tool=callgrind",
                "--callgrind-out-file=/dev/null",
                "--toggle-collect=instructions::counted*",
            ])
            .arg(&executable)
            .args(["--run", workload])
            .output()
            .map_err(|error| format!("valgrind cannot be run, install it: {error}"))?;
        let report = String::from_utf8_lossy(&output.stderr);
        let total = report
            .lines()
            .find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok())
            .filter(|&total| output.status.success() && total > 0)
            .ok_or_else(|| format!("{workload}: callgrind counted nothing: {report}"))?;
        counts.insert(workload.to_owned(), json!(total / times));
    }
    Ok(counts)
}

/// What else the counts depend on.
fn environment() -> Result<Value, Box<dyn Error>> {
    let version = |command: &str| -> Result<String, Box<dyn Error>> {
        let output = Command::new(command).arg("--version").output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    // Of what a processor may have, callgrind shows programs no more than these.
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let features: Vec<_> = ["aes", "avx", "avx2", "bmi2", "pclmulqdq"]
        .into_iter()
        .filter(|f| flags.split(' ').any(|flag| flag == *f))
        .collect();
    Ok(json!({
        "rustc": version("rustc")?,
        "valgrind": version("valgrind")?,
        "architecture": std::env::consts::ARCH,
        "processor": features.join(" "),
    }))
}

fn record() -> Result<(), Box<dyn Error>> {
    let record = json!({ "environment": environment()?, "instructions": count()? });
    std::fs::write(RECORD, format!("{record:#}\n"))?;
    println!("{record:#}");
    Ok(())
}

/// `false` if anything takes more than it should.
fn compare() -> Result<bool, Box<dyn Error>> {
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(RECORD)?)?;
    let here = environment()?;
    let comparable = recorded.get("environment") == Some(&here);
    let mut passed = true;
    for (workload, now) in count()? {
        let before = recorded
            .get("instructions")
            .and_then(|counts| counts.get(&workload)?.as_f64())
            .ok_or_else(|| format!("{workload} is not recorded: run with --record"))?;
        let change = now.as_f64().unwrap_or(f64::INFINITY) / before - 1.0;
        let verdict = match () {
            () if !comparable => "not comparable",
            () if change > TOLERANCE => "TOO MANY",
            () if change < -TOLERANCE => "fewer: record them anew",
            () => "as recorded",
        };
        passed &= !comparable || change <= TOLERANCE;
        println!("{workload:<14} {now:>9} instructions, {:+.2} %: {verdict}", change * 100.0);
    }
    if !comparable {
        println!("recorded with {}, this is {here}", recorded.get("environment").unwrap_or(&Value::Null));
    }
    Ok(passed)
}

//! Runs the commands of the how-to of the operation guide, from its CA to the end of the migration, as a reader would.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// The shell commands between the how-to's markers, one block after the other.
fn commands(guide: &str) -> String {
    let (_, rest) = guide.split_once("<!-- how-to:").unwrap();
    let (how_to, _) = rest.split_once("<!-- end of how-to -->").unwrap();
    let blocks: Vec<_> =
        how_to.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
    assert_eq!(blocks.len(), 7);
    blocks.concat()
}

#[test]
fn the_commands_of_the_how_to_work() {
    if Command::new("openssl").arg("version").output().is_err() {
        assert_ne!(std::env::var("TYPHA_TLS_REQUIRE_INTEROP").as_deref(), Ok("1"), "no openssl");
        // Not by a macro, whose output the test harness keeps back when a test passes.
        let _ = writeln!(std::io::stderr(), "skipped: no openssl");
        return;
    }
    let guide =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operation.md")).unwrap();
    // The port of the guide may be in use on this machine, and a second be too short.
    let ready = "for _ in $(seq 300); do grep -q listening typha.log && break; sleep 0.1; done";
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let script = commands(&guide).replace("127.0.0.1:5473", &free).replace("sleep 1", ready);
    let dir = tempfile::tempdir().unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_typha-tls")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(bin.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(dir.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    // The Felix of each trial got its echo, and the last one no longer matches by Common Name alone.
    assert_eq!(stdout.lines().filter(|line| *line == "hello").count(), 2, "{stdout}");
    let log = std::fs::read_to_string(dir.path().join("typha.log")).unwrap();
    assert_eq!(log.matches(r#""matched_by":"both""#).count(), 1, "{log}");
}

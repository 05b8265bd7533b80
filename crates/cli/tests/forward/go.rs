//! Programs in Go at the ends: without TLS, and with TLS as Calico configures it. The program is `forward/go`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;
use typha_tls::testing::{FELIX_COMMON_NAME, TYPHA_COMMON_NAME};

use crate::rig::{Daemon, Site, command};

/// The Go program; `None` without Go.
fn go() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    if Command::new("go").arg("version").output().is_err() {
        let required = std::env::var("TYPHA_TLS_REQUIRE_INTEROP").as_deref() == Ok("1");
        assert!(!required, "Go is not installed, but TYPHA_TLS_REQUIRE_INTEROP=1 requires it");
        // Not by a macro, whose output the test harness keeps back when a test passes.
        let _ = writeln!(std::io::stderr(), "skipped: no Go");
        return None;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = TempDir::new_in(target).unwrap();
    let built = directory.path().join("forward-go");
    let output = Command::new("go")
        .args(["build", "-buildvcs=false", "-o"])
        .args([&built, Path::new(".")])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forward/go"))
        .envs([("GO111MODULE", "on"), ("GOFLAGS", "-mod=mod"), ("GOPROXY", "off"), ("GOTOOLCHAIN", "local")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Renaming replaces the program whole, also under another run that is using it.
    let program = target.join("forward-go");
    std::fs::rename(built, &program).unwrap();
    Some(program)
}

/// An end with TLS: its version, its files, and the name that the peer must have.
struct Tls(&'static str, &'static str, &'static str);

fn arguments(site: &Site, tls: Option<&Tls>) -> Vec<String> {
    let Some(Tls(version, name, required)) = tls else { return Vec::new() };
    let file = |name: String| site.path(&name);
    let [ca, cert, key] =
        [file("ca.pem".to_owned()), file(format!("{name}.pem")), file(format!("{name}.key"))];
    ["-tls", version, "-ca", &ca, "-cert", &cert, "-key", &key, "-cn", required].map(str::to_owned).to_vec()
}

struct Server {
    process: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start(go: &Path, site: &Site, tls: Option<&Tls>, size: &str) -> Self {
        let mut process = Command::new(go)
            .args(["server", "-size", size])
            .args(arguments(site, tls))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut address = String::new();
        stdout.read_line(&mut address).unwrap();
        Self { process, stdout, address: address.trim().to_owned() }
    }

    /// Ends it. Returns what it has seen.
    fn end(mut self) -> Value {
        drop(self.process.stdin.take());
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).unwrap();
        assert!(self.process.wait().unwrap().success());
        serde_json::from_str(&text).unwrap()
    }
}

/// Makes connections with every ending. Each end must see each of them as it was.
fn every_ending(of_client: Option<Tls>, of_server: Option<Tls>, connections: u64, at_once: &str, size: &str) {
    let Some(go) = go() else { return };
    let site = Site::new();
    let server = Server::start(go, &site, of_server.as_ref(), size);
    let typha = of_server.is_none().then(|| site.typha(&server.address, &[]));
    let behind = typha.as_ref().map_or(&server.address, |typha| &typha.address);
    let felix = of_client.is_none().then(|| {
        let config = site.path("felix.cfg");
        Daemon::start(&["felix", "--connect", behind, "--config", &config, "--listen", "127.0.0.1:0"])
    });
    let address = felix.as_ref().map_or(behind, |felix| &felix.address);
    let output = Command::new(go)
        .args(["client", "-connect", address, "-c", at_once, "-size", size, "-n"])
        .arg(connections.to_string())
        .args(arguments(&site, of_client.as_ref()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let each = connections / 7;
    let names = [
        "both_at_once",
        "client_first",
        "client_resets",
        "late_reset",
        "nothing",
        "server_first",
        "server_resets",
    ];
    let ended: Value =
        names.iter().map(|name| (name.to_string(), json!(each))).collect::<serde_json::Map<_, _>>().into();
    let expected = json!({ "ended": ended, "mistakes": [] });
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), expected, "the client");
    assert_eq!(server.end(), expected, "the server");
    for sidecar in [typha, felix].into_iter().flatten() {
        let (code, _) = sidecar.terminate();
        assert_eq!(code, Some(0));
    }
}

const FELIX: fn(&'static str) -> Option<Tls> = |version| Some(Tls(version, "felix", TYPHA_COMMON_NAME));
const TYPHA: fn(&'static str) -> Option<Tls> = |version| Some(Tls(version, "typha", FELIX_COMMON_NAME));

#[test]
fn programs_without_tls() {
    every_ending(None, None, 350, "10", "1000");
    every_ending(None, None, 70, "10", "300000");
}

#[test]
fn felix_in_go_with_tls() {
    for version in ["1.3", "1.2"] {
        every_ending(FELIX(version), None, 140, "10", "1000");
        every_ending(FELIX(version), None, 35, "5", "300000");
    }
}

#[test]
fn typha_in_go_with_tls() {
    for version in ["1.3", "1.2"] {
        every_ending(None, TYPHA(version), 140, "10", "1000");
        every_ending(None, TYPHA(version), 35, "5", "300000");
    }
}

#[test]
#[ignore = "of the real size"]
fn ten_thousand_of_each() {
    every_ending(None, None, 10_003, "100", "1000");
    every_ending(FELIX("1.3"), None, 10_003, "100", "1000");
    every_ending(None, TYPHA("1.3"), 10_003, "100", "1000");
}

/// Half of the clients are strangers: every good one gets in, and the program sees good ones only.
fn storm(clients: usize, at_once: usize) {
    let Some(go) = go() else { return };
    let site = Site::new();
    let server = Server::start(go, &site, None, "1000");
    let typha = site.typha(&server.address, &["--stats-interval", "0.2"]);
    let config = site.path("felix.cfg");
    let [cert, key] = ["stranger.pem", "stranger.key"].map(|name| site.path(name));
    let output = command(&["storm", "--connect", &typha.address, "--config", &config])
        .args(["-n", &clients.to_string(), "-c", &at_once.to_string(), "--bad", "50"])
        .args(["--bad-cert-file", &cert, "--bad-key-file", &key])
        .output()
        .unwrap();
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    // On a busy machine, the sign of being accepted may come late; Typha's counts below do not depend on it.
    let good = ["accepted", "unconfirmed"].map(|outcome| line["good"][outcome].as_u64().unwrap());
    assert_eq!(good.iter().sum::<u64>(), clients as u64 / 2, "{line}");
    assert_eq!(line["bad"]["refused_by_peer"], json!({ "access_denied": clients / 2 }));
    let stats = typha.next_where(|line| {
        line["event"] == "stats"
            && line["accepted"] == clients / 2
            && ["active", "queued", "in_handshake"].iter().all(|gauge| line[gauge] == 0)
    });
    assert_eq!(stats["refused"], json!({ "identity_mismatch": clients / 2 }));
    // The good ones say nothing, and close.
    let expected = json!({ "ended": { "nothing": clients / 2 }, "mistakes": [] });
    assert_eq!(server.end(), expected);
}

#[cfg(target_os = "linux")]
#[test]
fn a_storm_half_of_strangers() {
    storm(400, 50);
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "of the real size"]
fn a_storm_of_five_thousand_half_of_strangers() {
    storm(5000, 200);
}

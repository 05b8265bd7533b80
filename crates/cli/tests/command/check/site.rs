//! A Typha whose CA file is to change, and a directory with chains of its Felixes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use tempfile::TempDir;
use typha_tls::material::TrustBundle;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};
use typha_tls::verifier::{RejectedPeer, Rejection};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// The Typha trusts the CAs `old` and `kept`; its own chain is of `kept`.
pub(crate) struct Site {
    dir: TempDir,
    pub(crate) old: TestCa,
    pub(crate) kept: TestCa,
    pub(crate) new: TestCa,
}

pub(crate) fn ca(name: &str) -> TestCa {
    let now = SystemTime::now();
    TestCa::new(CertificateSpec::ca(name).valid(now - DAY, now + 3000 * DAY)).unwrap()
}

/// A leaf that lasts longer than `check` wants.
pub(crate) fn spec(name: &str, purpose: Purpose) -> CertificateSpec {
    let now = SystemTime::now();
    CertificateSpec::leaf(name).purpose(purpose).valid(now - DAY, now + 60 * DAY)
}

pub(crate) fn felix(ca: &TestCa) -> TestLeaf {
    ca.issue(spec("typha-client", Purpose::ClientAuth)).unwrap()
}

/// The name of a certificate in a CA file: with a part of its key, as in `CN="ca" (key 1f0c88a2)`.
pub(crate) fn ca_name(pem: &str) -> String {
    TrustBundle::from_pem(pem.as_bytes()).unwrap().names().collect()
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let site = Self { dir, old: ca("old"), kept: ca("kept"), new: ca("new") };
        std::fs::create_dir(site.path("peers")).unwrap();
        site.write("ca.pem", site.old.root_pem() + &site.kept.root_pem());
        site.write("new.pem", site.kept.root_pem() + &site.new.root_pem());
        site.own_chain(&site.kept);
        let path = |name| site.path(name);
        let text = format!(
            "CAFile={}\nServerCertFile={}\nServerKeyFile={}\nClientCN=typha-client\n",
            path("ca.pem"),
            path("own.pem"),
            path("own.key")
        );
        site.write("typha.cfg", text);
        site
    }

    /// Gives the Typha a chain of this CA.
    pub(crate) fn own_chain(&self, ca: &TestCa) {
        let own = ca.issue(spec("typha-server", Purpose::ServerAuth)).unwrap();
        self.write("own.pem", own.chain_pem());
        let key = self.write("own.key", own.key_pem());
        close_to_others(&key);
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        std::fs::write(self.dir.path().join(name), contents).unwrap();
        self.path(name)
    }

    pub(crate) fn peer(&self, name: &str, contents: impl AsRef<[u8]>) {
        self.write(&format!("peers/{name}"), contents);
    }

    /// The line of a refused peer with what tells its leaf from others.
    pub(crate) fn with_leaf(&self, mut line: Value) -> Value {
        let file = self.path(&format!("peers/{}", line["file"].as_str().unwrap()));
        let leaf = CertificateDer::from_pem_file(file).unwrap();
        let leaf = RejectedPeer::new(Rejection::NoCertificate, Some(&leaf));
        (line["serial"], line["authority_key_id"]) = (leaf.serial().into(), leaf.authority_key_id().into());
        line
    }

    /// The exit code, and what follows the lines on the configuration as it is.
    pub(crate) fn check(&self, more: &[&str]) -> (Option<i32>, Vec<Value>) {
        let config = self.path("typha.cfg");
        let (code, mut lines) = check(&[&["typha", "--config", &config], more].concat());
        let own = lines.iter().position(|line| name(line) == "own_chain").unwrap();
        (code, lines.split_off(own + 1))
    }

    /// As [`check`](Self::check), with the directory of the peers.
    pub(crate) fn check_peers(&self, more: &[&str]) -> (Option<i32>, Vec<Value>) {
        let peers = self.path("peers");
        self.check(&[&["--peers", &peers], more].concat())
    }
}

/// All lines of a check. What blocks on a file fails.
pub(crate) fn check(arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
    command.args(["check", "--format", "json"]).args(arguments).env_clear().stdin(Stdio::null());
    let (done, output) = mpsc::channel();
    std::thread::spawn(move || done.send(command.output().unwrap()));
    let output = output.recv_timeout(Duration::from_secs(120)).unwrap();
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Each finding has a remedy.
    for line in &lines {
        assert!(line["level"] == "info" || line["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{line}");
    }
    (output.status.code(), lines)
}

/// The name of the fact or the finding.
pub(crate) fn name(line: &Value) -> &str {
    line["finding"].as_str().or(line["fact"].as_str()).unwrap()
}

/// The levels and names of lines.
pub(crate) fn names(lines: &[Value]) -> Vec<(&str, &str)> {
    lines.iter().map(|line| (line["level"].as_str().unwrap(), name(line))).collect()
}

/// The only line of this name.
pub(crate) fn only<'a>(lines: &'a [Value], wanted: &str) -> &'a Value {
    let found: Vec<_> = lines.iter().filter(|line| name(line) == wanted).collect();
    assert_eq!(found.len(), 1, "{wanted} in {lines:?}");
    found[0]
}

pub(crate) fn detail<'a>(lines: &'a [Value], wanted: &str) -> &'a str {
    only(lines, wanted)["detail"].as_str().unwrap()
}

#[cfg(unix)]
pub(crate) fn close_to_others(path: impl AsRef<Path>) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
pub(crate) fn close_to_others(_: impl AsRef<Path>) {}

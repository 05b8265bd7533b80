//! The files of a server that has no parameters for TLS.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use typha_tls::testing::{CertificateSpec, Purpose, TestLeaf};

use super::site::{check, close_to_others, name};

/// A directory with `chain.pem` and `key.pem`.
pub(crate) struct Server(TempDir);

/// A leaf of a server that no check has anything to say about, valid for this host.
pub(crate) fn leaf(host: &str) -> CertificateSpec {
    super::site::spec("server", Purpose::ServerAuth).dns_san(host)
}

impl Server {
    pub(crate) fn new(leaf: &TestLeaf) -> Self {
        Self::of_pem(&leaf.chain_pem(), &leaf.key_pem())
    }

    pub(crate) fn of_pem(chain: &str, key: &str) -> Self {
        let server = Self(TempDir::new().unwrap());
        server.write("chain.pem", chain);
        close_to_others(server.write("key.pem", key));
        server
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, contents: &str) -> String {
        std::fs::write(self.0.path().join(name), contents).unwrap();
        self.path(name)
    }

    fn arguments(&self, command: &[&str]) -> Vec<String> {
        let (chain, key) = (self.path("chain.pem"), self.path("key.pem"));
        [command, &["--chain", &chain, "--key", &key]].concat().into_iter().map(str::to_owned).collect()
    }

    /// The exit code and the lines of a check of these files.
    pub(crate) fn check(&self, command: &[&str]) -> (Option<i32>, Vec<Value>) {
        let arguments = self.arguments(command);
        let (code, lines) = check(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        (code, lines.into_iter().map(|line| self.stable(line)).collect())
    }

    /// The exit code and the text of the same check.
    pub(crate) fn text(&self, command: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_typha-tls"))
            .arg("check")
            .args(self.arguments(command))
            .env_clear()
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text.replace(&self.path(""), "DIR/").replace("in 60 days", "in 59 days"))
    }

    /// The line without what differs from run to run.
    fn stable(&self, line: Value) -> Value {
        let text = line.to_string().replace(&self.path(""), "DIR/").replace("in 60 days", "in 59 days");
        serde_json::from_str(&text).unwrap()
    }
}

/// `level label` of each finding, in the order in which they are printed.
pub(crate) fn findings(lines: &[Value]) -> Vec<String> {
    let findings = lines.iter().filter(|line| line["level"] != "info");
    findings.map(|line| format!("{} {}", line["level"].as_str().unwrap(), name(line))).collect()
}

/// The contents of a file beside this one.
pub(crate) fn fixture(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command/check/files");
    std::fs::read_to_string(dir.join(name)).unwrap()
}

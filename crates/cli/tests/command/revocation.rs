//! The command's `--crl-file`, `--crl-strict` and `--crl-leaf-only`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::SystemTime;

use serde_json::{Value, json};
use tempfile::TempDir;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf, TestPki};

use crate::lists::{HOUR, List, certificate_pem, list_pem};
use crate::names::ca;

const CA: &str = "calico-typha-ca";

fn peer(ca: &TestCa) -> TestLeaf {
    ca.issue(CertificateSpec::leaf("peer")).unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs a command that is to end by itself; one that prints a line, as a Typha does when it is ready, is stopped.
fn run_to_refusal(arguments: &[&str]) -> Output {
    let mut process = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        process.kill().unwrap();
    }
    process.wait_with_output().unwrap()
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// Files of both ends, and their configurations.
struct Site {
    dir: TempDir,
    pki: TestPki,
}

impl Site {
    fn new() -> Self {
        let mut pki = TestPki::new().unwrap();
        // Longer than `check` wants certificates to last.
        let now = SystemTime::now();
        let leaf = |name, purpose| {
            let spec = CertificateSpec::leaf(name).purpose(purpose);
            pki.ca.issue(spec.valid(now - HOUR, now + 60 * 24 * HOUR)).unwrap()
        };
        let felix = leaf("typha-client", Purpose::ClientAuth);
        let typha = leaf("typha-server", Purpose::ServerAuth);
        (pki.felix, pki.typha) = (felix, typha);
        let site = Self { dir: TempDir::new().unwrap(), pki };
        site.write("ca.pem", site.pki.ca.root_pem());
        for (name, leaf) in [("felix", &site.pki.felix), ("typha", &site.pki.typha)] {
            site.write(&format!("{name}.pem"), leaf.chain_pem());
            let key = site.write(&format!("{name}.key"), leaf.key_pem());
            close_to_others(&key);
        }
        let path = |name: &str| site.path(name);
        let (ca, felix, felix_key) = (path("ca.pem"), path("felix.pem"), path("felix.key"));
        let (typha, typha_key) = (path("typha.pem"), path("typha.key"));
        site.write(
            "felix.cfg",
            format!(
                "TyphaCAFile={ca}\nTyphaCertFile={felix}\nTyphaKeyFile={felix_key}\nTyphaCN=typha-server\n"
            ),
        );
        site.write(
            "typha.cfg",
            format!(
                "CAFile={ca}\nServerCertFile={typha}\nServerKeyFile={typha_key}\nClientCN=typha-client\n"
            ),
        );
        site
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        std::fs::write(self.dir.path().join(name), contents).unwrap();
        self.path(name)
    }

    /// A list of the CA, DER; its path.
    fn list(&self, name: &str, list: &List) -> String {
        self.write(name, list.signed_by(&self.pki.ca, CA))
    }

    fn verify(&self, more: &[&str]) -> (Option<i32>, Vec<Value>) {
        let (ca, chain) = (self.path("ca.pem"), self.path("felix.pem"));
        let arguments = [
            "verify",
            "--peer",
            "felix",
            "--ca-file",
            &ca,
            "--chain",
            &chain,
            "--cn",
            "typha-client",
            "--json",
        ];
        let output = run(&[&arguments, more].concat());
        (output.status.code(), lines(&output.stdout))
    }
}

#[cfg(unix)]
fn close_to_others(path: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn close_to_others(_: &str) {}

#[test]
fn strict_without_a_list_is_bad_usage() {
    let site = Site::new();
    let (felix, typha) = (site.path("felix.cfg"), site.path("typha.cfg"));
    for command in [
        &["check", "felix", "--config", &felix][..],
        &["check", "typha", "--config", &typha],
        &["verify", "--peer", "felix", "--ca-file", &felix, "--chain", &felix, "--cn", "x"],
        &["felix", "--connect", "127.0.0.1:1", "--config", &felix],
        &["typha", "--listen", "127.0.0.1:0", "--config", &typha],
    ] {
        for flag in ["--crl-strict", "--crl-leaf-only"] {
            let output = run_to_refusal(&[command, &[flag]].concat());
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{command:?} {flag}");
            assert!(text.contains("--crl-file <FILE>"), "{text}");
        }
    }
}

#[test]
fn verify_with_lists() {
    let site = Site::new();
    let empty = site.list("empty.crl", &List::new());
    let revoking = site.list("revoking.crl", &List::new().revoking(&site.pki.felix.chain()[0]));
    let expired = site.list("expired.crl", &List::expired());
    let foreign = site.write("foreign.crl", List::new().signed_by(&ca("other"), "other"));
    for (flags, code, reason) in [
        (&["--crl-file", &empty][..], 0, Value::Null),
        (&["--crl-file", &empty, "--crl-strict"], 0, Value::Null),
        (&["--crl-file", &revoking], 1, json!("revoked")),
        (&["--crl-file", &revoking, "--crl-leaf-only"], 1, json!("revoked")),
        (&["--crl-file", &expired], 0, Value::Null),
        (&["--crl-file", &expired, "--crl-strict"], 1, json!("revocation_list_unusable")),
        (&["--crl-file", &expired, "--crl-strict", "--crl-leaf-only"], 1, json!("revocation_list_unusable")),
    ] {
        let (exit, lines) = site.verify(flags);
        assert_eq!((exit, lines.len(), &lines[0]["reason"]), (Some(code), 1, &reason), "{flags:?}");
    }
    for flags in [&["--crl-file", &foreign][..], &["--crl-file", &empty, "--crl-file", &revoking]] {
        assert_eq!(site.verify(flags), (Some(2), vec![]), "{flags:?}");
    }
}

#[test]
fn verify_looks_the_leaf_up_alone_if_told_to() {
    let site = Site::new();
    let issuer = site.pki.ca.intermediate(CertificateSpec::ca("issuer")).unwrap();
    let leaf = issuer.issue(CertificateSpec::leaf("typha-client")).unwrap();
    site.write("felix.pem", leaf.chain_pem());
    let list = site.list("issuer.crl", &List::new().revoking(&leaf.chain()[1]));
    let (code, lines) = site.verify(&["--crl-file", &list]);
    assert_eq!((code, &lines[0]["reason"]), (Some(1), &json!("revoked")));
    let (code, lines) = site.verify(&["--crl-file", &list, "--crl-leaf-only"]);
    assert_eq!((code, &lines[0]["verdict"]), (Some(0), &json!("accepted")));
    let (code, lines) = site.verify(&["--crl-file", &list, "--crl-leaf-only", "--crl-strict"]);
    assert_eq!((code, &lines[0]["reason"]), (Some(1), &json!("revocation_status_unknown")));
}

/// Levels and findings, with facts about lists, and the exit code.
fn check(arguments: &[&str]) -> (Option<i32>, Vec<(String, String)>) {
    let output = run(&[&["check", "--format", "json"], arguments].concat());
    let of_interest = |line: &Value| {
        let name = line["finding"].as_str().or(line["fact"].as_str()).unwrap().to_owned();
        (line["level"].as_str().unwrap().to_owned(), name)
    };
    let mut findings: Vec<_> = lines(&output.stdout).iter().map(of_interest).collect();
    findings.retain(|(level, name)| level != "info" || name == "revocation_list");
    (output.status.code(), findings)
}

#[test]
fn check_with_lists() {
    let site = Site::new();
    let (felix, typha) = (site.path("felix.cfg"), site.path("typha.cfg"));
    let found = |findings: &[(&str, &str)]| -> Vec<_> {
        findings.iter().map(|(level, name)| ((*level).to_owned(), (*name).to_owned())).collect()
    };
    let base = ["felix", "--config", &felix, "--against", &typha];
    let check = |more: &[&str]| check(&[&base, more].concat());
    let empty = site.list("empty.crl", &List::new());
    let list = ("info", "revocation_list");
    assert_eq!(check(&["--crl-file", &empty, "--crl-strict"]), (Some(0), found(&[list])));

    let revoking = site.list("revoking.crl", &List::new().revoking(&site.pki.felix.chain()[0]));
    let expected = found(&[list, ("error", "own_chain_refused")]);
    assert_eq!(check(&["--crl-file", &revoking]), (Some(1), expected));

    let expired = site.list("expired.crl", &List::expired());
    let expected = found(&[list, ("warning", "revocation_list_expired")]);
    for flags in [&["--crl-file", &expired][..], &["--crl-file", &expired, "--crl-strict"]] {
        assert_eq!(check(flags), (Some(1), expected.clone()));
    }
    let foreign = site.write("foreign.crl", List::new().signed_by(&ca("other"), "other"));
    assert_eq!(check(&["--crl-file", &foreign]), (Some(1), found(&[("error", "crl_file")])));
    // Two files, one with an intermediate that signed its list.
    let issuer = site.pki.ca.intermediate(CertificateSpec::ca("issuer")).unwrap();
    let certificate = certificate_pem(&peer(&issuer).chain()[1]);
    let below = site.write("below.crl", certificate + &list_pem(&List::new().signed_by(&issuer, "issuer")));
    assert_eq!(check(&["--crl-file", &empty, "--crl-file", &below]), (Some(0), found(&[list, list])));
}

/// A running `typha-tls typha`.
struct Typha {
    process: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Typha {
    fn start(site: &Site, more: &[&str]) -> Self {
        let config = site.path("typha.cfg");
        let arguments = [&["typha", "--listen", "127.0.0.1:0", "--config", &config], more].concat();
        let mut process = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let mut typha = Self { process, stdout, address: String::new() };
        typha.address = typha.next_line()["address"].as_str().unwrap().to_owned();
        typha
    }

    fn next_line(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }
}

impl Drop for Typha {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The exit code, and the outcome line.
fn felix(site: &Site, typha: &Typha, more: &[&str]) -> (Option<i32>, Value) {
    let config = site.path("felix.cfg");
    let output = run(&[&["felix", "--connect", &typha.address, "--config", &config], more].concat());
    // The log has no JSON.
    let stderr = String::from_utf8(output.stderr).unwrap();
    let outcome = stderr.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{stderr}"));
    (output.status.code(), serde_json::from_str(outcome).unwrap())
}

#[test]
fn both_ends_with_lists() {
    let site = Site::new();
    let felix_revoked = site.list("felix.crl", &List::new().revoking(&site.pki.felix.chain()[0]));
    let typha_revoked = site.list("typha.crl", &List::new().revoking(&site.pki.typha.chain()[0]));
    let expired = site.list("expired.crl", &List::expired());

    let mut typha = Typha::start(&site, &["--crl-file", &felix_revoked]);
    let (code, line) = felix(&site, &typha, &[]);
    assert_eq!(
        (code, &line["reason"], &line["alert"]),
        (Some(3), &json!("refused_by_peer"), &json!("certificate_revoked"))
    );
    let line = typha.next_line();
    assert_eq!((&line["event"], &line["reason"]), (&json!("refused"), &json!("revoked")));

    let mut typha = Typha::start(&site, &["--crl-file", &expired]);
    let (code, line) = felix(&site, &typha, &["--crl-file", &felix_revoked, "--crl-strict"]);
    assert_eq!((code, &line["event"]), (Some(0), &json!("accepted")));
    assert_eq!(typha.next_line()["event"], "accepted");
    let (code, line) = felix(&site, &typha, &["--crl-file", &typha_revoked]);
    assert_eq!((code, &line["reason"]), (Some(4), &json!("revoked")));
    assert_eq!(typha.next_line()["reason"], "refused_by_peer");

    let mut typha = Typha::start(&site, &["--crl-file", &expired, "--crl-strict"]);
    let (code, line) = felix(&site, &typha, &[]);
    assert_eq!((code, &line["alert"]), (Some(3), &json!("certificate_unknown")));
    assert_eq!(typha.next_line()["reason"], "revocation_list_unusable");
}

#[test]
fn a_list_that_can_not_be_used_is_exit_code_2() {
    let site = Site::new();
    let foreign = site.write("foreign.crl", List::new().signed_by(&ca(CA), CA));
    let (felix, typha) = (site.path("felix.cfg"), site.path("typha.cfg"));
    for arguments in [
        &["typha", "--listen", "127.0.0.1:0", "--config", &typha][..],
        &["felix", "--connect", "127.0.0.1:1", "--config", &felix],
    ] {
        let output = run_to_refusal(&[arguments, &["--crl-file", &foreign]].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.contains("foreign.crl: revocation list 1 is unusable: it is signed with another key"),
            "{text}"
        );
    }
}

//! The command, while its files change: what it prints, and that SIGHUP makes it look and does not end it.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use typha_tls::testing::{CertificateSpec, TestCa};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
    // Nothing of the machine's own configuration gets in.
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// A directory with what `typha-tls pki` makes.
struct Pki(TempDir);

impl Pki {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let status = command(&["pki", dir.path().to_str().unwrap()]).stdout(Stdio::null()).status();
        assert!(status.unwrap().success());
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Adds another CA to those that are there.
    fn add_ca(&self, name: &str) {
        let more = TestCa::new(CertificateSpec::ca(name)).unwrap().root_pem();
        let bundle = std::fs::read_to_string(self.path("ca.pem")).unwrap() + &more;
        std::fs::write(self.path("new"), bundle).unwrap();
        std::fs::rename(self.path("new"), self.path("ca.pem")).unwrap();
    }
}

/// A process, ended with the test.
struct Running<R: Read> {
    process: Child,
    lines: BufReader<R>,
}

impl<R: Read> Running<R> {
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }

    /// Sends SIGHUP and returns what is printed then.
    fn hang_up(&mut self) -> Value {
        kill_process(Pid::from_child(&self.process), Signal::HUP).unwrap();
        self.line()
    }
}

impl<R: Read> Drop for Running<R> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn typha(pki: &Pki, interval: &str) -> (Running<ChildStdout>, String) {
    let config = pki.path("typha.cfg");
    let arguments = [
        "typha",
        "--listen",
        "127.0.0.1:0",
        "--reload-interval",
        interval,
        "--config",
        config.to_str().unwrap(),
    ];
    let mut process = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap());
    let mut running = Running { process, lines };
    let address = running.line()["address"].as_str().unwrap().to_owned();
    (running, address)
}

fn reloaded(generation: u64, changed: bool) -> Value {
    json!({ "event": "reloaded", "generation": generation, "changed": changed })
}

fn failed(generation: u64, detail: &str) -> Value {
    json!({ "event": "reload_failed", "generation": generation, "reason": "source", "detail": detail })
}

#[test]
fn typha_looks_when_told_to() {
    let pki = Pki::new();
    let (mut typha, _) = typha(&pki, "0");
    assert_eq!(typha.hang_up(), reloaded(1, false));
    pki.add_ca("second");
    assert_eq!(typha.hang_up(), reloaded(2, true));
    assert_eq!(typha.hang_up(), reloaded(2, false));
    let good = std::fs::read(pki.path("ca.pem")).unwrap();
    std::fs::write(pki.path("ca.pem"), "").unwrap();
    let text = format!(
        "{}: there is no certificate (a PEM block CERTIFICATE) in it: it is empty; put the certificates of the CAs \
         here, in PEM",
        pki.path("ca.pem").display()
    );
    // Each time it is asked.
    assert_eq!([typha.hang_up(), typha.hang_up()], [failed(2, &text), failed(2, &text)]);
    std::fs::write(pki.path("ca.pem"), good).unwrap();
    assert_eq!(typha.hang_up(), reloaded(2, false));
    kill_process(Pid::from_child(&typha.process), Signal::TERM).unwrap();
    assert_eq!(typha.line(), json!({ "event": "shut_down", "dropped": 0, "left": 0 }));
    assert_eq!(typha.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_setting_without_effect_is_logged_once() {
    let pki = Pki::new();
    let config = pki.path("typha.cfg");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "TLS_MIN_VERSION = 1.3\n").unwrap();
    let base = ["typha", "--listen", "127.0.0.1:0", "--reload-interval", "0", "--config"];
    let mut typha = command(&[&base[..], &[config.to_str().unwrap()]].concat());
    let mut process = typha.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap());
    let mut typha = Running { process, lines };
    assert_eq!(typha.line()["event"], "listening");
    pki.add_ca("second");
    assert_eq!([typha.hang_up(), typha.hang_up()], [reloaded(2, true), reloaded(2, false)]);
    kill_process(Pid::from_child(&typha.process), Signal::TERM).unwrap();
    let mut log = String::new();
    typha.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let warning = format!("\"TLS_MIN_VERSION\" (from file {}) has no effect: ", config.display());
    assert_eq!((log.matches(&warning).count(), log.lines().count()), (1, 1), "{log}");
}

#[test]
fn typha_looks_by_itself() {
    let pki = Pki::new();
    let (mut typha, _) = typha(&pki, "0.2");
    for generation in 2..4 {
        pki.add_ca("more");
        assert_eq!(typha.line(), reloaded(generation, true));
    }
    let good = std::fs::read(pki.path("ca.pem")).unwrap();
    std::fs::remove_file(pki.path("ca.pem")).unwrap();
    let line = typha.line();
    assert_eq!((&line["event"], &line["reason"]), (&json!("reload_failed"), &json!("source")), "{line}");
    // What is mended is told, too.
    std::fs::write(pki.path("ca.pem"), good).unwrap();
    assert_eq!(typha.line(), reloaded(3, false));
}

#[test]
fn felix_lives_on() {
    let pki = Pki::new();
    let (_typha, address) = typha(&pki, "30");
    let config = pki.path("felix.cfg");
    let arguments =
        ["felix", "--connect", &address, "--reload-interval", "0", "--config", config.to_str().unwrap()];
    let mut felix = command(&arguments);
    felix.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = felix.spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let lines: BufReader<ChildStderr> = BufReader::new(process.stderr.take().unwrap());
    let mut felix = Running { process, lines };
    let mut echo = |text: &str| {
        stdin.write_all(text.as_bytes()).unwrap();
        let mut echoed = String::new();
        stdout.read_line(&mut echoed).unwrap();
        assert_eq!(echoed, text);
    };
    echo("before\n");
    assert_eq!(felix.hang_up(), reloaded(1, false));
    pki.add_ca("second");
    assert_eq!(felix.hang_up(), reloaded(2, true));
    echo("after\n");
    drop(stdin);
    let last = felix.line();
    assert_eq!((&last["event"], &last["closed"]), (&json!("accepted"), &json!("cleanly")), "{last}");
    assert_eq!(felix.process.wait().unwrap().code(), Some(0));
}

/// Who is connected already, too: told on Typha's end at once, and ended.
#[test]
fn typha_tells_who_loses_trust() {
    let pki = Pki::new();
    let (mut typha, address) = typha(&pki, "0");
    let config = pki.path("felix.cfg");
    let mut felix = command(&["felix", "--connect", &address, "--config", config.to_str().unwrap()]);
    felix.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = felix.spawn().unwrap();
    let _stdin = process.stdin.take();
    let lines: BufReader<ChildStderr> = BufReader::new(process.stderr.take().unwrap());
    let mut felix = Running { process, lines };
    assert_eq!(typha.line()["event"], "accepted");

    let text = std::fs::read_to_string(pki.path("typha.cfg")).unwrap();
    let [name, uri] = ["ClientCN", "ClientURISAN"].map(|parameter| format!("{parameter} ="));
    let changed: String = text
        .lines()
        .filter(|line| !line.starts_with(&*name) && !line.starts_with(&*uri))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(pki.path("typha.cfg"), changed + "ClientCN = somebody-else\n").unwrap();
    let mut lines = [typha.hang_up(), typha.line()];
    lines.sort_by_key(|line| line["event"].to_string());
    let [lost, told] = lines;
    assert_eq!(told, reloaded(2, true));
    let [event, reason, closes] = ["event", "reason", "closes"].map(|key| lost[key].clone());
    assert_eq!(
        (event, reason, closes),
        (json!("lost_trust"), json!("identity_mismatch"), json!(true)),
        "{lost}"
    );
    assert_eq!((&lost["generation"], &lost["common_name"]), (&json!(2), &json!("typha-client")), "{lost}");
    // The only one, so that it is ended at once, in order.
    let last = felix.line();
    assert_eq!((&last["event"], &last["closed"]), (&json!("accepted"), &json!("cleanly")), "{last}");
    assert_eq!(felix.process.wait().unwrap().code(), Some(0));
}

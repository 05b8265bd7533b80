//! The same with the command: SIGHUP after each step.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use typha_tls::Role;
use typha_tls::testing::{TestCa, TestLeaf};

use crate::files::Files;
use crate::names::{By, ca, issue};

fn command(arguments: &[&str], files: &Files) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
    // Nothing of the machine's own configuration gets in, and no look comes unasked.
    command.args(arguments).args(["--reload-interval", "0", "--config"]).arg(files.path("daemon.cfg"));
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that prints JSON lines, ended with the test.
struct Running<R: Read> {
    process: Child,
    lines: BufReader<R>,
}

impl<R: Read> Running<R> {
    /// The next line of this event.
    fn line(&mut self, event: &str) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it ended before {event}");
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if line["event"] == event {
                return line;
            }
            assert_ne!(line["event"], "reload_failed", "{line}");
        }
    }

    /// Sends SIGHUP, and waits until it is done.
    fn hang_up(&mut self, generation: u64, changed: bool) {
        kill_process(Pid::from_child(&self.process), Signal::HUP).unwrap();
        let expected = json!({ "event": "reloaded", "generation": generation, "changed": changed });
        assert_eq!(self.line("reloaded"), expected);
    }
}

impl<R: Read> Drop for Running<R> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn typha(files: &Files, more: &[&str]) -> (Running<ChildStdout>, String) {
    let mut command = command(&[&["typha", "--listen", "127.0.0.1:0"], more].concat(), files);
    let mut process = command.stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap());
    let mut typha = Running { process, lines };
    let address = typha.line("listening")["address"].as_str().unwrap().to_owned();
    (typha, address)
}

/// One that stays connected.
struct Felix {
    running: Running<ChildStderr>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Felix {
    fn start(files: &Files, typha: &str, more: &[&str]) -> Self {
        let arguments = [&["felix", "--connect", typha], more].concat();
        let mut process = command(&arguments, files).spawn().unwrap();
        let (stdin, stdout) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let lines = BufReader::new(process.stderr.take().unwrap());
        let mut felix = Self { running: Running { process, lines }, stdin, stdout: BufReader::new(stdout) };
        felix.echo();
        felix
    }

    fn echo(&mut self) {
        self.stdin.write_all(b"still there?\n").unwrap();
        let mut echoed = String::new();
        self.stdout.read_line(&mut echoed).unwrap();
        assert_eq!(echoed, "still there?\n");
    }
}

/// One that comes and goes: its exit code and its line.
fn connect(files: &Files, typha: &str) -> (Option<i32>, Value) {
    let process = command(&["felix", "--connect", typha], files).stdin(Stdio::null()).spawn().unwrap();
    let output = process.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{text}"));
    (output.status.code(), serde_json::from_str(line).unwrap())
}

fn ends(ca: &TestCa) -> ([Files; 2], [TestLeaf; 2]) {
    let leaves = [Role::Typha, Role::Felix].map(|role| issue(ca, role, By::Name));
    ([Files::new(Role::Typha, ca, &leaves[0]), Files::new(Role::Felix, ca, &leaves[1])], leaves)
}

#[test]
fn to_another_ca_by_hand() {
    let (old, new) = (ca("old-ca"), ca("new-ca"));
    let ([of_typha, of_felix], [_, forgotten]) = ends(&old);
    let (mut typha, address) = typha(&of_typha, &[]);
    let mut felix = Felix::start(&of_felix, &address, &[]);
    typha.line("accepted");
    let works = |typha: &mut Running<_>, felix: &mut Felix| {
        felix.echo();
        let (code, line) = connect(&of_felix, &address);
        assert_eq!((code, &line["event"]), (Some(0), &json!("accepted")), "{line}");
        typha.line("accepted");
    };

    of_typha.cas(&[&old, &new]);
    typha.hang_up(2, true);
    works(&mut typha, &mut felix);
    of_felix.cas(&[&old, &new]);
    felix.running.hang_up(2, true);
    works(&mut typha, &mut felix);
    of_typha.leaf(&issue(&new, Role::Typha, By::Name));
    typha.hang_up(3, true);
    works(&mut typha, &mut felix);
    of_felix.leaf(&issue(&new, Role::Felix, By::Name));
    felix.running.hang_up(3, true);
    works(&mut typha, &mut felix);
    // It still has the connection that it made by its old leaf: that ends, in order, and the next one is by the new
    // leaf.
    of_typha.cas(&[&new]);
    typha.hang_up(4, true);
    let last = felix.running.line("accepted");
    assert_eq!(last["closed"], "cleanly", "{last}");
    assert_eq!(felix.running.process.wait().unwrap().code(), Some(0));
    felix = Felix::start(&of_felix, &address, &[]);
    typha.line("accepted");
    of_felix.cas(&[&new]);
    felix.running.hang_up(2, true);
    works(&mut typha, &mut felix);

    // Who comes with the old leaf is told on both ends.
    of_felix.leaf(&forgotten);
    let (code, line) = connect(&of_felix, &address);
    assert_eq!(
        (code, &line["reason"], &line["alert"]),
        (Some(3), &json!("refused_by_peer"), &json!("unknown_ca"))
    );
    let refused = typha.line("refused");
    assert_eq!(refused["reason"], "unknown_ca");
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("is issued by CN=\"old-ca\", which is not in the CA file")
    );
    felix.echo();
}

/// What is no parameter of Calico is followed, too.
#[test]
fn a_look_does_not_forget_who_is_revoked() {
    let ca = ca("calico-typha-ca");
    let ([of_typha, of_felix], [_, revoked]) = ends(&ca);
    let next_update = SystemTime::now() + Duration::from_secs(3600);
    std::fs::write(of_typha.path("revoked.crl"), ca.revocation_list(&[&revoked], next_update).unwrap())
        .unwrap();
    let list = of_typha.path("revoked.crl").display().to_string();
    let (mut typha, address) = typha(&of_typha, &["--crl-file", &list]);
    let is_refused = |typha: &mut Running<_>| {
        let (code, line) = connect(&of_felix, &address);
        assert_eq!((code, &line["alert"]), (Some(3), &json!("certificate_revoked")), "{line}");
        assert_eq!(typha.line("refused")["reason"], "revoked");
    };
    is_refused(&mut typha);
    typha.hang_up(1, false);
    is_refused(&mut typha);
    // Nor does one that finds something else; and a new list counts from then on.
    of_typha.cas(&[&ca, &crate::names::ca("another-ca")]);
    typha.hang_up(2, true);
    is_refused(&mut typha);
    std::fs::write(of_typha.path("revoked.crl"), ca.revocation_list(&[], next_update).unwrap()).unwrap();
    typha.hang_up(3, true);
    let (code, line) = connect(&of_felix, &address);
    assert_eq!((code, &line["event"]), (Some(0), &json!("accepted")), "{line}");
}

/// Felix asks its lists about Typha as well.
#[test]
fn nor_does_felix() {
    let ca = ca("calico-typha-ca");
    let ([of_typha, of_felix], _) = ends(&ca);
    let next_update = SystemTime::now() + Duration::from_secs(3600);
    std::fs::write(of_felix.path("none.crl"), ca.revocation_list(&[], next_update).unwrap()).unwrap();
    let list = of_felix.path("none.crl").display().to_string();
    let (_typha, address) = typha(&of_typha, &[]);
    let mut felix = Felix::start(&of_felix, &address, &["--crl-file", &list, "--crl-strict"]);
    felix.running.hang_up(1, false);
    felix.echo();
}

//! The command `typha-tls storm` as a process, and its line.

use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use typha_tls::testing::{FELIX_COMMON_NAME, TYPHA_COMMON_NAME, TestLeaf, TestPki};

/// A PKI, and a directory with its files and a configuration for each end.
pub(crate) struct Pki {
    pub(crate) pki: TestPki,
    dir: TempDir,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let this = Self { pki: TestPki::new().unwrap(), dir: TempDir::new().unwrap() };
        let ca = this.write("ca.pem", &this.pki.ca.root_pem());
        let (chain, key) = this.write_leaf("felix", &this.pki.felix);
        let files = format!("TyphaCAFile={ca}\nTyphaCertFile={chain}\nTyphaKeyFile={key}\n");
        this.write("felix.cfg", &format!("{files}TyphaCN={TYPHA_COMMON_NAME}\n"));
        let (chain, key) = this.write_leaf("typha", &this.pki.typha);
        let files = format!("CAFile={ca}\nServerCertFile={chain}\nServerKeyFile={key}\n");
        this.write("typha.cfg", &format!("{files}ClientCN={FELIX_COMMON_NAME}\n"));
        this
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, contents: &str) -> String {
        std::fs::write(self.path(name), contents).unwrap();
        self.path(name)
    }

    /// The files of its chain and of its key.
    pub(crate) fn write_leaf(&self, name: &str, leaf: &TestLeaf) -> (String, String) {
        let chain = self.write(&format!("{name}.pem"), &leaf.chain_pem());
        (chain, self.write(&format!("{name}-key.pem"), &leaf.key_pem()))
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
    // Nothing of the machine's own configuration gets in.
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// A signal to a process of ours, by the shell's own kill.
pub(crate) fn kill(signal: &str, process: &Child) {
    let kill = format!("kill -{signal} {}", process.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// The only line of the output.
pub(crate) fn line(stdout: &[u8]) -> Value {
    let text = std::str::from_utf8(stdout).unwrap();
    assert!(text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
    serde_json::from_str(text).unwrap()
}

/// One that has ended.
pub(crate) struct Storm {
    pub(crate) code: i32,
    pub(crate) ended: Value,
    pub(crate) stderr: String,
}

/// One that is under way.
pub(crate) struct Running(Option<Child>);

impl Storm {
    pub(crate) fn command(pki: &Pki, address: &str, arguments: &str) -> Command {
        let config = pki.path("felix.cfg");
        let mut storm = command(&["storm", "--connect", address, "--config", &config]);
        storm.args(arguments.split_whitespace());
        storm
    }

    /// The same command from a shell.
    pub(crate) fn in_shell(script: &str, storm: &Command) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(storm.get_program()).args(storm.get_args());
        shell.env_clear().stdin(Stdio::null());
        shell
    }

    pub(crate) fn run(pki: &Pki, address: &str, arguments: &str) -> Self {
        Self::of(&Self::command(pki, address, arguments).output().unwrap())
    }

    pub(crate) fn start(pki: &Pki, address: &str, arguments: &str) -> Running {
        let mut storm = Self::command(pki, address, arguments);
        Running(Some(storm.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    fn of(output: &Output) -> Self {
        let stderr = String::from_utf8(output.stderr.clone()).unwrap();
        let code = output.status.code().unwrap_or_else(|| panic!("{output:?}"));
        Self { code, ended: line(&output.stdout), stderr }
    }

    /// Checks the measured values of a storm in which some were accepted, and takes them out.
    pub(crate) fn assert_timings(&mut self) {
        let [elapsed, rate] = ["elapsed_seconds", "handshakes_per_second"].map(|name| self.number(&[name]));
        let [p50, p99, max] = ["p50", "p99", "max"].map(|name| self.number(&["latency_ms", name]));
        let accepted = self.number(&["good", "accepted"]);
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max && max <= elapsed * 1e3 + 1.0, "{}", self.ended);
        // The elapsed time is known to a millisecond.
        assert!((rate * elapsed / accepted - 1.0).abs() <= 0.001 / elapsed, "{}", self.ended);
        self.drop_timings();
    }

    pub(crate) fn drop_timings(&mut self) {
        for member in ["elapsed_seconds", "handshakes_per_second", "latency_ms"] {
            self.ended.as_object_mut().unwrap().remove(member).unwrap();
        }
    }

    fn number(&self, path: &[&str]) -> f64 {
        let value = path.iter().fold(&self.ended, |value, name| &value[name]);
        value.as_f64().unwrap_or_else(|| panic!("no {path:?} in {}", self.ended))
    }
}

impl Running {
    pub(crate) fn interrupt(self) -> Storm {
        self.end_by("INT")
    }

    pub(crate) fn end_by(mut self, signal: &str) -> Storm {
        let process = self.0.take().unwrap();
        kill(signal, &process);
        Storm::of(&process.wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The line but for what is measured, with these counts of good and of bad ones; all others are 0.
pub(crate) fn ended(typha: &str, good: Value, bad: Value) -> Value {
    let kind = |first: &str, second: Option<&str>, counts: Value| {
        let mut kind = json!({
            "asked": 0, first: 0, "unconfirmed": 0, "refused_by_peer": {}, "rejected": {}, "timed_out": {}, "closed": 0,
            "io": 0, "not_tls": 0, "tls": 0, "dial_failed": 0, "unfinished": 0, "not_started": 0, "first_failure": null,
        });
        if let Some(second) = second {
            kind[second] = json!(0);
        }
        let members = kind.as_object_mut().unwrap();
        for (name, value) in counts.as_object().unwrap() {
            *members.get_mut(name).unwrap() = value.clone();
        }
        kind
    };
    json!({
        "event": "storm", "typha": typha, "interrupted": false,
        "good": kind("accepted", Some("not_asked"), good), "bad": kind("wrongly_accepted", None, bad),
        "port_waits": 0,
        "stalled": { "opened": 0, "closed_by_peer": 0, "dial_failed": 0, "longest_seconds": null },
        "kept": { "at_end": 0, "closed_by_peer": 0 },
    })
}

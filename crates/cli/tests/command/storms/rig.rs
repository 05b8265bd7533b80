//! A Typha that is stormed, and what the system says of it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use typha_tls::testing::{CertificateSpec, FELIX_COMMON_NAME, Purpose, TYPHA_COMMON_NAME, TestLeaf, TestPki};

/// Files and configurations of both ends, and of a stranger with a certificate of the same CA.
pub(crate) struct Pki {
    pub(crate) pki: TestPki,
    dir: TempDir,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let this = Self { pki: TestPki::new().unwrap(), dir: TempDir::new().unwrap() };
        this.write("ca.pem", &this.pki.ca.root_pem());
        this.write_leaf("felix", &this.pki.felix);
        this.write_leaf("typha", &this.pki.typha);
        let stranger = CertificateSpec::leaf("stranger").purpose(Purpose::ClientAuth);
        this.write_leaf("stranger", &this.pki.ca.issue(stranger).unwrap());
        let files = |ca: &str, cert: &str, key: &str, leaf: &str| {
            let path = |name: &str| this.path(name);
            let (chain, private) = (path(&format!("{leaf}.pem")), path(&format!("{leaf}-key.pem")));
            format!("{ca}={}\n{cert}={chain}\n{key}={private}\n", path("ca.pem"))
        };
        let felix = files("TyphaCAFile", "TyphaCertFile", "TyphaKeyFile", "felix");
        let typha = files("CAFile", "ServerCertFile", "ServerKeyFile", "typha");
        this.write("felix.cfg", &format!("{felix}TyphaCN={TYPHA_COMMON_NAME}\n"));
        this.write("typha.cfg", &format!("{typha}ClientCN={FELIX_COMMON_NAME}\n"));
        this
    }

    pub(crate) fn path(&self, name: &str) -> String {
        path(&self.dir, name)
    }

    /// The flags that make the bad ones present a certificate of the right CA with the wrong name.
    pub(crate) fn strangers(&self) -> String {
        format!(
            "--bad-cert-file {} --bad-key-file {}",
            self.path("stranger.pem"),
            self.path("stranger-key.pem")
        )
    }

    fn write(&self, name: &str, contents: &str) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    fn write_leaf(&self, name: &str, leaf: &TestLeaf) {
        self.write(&format!("{name}.pem"), &leaf.chain_pem());
        self.write(&format!("{name}-key.pem"), &leaf.key_pem());
    }
}

fn path(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_str().unwrap().to_owned()
}

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
    command.args(arguments.split_whitespace()).env_clear().stdin(Stdio::null());
    command
}

/// A running `typha-tls typha`, on its own cores if there are enough, which prints its counts ten times a second.
pub(crate) struct Typha {
    process: Child,
    lines: Receiver<Value>,
    pub(crate) address: String,
}

/// What Typha needs at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) resident: u64,
    pub(crate) descriptors: usize,
    pub(crate) tasks: u64,
}

impl Typha {
    pub(crate) fn start(pki: &Pki, more: &str) -> Self {
        Self::run(command(&Self::arguments(pki, more)))
    }

    /// On one core only.
    pub(crate) fn on_core(pki: &Pki, core: usize, more: &str) -> Self {
        let mut pinned = Command::new("taskset");
        let typha = command(&Self::arguments(pki, more));
        pinned.args(["-c", &core.to_string()]).arg(typha.get_program()).args(typha.get_args());
        Self::run(pinned)
    }

    fn arguments(pki: &Pki, more: &str) -> String {
        let config = pki.path("typha.cfg");
        format!("typha --listen 127.0.0.1:0 --config {config} --stats-interval 0.1 {more}")
    }

    fn run(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        let listening: Value = serde_json::from_str(&first).unwrap();
        let address = listening["address"].as_str().unwrap().to_owned();
        Self { process, lines: stats_of(stdout), address }
    }

    /// The newest counts.
    pub(crate) fn stats(&self) -> Value {
        // What was printed so far may be old.
        while self.lines.try_recv().is_ok() {}
        self.lines.recv_timeout(Duration::from_secs(30)).unwrap()
    }

    /// The first counts that are so.
    pub(crate) fn until(&self, reached: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..600 {
            let stats = self.stats();
            if reached(&stats) {
                return stats;
            }
        }
        panic!("it takes too long: {}", self.stats());
    }

    pub(crate) fn usage(&self) -> Usage {
        let proc = format!("/proc/{}", self.process.id());
        let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u64 = resident.split_whitespace().next().unwrap().parse().unwrap();
        Usage {
            resident: kilobytes * 1024,
            descriptors: std::fs::read_dir(format!("{proc}/fd")).unwrap().count(),
            tasks: self.stats()["tasks"].as_u64().unwrap(),
        }
    }

    /// All that is under way has ended.
    pub(crate) fn rested(&self) -> Usage {
        self.until(|stats| {
            ["active", "queued", "in_handshake"].iter().all(|gauge| stats[gauge] == 0)
                && stats["tasks"].as_u64().unwrap() <= RESTING_TASKS
        });
        self.usage()
    }
}

/// Accepting, rebalancing, looking after those in line, judging peers again, and following the files.
pub(crate) const RESTING_TASKS: u64 = 5;

impl Drop for Typha {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The counts out of all lines, read by a thread so that Typha never waits for us.
fn stats_of(stdout: BufReader<ChildStdout>) -> Receiver<Value> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let lines = stdout.lines().map_while(Result::ok);
        for line in lines.filter(|line| line.starts_with("{\"event\":\"stats\"")) {
            if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                // Read on all the same.
            }
        }
    });
    receiver
}

/// Runs a storm, and returns its exit code and its line.
pub(crate) fn storm(pki: &Pki, typha: &Typha, arguments: &str) -> (Option<i32>, Value) {
    start_storm(pki, typha, arguments).end()
}

/// A storm under way.
pub(crate) struct Storm(Child);

pub(crate) fn start_storm(pki: &Pki, typha: &Typha, arguments: &str) -> Storm {
    let config = pki.path("felix.cfg");
    let storm = format!("storm --connect {} --config {config} {arguments}", typha.address);
    Storm(command(&storm).stdout(Stdio::piped()).spawn().unwrap())
}

impl Storm {
    pub(crate) fn is_over(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    pub(crate) fn end(mut self) -> (Option<i32>, Value) {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (self.0.wait().unwrap().code(), serde_json::from_str(&line).unwrap())
    }
}

/// How many cores there are.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().unwrap().get()
}

//! A listener in a process of its own: this test's program, run again.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _, stdin};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Builder;
use typha_tls::config::{Sources, TyphaConfig};
use typha_tls::listener::ListenerStats;
use typha_tls::testing::{FELIX_COMMON_NAME, TestPki};

use super::site::{serve, total};

/// Set for the process that is the listener; what it is set to is a directory with its files.
const FILES: &str = "LISTENER_FAULTS_FILES";
/// How many descriptors it may open beyond those that it has.
const DESCRIPTORS: &str = "LISTENER_FAULTS_DESCRIPTORS";

/// Killed when dropped.
pub(crate) struct OtherProcess {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStderr>,
    address: SocketAddr,
    _files: TempDir,
}

/// The state that the process reports.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) accepted: u64,
    pub(crate) accept_errors: u64,
    pub(crate) active: u64,
    /// Connections that have come to any end.
    pub(crate) total: u64,
    pub(crate) waiting: u64,
    pub(crate) processor_time: Duration,
}

impl OtherProcess {
    pub(crate) fn start(pki: &TestPki, descriptors: Option<u64>) -> Self {
        let files = TempDir::new().unwrap();
        for (name, pem) in [
            ("ca.pem", pki.ca.root_pem()),
            ("typha.pem", pki.typha.chain_pem()),
            ("key.pem", pki.typha.key_pem()),
        ] {
            fs::write(files.path().join(name), pem).unwrap();
        }
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["listener_faults::other_process::is_a_listener", "--exact", "--nocapture"])
            .env(FILES, files.path());
        if let Some(descriptors) = descriptors {
            command.env(DESCRIPTORS, descriptors.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut this = Self {
            questions: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stderr.take().unwrap()),
            process,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            _files: files,
        };
        this.address = this.ask()["address"].as_str().unwrap().parse().unwrap();
        this
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn report(&mut self) -> Report {
        let answer = self.ask();
        let number = |name: &str| answer[name].as_u64().unwrap();
        Report {
            accepted: number("accepted"),
            accept_errors: number("accept_errors"),
            active: number("active"),
            total: number("total"),
            waiting: number("waiting"),
            processor_time: Duration::from_nanos(number("processor_nanos")),
        }
    }

    fn ask(&mut self) -> Value {
        writeln!(self.questions, "how are you?").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the process said {line:?}"))
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn answer(stats: &ListenerStats, address: SocketAddr) -> Value {
    let processor_time = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
    json!({
        "address": address.to_string(),
        "accepted": stats.accepted,
        "accept_errors": stats.accept_errors,
        "active": stats.active,
        "total": total(stats),
        "waiting": stats.queued + stats.in_handshake,
        "processor_nanos": u64::try_from(processor_time.as_nanos()).unwrap(),
    })
}

/// Not a test, but the program of the other process: it answers each line of its input with a line.
#[test]
fn is_a_listener() {
    let Some(files) = env::var_os(FILES) else { return };
    let file = |name: &str| format!("{}/{name}", files.to_str().unwrap());
    let sources = Sources::none()
        .with_value("CAFile", &file("ca.pem"))
        .with_value("ServerCertFile", &file("typha.pem"))
        .with_value("ServerKeyFile", &file("key.pem"))
        .with_value("ClientCN", FELIX_COMMON_NAME);
    // What follows files has descriptors of its own, which come and go.
    let builder = TyphaConfig::load(&sources).unwrap().listener().unwrap().without_reload();
    // One thread, so that the processes that load it have the other processors.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(builder.bind("127.0.0.1:0")).unwrap();
    let handle = listener.handle();
    let _within = runtime.enter();
    serve(listener);
    match env::var(DESCRIPTORS) {
        Ok(more) => {
            // The directory itself is one of those that it lists.
            let open = fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1;
            let limit = Some(open + more.parse::<u64>().unwrap());
            setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
        }
        Err(_) => super::site::raise_descriptor_limit(),
    }
    for _ in stdin().lines() {
        eprintln!("{}", answer(&handle.stats(), handle.local_addr()));
    }
}

//! Worker processes: their start, the requests and answers, their end; and why a run ends early.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::machine::{Core, on_cores};
use crate::protocol::{Ready, Request, Setup, Usage};

/// What a worker may take beyond the time that the request itself asks for.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a worker may take to end, when it has closed its stdout.
const ENDING: Duration = Duration::from_secs(1);
/// How much of a worker's stderr is kept.
const STDERR_LENGTH: usize = 4096;
/// How often everything that waits checks whether the run is interrupted.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Why the run ended without its report.
#[derive(Debug, Error)]
pub(crate) enum BenchError {
    /// A handshake or a connection of a measurement did not succeed.
    #[error("{worker}: {failed} failed in connections with {other}; the first: {first}")]
    Failed { worker: String, other: String, failed: u64, first: String },
    #[error("interrupted")]
    Interrupted,
    #[error("{doing}")]
    Machine {
        doing: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What the command line asks for is impossible here.
    #[error("{0}")]
    Unusable(String),
    #[error("the worker {worker} {what}{}", with_stderr(.stderr))]
    Worker { worker: String, what: String, stderr: String },
}

fn with_stderr(stderr: &str) -> String {
    match stderr.trim() {
        "" => ", and wrote nothing to stderr".to_owned(),
        text => format!("; its stderr: {text}"),
    }
}

impl BenchError {
    /// For `map_err`.
    pub(crate) fn machine<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        doing: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |cause| Self::Machine { doing, cause: cause.into() }
    }
}

/// Whether the run is interrupted; everything that waits checks it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn now(&self) {
        self.0.store(true, Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), BenchError> {
        if self.0.load(Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
    }

    /// Sleeps, unless the run is interrupted.
    pub(crate) fn pause(&self, length: Duration) -> Result<(), BenchError> {
        let until = Instant::now() + length;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(CHECK_INTERVAL));
        }
    }
}

/// A worker process; killed when dropped.
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) ready: Ready,
    child: Child,
    /// Closed when the worker is to end.
    stdin: Option<ChildStdin>,
    lines: Receiver<io::Result<String>>,
    stderr: Stderr,
    stop: Stop,
}

impl Worker {
    /// Starts it on these cores, and waits until it is ready. `name` is for people.
    pub(crate) fn start(
        name: String,
        mut command: Command,
        setup: &Setup,
        cores: &[Core],
        stop: &Stop,
    ) -> Result<Self, BenchError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // So that Ctrl-C reaches only the benchmark, which then ends its workers.
        command.process_group(0);
        without_tuning(&mut command);
        let cannot = format!("the worker {name} cannot be started");
        let mut child = on_cores(cores, || command.spawn())
            .and_then(|child| child)
            .map_err(BenchError::machine(&cannot))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(BenchError::machine(cannot)("it has no pipes"));
        };
        let mut worker = Self {
            name,
            ready: Ready { address: None, versions: String::new() },
            child,
            stdin: Some(stdin),
            lines: read_lines(stdout),
            stderr: Stderr::read(stderr),
            stop: stop.clone(),
        };
        worker.send(setup)?;
        worker.ready = worker.receive(Duration::ZERO)?;
        Ok(worker)
    }

    /// Sends a request that takes so long by itself, and waits for the answer.
    pub(crate) fn ask<A: DeserializeOwned>(
        &mut self,
        request: &Request,
        takes: Duration,
    ) -> Result<A, BenchError> {
        self.send(request)?;
        self.receive(takes)
    }

    pub(crate) fn usage(&mut self) -> Result<Usage, BenchError> {
        self.ask(&Request::Usage { memory: false }, Duration::ZERO)
    }

    /// Bytes of memory, after a garbage collection where there is one.
    pub(crate) fn resident(&mut self) -> Result<f64, BenchError> {
        let usage: Usage = self.ask(&Request::Usage { memory: true }, Duration::ZERO)?;
        Ok(usage.resident_bytes as f64)
    }

    /// Where it listens.
    pub(crate) fn address(&mut self) -> Result<String, BenchError> {
        match &self.ready.address {
            Some(address) => Ok(address.clone()),
            None => Err(self.failure("does not name the address that it listens on")),
        }
    }

    /// An error if any connection with the other worker failed: figures without it would be wrong.
    pub(crate) fn all_succeeded(
        &self,
        other: &str,
        failed: u64,
        first: Option<&str>,
    ) -> Result<(), BenchError> {
        if failed == 0 { Ok(()) } else { Err(self.failed(other, failed, first.unwrap_or("unknown"))) }
    }

    pub(crate) fn failed(&self, other: &str, failed: u64, first: &str) -> BenchError {
        let (worker, other, first) = (self.name.clone(), other.to_owned(), first.to_owned());
        BenchError::Failed { worker, other, failed, first }
    }

    /// Sends a line; its answer is received later.
    pub(crate) fn send(&mut self, line: &impl Serialize) -> Result<(), BenchError> {
        let write = |stdin: &mut ChildStdin| {
            writeln!(stdin, "{}", serde_json::to_string(line)?).and_then(|()| stdin.flush())
        };
        match self.stdin.as_mut().map(write) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.ended()),
        }
    }

    /// Waits for the answer to what was sent, which takes so long by itself.
    pub(crate) fn receive<A: DeserializeOwned>(&mut self, takes: Duration) -> Result<A, BenchError> {
        let answer = self.next_line(takes + PATIENCE)?;
        serde_json::from_str(&answer)
            .map_err(|error| self.failure(&format!("sent an unknown answer, `{answer}`: {error}")))
    }

    fn next_line(&mut self, limit: Duration) -> Result<String, BenchError> {
        let deadline = Instant::now() + limit;
        loop {
            self.stop.check()?;
            match self.lines.recv_timeout(CHECK_INTERVAL) {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    return Err(self.failure(&format!("did not answer within {} s", limit.as_secs())));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Ends the worker, and returns the error with its stderr.
    fn failure(&mut self, what: &str) -> BenchError {
        self.end();
        let (worker, what) = (self.name.clone(), what.to_owned());
        BenchError::Worker { worker, what, stderr: self.stderr.text(ENDING) }
    }

    /// After the end of its stdout: finds out how the worker itself ended.
    fn ended(&mut self) -> BenchError {
        let deadline = Instant::now() + ENDING;
        let mut status = self.child.try_wait();
        while matches!(status, Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
            status = self.child.try_wait();
        }
        match status {
            Ok(Some(status)) => self.failure(&format!("ended ({status})")),
            _ => self.failure("closed its stdout"),
        }
    }

    fn end(&mut self) {
        // The worker ends when its stdin does.
        drop(self.stdin.take());
        end_group(&mut self.child);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Kills a process that leads a group, with the processes that it has started.
pub(crate) fn end_group(child: &mut Child) {
    let running = matches!(child.try_wait(), Ok(None));
    // After its end, the number may belong to another process.
    if let (true, Some(group)) = (running, i32::try_from(child.id()).ok().and_then(Pid::from_raw)) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Removes environment variables that change how an implementation runs.
pub(crate) fn without_tuning(command: &mut Command) {
    const TUNING: [&str; 10] = [
        "GOARCH",
        "GODEBUG",
        "GOEXPERIMENT",
        "GOFLAGS",
        "GOGC",
        "GOMAXPROCS",
        "GOMEMLIMIT",
        "GOOS",
        "RUST_LOG",
        "TOKIO_WORKER_THREADS",
    ];
    for name in TUNING {
        command.env_remove(name);
    }
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_string_lossy().starts_with("MALLOC_")) {
        command.env_remove(name);
    }
}

/// Reads the lines of stdout in a thread, because a pipe cannot be read with a time limit.
fn read_lines(stdout: ChildStdout) -> Receiver<io::Result<String>> {
    let (lines, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The beginning of what a worker wrote to stderr.
struct Stderr {
    kept: Arc<Mutex<String>>,
    /// Nothing is sent on it: it is closed at the end of stderr.
    open: Receiver<()>,
}

impl Stderr {
    /// Reads all of it in a thread, so that the worker never waits.
    fn read(mut stderr: ChildStderr) -> Self {
        let kept = Arc::new(Mutex::new(String::new()));
        let (until_closed, open) = channel();
        let into = kept.clone();
        thread::spawn(move || {
            let _until_closed = until_closed;
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() < STDERR_LENGTH {
                    kept.push_str(&String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()));
                }
            }
        });
        Self { kept, open }
    }

    /// The text, once the worker has ended.
    fn text(&self, limit: Duration) -> String {
        let _ = self.open.recv_timeout(limit);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::available_cores;
    use crate::protocol::{End, Files, Implementation, Required, Version};

    fn start(script: &str) -> Result<Worker, BenchError> {
        let setup = Setup {
            implementation: Implementation::Bare,
            end: End::Typha,
            threads: 1,
            files: Files { ca: String::new(), chain: String::new(), key: String::new() },
            required: Required { common_name: None, uri_san: None },
            max_version: Version::Tls13,
            groups: Vec::new(),
            resumption: false,
        };
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let cores = available_cores().unwrap();
        Worker::start("fake".to_owned(), command, &setup, &cores, &Stop::default())
    }

    const READY: &str = r#"read setup; echo '{"address":"127.0.0.1:1","versions":"fake 1"}';"#;

    #[test]
    fn a_worker_is_set_up_and_answers() {
        let usage = r#""resident_bytes":6,"accepted":7,"failed":0,"resumed":0,"bulk_bytes":0"#;
        let usage = format!(r#"{{"cpu":{{"user_nanos":5,"system_nanos":0}},{usage}}}"#);
        let mut worker = start(&format!("{READY} read request; echo '{usage}'; cat")).unwrap();
        assert_eq!(worker.address().unwrap(), "127.0.0.1:1");
        assert_eq!(worker.usage().unwrap().accepted, 7);
    }

    #[test]
    fn the_end_of_a_worker_comes_with_its_stderr() {
        let mut worker = start(&format!("{READY} read request; echo 'out of luck' >&2; exit 1")).unwrap();
        let error = worker.usage().unwrap_err().to_string();
        assert_eq!(error, "the worker fake ended (exit status: 1); its stderr: out of luck");
    }

    #[test]
    fn a_worker_that_is_killed_is_said_to_be() {
        let mut worker = start(&format!("{READY} read request; echo 'so long' >&2; kill -9 $$")).unwrap();
        let error = worker.usage().unwrap_err().to_string();
        assert_eq!(error, "the worker fake ended (signal: 9 (SIGKILL)); its stderr: so long");
        // There is no status to be had for what only looks like an end.
        let mut worker = start(&format!("{READY} read request; exec >&-; sleep 60")).unwrap();
        let error = worker.usage().unwrap_err().to_string();
        assert_eq!(error, "the worker fake closed its stdout, and wrote nothing to stderr");
    }

    #[test]
    fn tuning_does_not_reach_a_worker() {
        // Nothing of the kind is set in the tests themselves, so it is set here for the worker alone.
        let mut command = Command::new("sh");
        command.env("GOGC", "off").env("HARMLESS", "1").args(["-c", "echo $GOGC-$HARMLESS"]);
        without_tuning(&mut command);
        assert_eq!(command.output().unwrap().stdout, b"-1\n");
    }

    #[test]
    fn an_answer_that_is_not_understood_is_an_error() {
        let mut worker = start(&format!("{READY} read request; echo nonsense; cat")).unwrap();
        let error = worker.usage().unwrap_err().to_string();
        assert!(error.starts_with("the worker fake sent an unknown answer, `nonsense`"), "{error}");
    }

    #[test]
    fn waiting_ends_when_the_run_is_to_stop() {
        let mut worker = start(&format!("{READY} cat >/dev/null")).unwrap();
        worker.stop.now();
        assert!(matches!(worker.usage(), Err(BenchError::Interrupted)));
    }
}

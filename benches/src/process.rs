//! Workers: their start, what is said to them, and their end.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cores::{self, Core};
use super::error::LOOK;
pub(crate) use super::error::{BenchError, Stop};
use super::go_command::without_tuning;
use super::protocol::{Ready, Request, Setup, Usage};
use super::stderr::Stderr;

/// What a worker may take beyond the time that the request itself asks for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a worker may take to end, when it has closed its stdout.
const ENDING: Duration = Duration::from_secs(1);

/// A worker process; killed when dropped.
pub(crate) struct Worker {
    name: String,
    child: Child,
    /// Until it is to end.
    stdin: Option<ChildStdin>,
    lines: Receiver<io::Result<String>>,
    stderr: Stderr,
    stop: Stop,
    pub(crate) ready: Ready,
    threads: usize,
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
        // So that Ctrl-C reaches only the driver, which then ends all in order.
        command.process_group(0);
        without_tuning(&mut command);
        let cannot = format!("the worker {name} can not be started");
        let mut child = cores::on(cores, || command.spawn())
            .and_then(|child| child)
            .map_err(BenchError::machine(&cannot))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BenchError::machine(cannot)("it has no pipes"));
        };
        let stderr = Stderr::keep(&mut child);
        let ready = Ready { address: None, versions: String::new() };
        let (stop, threads) = (stop.clone(), setup.threads);
        let stdin = Some(stdin);
        let mut worker = Self { name, child, stdin, lines: read_lines(stdout), stderr, stop, ready, threads };
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
            None => Err(self.failure("does not say where it listens")),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Sends a line, of which the answer is to be received later.
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
            .map_err(|error| self.failure(&format!("answered `{answer}`, which is not understood: {error}")))
    }

    fn next_line(&mut self, limit: Duration) -> Result<String, BenchError> {
        let deadline = Instant::now() + limit;
        loop {
            self.stop.check()?;
            match self.lines.recv_timeout(LOOK) {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    return Err(self.failure(&format!("did not answer within {} s", limit.as_secs())));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Ends the worker, and says what it had to say.
    fn failure(&mut self, what: &str) -> BenchError {
        self.end();
        BenchError::Worker {
            worker: self.name.clone(),
            what: what.to_owned(),
            stderr: self.stderr.all(ENDING),
        }
    }

    /// After the end of its stdout: says how the worker itself ended.
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
        // Its end is the worker's, too.
        drop(self.stdin.take());
        end_group(&mut self.child);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Kills a process that leads a group, with what it has started.
pub(crate) fn end_group(child: &mut Child) {
    let running = matches!(child.try_wait(), Ok(None));
    // The number of a process that is gone may be somebody else's.
    if let (true, Some(group)) = (running, i32::try_from(child.id()).ok().and_then(Pid::from_raw)) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads the lines of stdout, as a pipe can not be read with a time limit.
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

#[cfg(test)]
mod tests {
    use super::super::protocol::{End, Files, Implementation, Required, Version};
    use super::*;

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
        let cores = cores::available().unwrap();
        Worker::start("fake".to_owned(), command, &setup, &cores, &Stop::default())
    }

    const READY: &str = r#"read setup; echo '{"address":"127.0.0.1:1","versions":"fake 1"}';"#;

    #[test]
    fn a_worker_is_set_up_and_answers() {
        let usage = r#"{"cpu_nanos":5,"resident_bytes":6,"accepted":7,"failed":0,"resumed":0}"#;
        let mut worker = start(&format!("{READY} read request; echo '{usage}'; cat")).unwrap();
        assert_eq!(worker.address().unwrap(), "127.0.0.1:1");
        assert_eq!(worker.usage().unwrap().accepted, 7);
    }

    #[test]
    fn the_end_of_a_worker_comes_with_its_stderr() {
        let mut worker = start(&format!("{READY} read request; echo 'out of luck' >&2; exit 1")).unwrap();
        let error = worker.usage().unwrap_err().to_string();
        assert_eq!(error, "the worker fake ended (exit status: 1); on stderr it said: out of luck");
    }

    #[test]
    fn a_worker_that_is_killed_is_said_to_be() {
        let mut worker = start(&format!("{READY} read request; echo 'so long' >&2; kill -9 $$")).unwrap();
        let error = worker.usage().unwrap_err().to_string();
        assert_eq!(error, "the worker fake ended (signal: 9 (SIGKILL)); on stderr it said: so long");
        // There is no status to be had for what only looks like an end.
        let mut worker = start(&format!("{READY} read request; exec >&-; sleep 60")).unwrap();
        let error = worker.usage().unwrap_err().to_string();
        assert_eq!(error, "the worker fake closed its stdout, and said nothing on stderr");
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
        assert!(error.starts_with("the worker fake answered `nonsense`"), "{error}");
    }

    #[test]
    fn waiting_ends_when_the_run_is_to_stop() {
        let mut worker = start(&format!("{READY} cat >/dev/null")).unwrap();
        worker.stop.now();
        assert!(matches!(worker.usage(), Err(BenchError::Interrupted)));
    }
}

//! A worker's process: every wait for it is bounded, and it does not outlive its guard.

use std::env;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_typha-tls-bench");

/// Far more than any request here takes, even on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Implementation {
    Bare,
    BareAes128,
    Direct,
    Go,
    Ours,
}

/// All that can run on this machine.
pub(crate) fn implementations() -> Vec<Implementation> {
    let mut all = vec![Implementation::Ours, Implementation::Bare];
    all.extend(go().map(|_| Implementation::Go));
    all
}

/// The Go worker; `None` without Go. With `TYPHA_TLS_REQUIRE_INTEROP=1`, that is a failure.
fn go() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        if Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
            return Some(build());
        }
        assert!(
            env::var("TYPHA_TLS_REQUIRE_INTEROP").as_deref() != Ok("1"),
            "`go version` does not run, but TYPHA_TLS_REQUIRE_INTEROP=1 requires it"
        );
        // Not by a macro, whose output the test harness hides when a test passes.
        let _ = writeln!(io::stderr(), "skipped: no go");
        None
    });
    program.as_deref()
}

/// Always in the same place: Go builds it again only after a change.
fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = Command::new(PROGRAM).arg("build-go").arg(target).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("go/worker")
}

pub(crate) struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
    ready: Value,
    counts: [u64; 3],
}

impl Worker {
    pub(crate) fn start(implementation: Implementation, setup: &Value) -> Self {
        let mut worker = Self::spawn(implementation, setup);
        worker.ready = worker.answer();
        assert!(worker.ready["versions"].is_string(), "{}", worker.ready);
        worker
    }

    /// Returns the stderr of a worker that refuses its set-up.
    pub(crate) fn refused(implementation: Implementation, setup: &Value) -> String {
        Self::spawn(implementation, setup).end()
    }

    fn spawn(implementation: Implementation, setup: &Value) -> Self {
        let mut setup = setup.clone();
        let mut command = match implementation {
            Implementation::Go => Command::new(go().unwrap()),
            _ => Command::new(PROGRAM),
        };
        if implementation != Implementation::Go {
            command.arg("worker");
        }
        setup["implementation"] = json!(match implementation {
            Implementation::BareAes128 => "bare-aes128".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        });
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, answers) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut worker =
            Self { stdin: child.stdin.take(), child, answers, ready: Value::Null, counts: [0; 3] };
        worker.send(&setup);
        worker
    }

    /// Where a Typha listens.
    pub(crate) fn address(&self) -> &str {
        self.ready["address"].as_str().unwrap()
    }

    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        self.send(request);
        self.answer()
    }

    pub(crate) fn usage(&mut self) -> Value {
        self.ask(&json!({ "request": "usage" }))
    }

    /// Typha's handshakes since the last call: accepted, failed, and resumed.
    pub(crate) fn new_counts(&mut self) -> [u64; 3] {
        let usage = self.usage();
        let counts = ["accepted", "failed", "resumed"].map(|name| usage[name].as_u64().unwrap());
        let before = std::mem::replace(&mut self.counts, counts);
        [0, 1, 2].map(|index| counts[index] - before[index])
    }

    /// Waits for the handshakes since the last call: Typha may come to the end of a handshake later than Felix.
    pub(crate) fn wait_for_counts(&mut self, expected: [u64; 3]) {
        let (before, deadline) = (self.counts, Instant::now() + TIME_LIMIT);
        loop {
            let new = self.new_counts();
            if new == expected {
                return;
            }
            assert!(Instant::now() < deadline, "stays at {new:?}, not {expected:?}");
            self.counts = before;
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns the stderr of a worker that ends because it cannot answer a request.
    pub(crate) fn fail(mut self, request: &Value) -> String {
        self.send(request);
        self.end()
    }

    /// The end of stdin ends a worker well.
    pub(crate) fn finish(mut self) {
        drop(self.stdin.take());
        assert!(self.wait(), "the worker failed: {}", self.stderr());
    }

    fn send(&mut self, line: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn answer(&mut self) -> Value {
        match self.answers.recv_timeout(TIME_LIMIT) {
            Ok(line) => serde_json::from_str(&line).unwrap(),
            Err(error) => {
                let _ = self.child.kill();
                panic!("no answer: {error}; {}", self.stderr())
            }
        }
    }

    fn end(mut self) -> String {
        assert!(!self.wait(), "the worker ended well");
        self.stderr()
    }

    fn wait(&mut self) -> bool {
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < deadline, "the worker does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

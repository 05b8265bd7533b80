//! Child processes: every wait for one is bounded, and none outlives its guard.

use std::env;
use std::fmt;
use std::io::{self, Read, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::TIME_LIMIT;

/// Whether a program is there to be tested against. With `TYPHA_TLS_REQUIRE_INTEROP=1`, a missing one is a failure.
pub(crate) fn is_installed(program: &str) -> bool {
    let version = Process::try_start(Command::new(program).arg("version"), None);
    let installed = version.is_ok_and(|process| process.finish().success);
    if !installed {
        assert!(
            env::var("TYPHA_TLS_REQUIRE_INTEROP").as_deref() != Ok("1"),
            "`{program} version` does not run, but TYPHA_TLS_REQUIRE_INTEROP=1 requires it"
        );
        // Not by a macro, whose output the test harness keeps back when a test passes.
        let _ = writeln!(io::stderr(), "skipped: no {program}");
    }
    installed
}

/// A running child process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdin: Stdin,
    stdout: Captured,
    stderr: Captured,
    /// What the process was given to read.
    _files: Option<TempDir>,
}

/// Stays open after what was written, since both ends of `openssl` take its end for a wish to leave.
enum Stdin {
    Open(Option<ChildStdin>),
    Written { _by: JoinHandle<ChildStdin> },
}

impl Process {
    pub(crate) fn start(command: &mut Command, files: Option<TempDir>) -> Self {
        Self::try_start(command, files).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    fn try_start(command: &mut Command, files: Option<TempDir>) -> io::Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(Self {
            stdin: Stdin::Open(child.stdin.take()),
            stdout: Captured::new(child.stdout.take().unwrap()),
            stderr: Captured::new(child.stderr.take().unwrap()),
            child,
            _files: files,
        })
    }

    /// Writes to the standard input of the process, whether it reads that or not.
    pub(crate) fn send(&mut self, bytes: Vec<u8>) {
        if let Stdin::Open(stdin) = &mut self.stdin {
            let mut stdin = stdin.take().unwrap();
            let by = thread::spawn(move || {
                // A process that refuses its peer ends without reading.
                let _ = stdin.write_all(&bytes);
                stdin
            });
            self.stdin = Stdin::Written { _by: by };
        }
    }

    /// The address that a server prints when it is ready.
    pub(crate) fn address(&mut self) -> SocketAddr {
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            let text = String::from_utf8_lossy(&self.stdout.bytes);
            // Up to the line's end, as the rest of the address may still be on its way.
            let line =
                text.split_inclusive('\n').find(|line| line.starts_with("ACCEPT ") && line.ends_with('\n'));
            if let Some(line) = line {
                return line["ACCEPT ".len()..].trim().parse().unwrap();
            }
            if !self.stdout.more(deadline) {
                self.abort("the server did not print its address");
            }
        }
    }

    /// Waits for the process to end by itself.
    pub(crate) fn finish(self) -> Output {
        self.finish_within(TIME_LIMIT)
    }

    pub(crate) fn finish_within(mut self, limit: Duration) -> Output {
        let deadline = Instant::now() + limit;
        while self.stdout.more(deadline) || self.stderr.more(deadline) {}
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return self.output(status.success());
            }
            if Instant::now() > deadline {
                self.abort("the process did not end");
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Fails the test with all that the process wrote.
    pub(crate) fn abort(&mut self, why: &str) -> ! {
        self.kill();
        let deadline = Instant::now() + TIME_LIMIT;
        while self.stdout.more(deadline) || self.stderr.more(deadline) {}
        panic!("{why}; {}", self.output(false));
    }

    fn output(&mut self, success: bool) -> Output {
        Output {
            success,
            stdout: std::mem::take(&mut self.stdout.bytes),
            stderr: String::from_utf8_lossy(&self.stderr.bytes).into_owned(),
        }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a process writes to one of its pipes.
struct Captured {
    chunks: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Captured {
    fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let (sender, chunks) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { chunks, bytes: Vec::new() }
    }

    /// Waits for more bytes; `false` when there will be none, or none came in time.
    fn more(&mut self, deadline: Instant) -> bool {
        match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(chunk) => {
                self.bytes.extend(chunk);
                true
            }
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => false,
        }
    }
}

/// All that a process wrote, and whether its exit code was zero.
pub(crate) struct Output {
    pub(crate) success: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.stdout[..self.stdout.len().min(1000)];
        write!(f, "stdout: {}\nstderr:\n{}", start.escape_ascii(), self.stderr)
    }
}

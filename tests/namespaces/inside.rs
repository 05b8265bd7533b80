//! Runs a test again, in a network namespace of its own.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set for the process within the namespace.
const INSIDE: &str = "NAMESPACES_INSIDE";
/// What such a process ends its output with if it has done its work, and if it can not.
const DONE: &str = "done";
const SKIPPED: &str = "skipped: ";

/// Beyond it, something hangs.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs the test in a namespace of its own, in which its user may do anything. `name` is that of the test.
pub(crate) fn inside<F: Future<Output = Result<(), String>>>(name: &str, test: impl FnOnce() -> F) {
    if env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match runtime.block_on(test()) {
            Ok(()) => eprintln!("{DONE}"),
            Err(reason) => eprintln!("{SKIPPED}{reason}"),
        }
        return;
    }
    if let Err(reason) = run_inside(name) {
        let require = env::var("TYPHA_TLS_REQUIRE_NAMESPACES");
        assert!(require.as_deref() != Ok("1"), "{name}: {reason}, but TYPHA_TLS_REQUIRE_NAMESPACES=1");
        // Not by a macro, whose output the test harness keeps back when a test passes.
        let _ = writeln!(io::stderr(), "skipped: {name}: {reason}");
    }
}

/// # Errors
///
/// Why the test can not be run here.
fn run_inside(name: &str) -> Result<(), String> {
    for (tool, version) in [("ip", "-V"), ("tc", "-V"), ("unshare", "-V")] {
        tried(Command::new(tool).arg(version)).map_err(|reason| format!("no {tool}: {reason}"))?;
    }
    // In a user namespace no privileges are needed; where there are none, root has those of its own.
    let user: &[&str] = &["--user", "--map-root-user", "--net"];
    let ways = [user, &["--net"]];
    let allowed = ways.iter().find(|way| tried(Command::new("unshare").args(**way).arg("true")).is_ok());
    let way = allowed.ok_or("network namespaces are not allowed here")?;
    let mut command = Command::new("unshare");
    command.args(*way).arg(env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]);
    let process = command.env(INSIDE, "yes").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (succeeded, said) = Guard(process).finish(name);
    assert!(succeeded, "within the namespace:\n{said}");
    let last = said.lines().last().unwrap_or_default();
    if let Some(reason) = last.strip_prefix(SKIPPED) {
        return Err(reason.to_owned());
    }
    assert_eq!(last, DONE, "{name} did not run within the namespace");
    let _ = io::stderr().write_all(said.as_bytes());
    Ok(())
}

/// # Errors
///
/// What a command that must succeed said instead.
pub(crate) fn tried(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Killed when dropped; its namespaces end with it.
pub(crate) struct Guard(pub(crate) Child);

impl Guard {
    /// Waits for its end, and returns whether it succeeded and what it said.
    fn finish(mut self, name: &str) -> (bool, String) {
        let mut stderr = self.0.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).map(|_| said)
        });
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return (status.success(), reader.join().unwrap().unwrap());
            }
            assert!(Instant::now() < deadline, "{name} hangs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

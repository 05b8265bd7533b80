//! The Go worker, built when it is needed.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{BenchError, Stop, end_group, without_tuning};

const SOURCES: [(&str, &str); 9] = [
    ("curve.go", include_str!("go/curve.go")),
    ("curve_unknown.go", include_str!("go/curve_unknown.go")),
    ("felix.go", include_str!("go/felix.go")),
    ("go.mod", include_str!("go/go.mod")),
    ("held_and_bulk.go", include_str!("go/held_and_bulk.go")),
    ("main.go", include_str!("go/main.go")),
    ("tls.go", include_str!("go/tls.go")),
    ("typha.go", include_str!("go/typha.go")),
    ("usage.go", include_str!("go/usage.go")),
];

/// The first build on a slow machine compiles the standard library.
const BUILDING: Duration = Duration::from_secs(300);
/// A worker without input ends at once.
const TRYING: Duration = Duration::from_secs(10);

/// Whether there is a Go on this machine.
pub(crate) fn is_installed() -> bool {
    Command::new("go").arg("version").output().is_ok_and(|output| output.status.success())
}

/// Builds the worker below `dir`, and checks that it can be run.
pub(crate) fn build(dir: &Path, stop: &Stop) -> Result<PathBuf, BenchError> {
    const CANNOT: &str = "the Go worker cannot be built";
    let dir = dir.join("go");
    fs::create_dir_all(&dir).map_err(BenchError::machine(CANNOT))?;
    for (name, source) in SOURCES {
        fs::write(dir.join(name), source).map_err(BenchError::machine(CANNOT))?;
    }
    let worker = dir.join("worker");
    run(go_build(&dir, &worker), BUILDING, stop, CANNOT)?;
    // The temporary directory may not allow programs.
    run(Command::new(&worker), TRYING, stop, "the Go worker cannot be run from the temporary directory")?;
    Ok(worker)
}

/// Nothing is downloaded, and files around the directory do not count.
fn go_build(sources: &Path, program: &Path) -> Command {
    let mut build = Command::new("go");
    without_tuning(&mut build);
    build.args(["build", "-buildvcs=false", "-o"]).arg(program).arg(".").current_dir(sources);
    build.envs([("GO111MODULE", "on"), ("GOFLAGS", "-mod=mod"), ("GOPROXY", "off")]);
    build.envs([("GOTOOLCHAIN", "local"), ("GOWORK", "off"), ("CGO_ENABLED", "0")]);
    build
}

/// Runs a program to its end, in a process group of its own, so that Ctrl-C reaches only this command.
fn run(mut command: Command, limit: Duration, stop: &Stop, cannot: &str) -> Result<(), BenchError> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(BenchError::machine(cannot))?;
    let deadline = Instant::now() + limit;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(_)) => break Ok(()),
            Ok(None) if Instant::now() > deadline => {
                break Err(BenchError::machine(cannot)(format!("not done within {} s", limit.as_secs())));
            }
            Ok(None) => {}
            Err(error) => break Err(BenchError::machine(cannot)(error)),
        }
        if let Err(stopped) = stop.pause(Duration::from_millis(20)) {
            break Err(stopped);
        }
    };
    if ended.is_err() {
        end_group(&mut child);
    }
    ended?;
    let output = child.wait_with_output().map_err(BenchError::machine(cannot))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(BenchError::machine(cannot)(format!("{}: {}", output.status, stderr.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration, stop: &Stop) -> Result<(), BenchError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, limit, stop, "it cannot be done")
    }

    fn why(result: Result<(), BenchError>) -> String {
        typha_tls::error::WithCauses(&result.unwrap_err()).to_string()
    }

    #[test]
    fn a_program_runs_to_its_end_or_says_why_not() {
        let (long, stop) = (Duration::from_secs(30), Stop::default());
        shell("exit 0", long, &stop).unwrap();
        let failed = why(shell("echo 'out of luck' >&2; exit 3", long, &stop));
        assert_eq!(failed, "it cannot be done: exit status: 3: out of luck");
    }

    #[test]
    fn a_program_is_not_waited_for_for_ever() {
        let late = why(shell("sleep 60", Duration::ZERO, &Stop::default()));
        assert_eq!(late, "it cannot be done: not done within 0 s");
        let stop = Stop::default();
        stop.now();
        assert!(matches!(shell("sleep 60", Duration::from_secs(30), &stop), Err(BenchError::Interrupted)));
    }
}

//! How the Go worker is built; for the command and for the tests of the workers.

use std::path::Path;
use std::process::Command;

/// Builds the sources of a directory into a program. Nothing is fetched, and nothing around the directory is taken for a
/// part of it.
pub(crate) fn build(sources: &Path, program: &Path) -> Command {
    let mut build = Command::new("go");
    without_tuning(&mut build);
    build.args(["build", "-buildvcs=false", "-o"]).arg(program).arg(".").current_dir(sources);
    build.envs([("GO111MODULE", "on"), ("GOFLAGS", "-mod=mod"), ("GOPROXY", "off")]);
    build.envs([("GOTOOLCHAIN", "local"), ("GOWORK", "off"), ("CGO_ENABLED", "0")]);
    build
}

/// Takes what would make an implementation another one out of the environment.
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

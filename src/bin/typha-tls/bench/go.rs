//! The Go pair, built on the spot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::BenchError;

const SOURCES: [(&str, &str); 7] = [
    ("felix.go", include_str!("go/felix.go")),
    ("go.mod", include_str!("go/go.mod")),
    ("held_and_bulk.go", include_str!("go/held_and_bulk.go")),
    ("main.go", include_str!("go/main.go")),
    ("tls.go", include_str!("go/tls.go")),
    ("typha.go", include_str!("go/typha.go")),
    ("usage.go", include_str!("go/usage.go")),
];

/// Whether there is a Go on this machine.
pub(crate) fn is_installed() -> bool {
    Command::new("go").arg("version").output().is_ok_and(|output| output.status.success())
}

/// Builds the worker below `dir`.
pub(crate) fn build(dir: &Path) -> Result<PathBuf, BenchError> {
    let dir = dir.join("go");
    const CANNOT: &str = "the Go pair can not be built";
    fs::create_dir_all(&dir).map_err(BenchError::machine(CANNOT))?;
    for (name, source) in SOURCES {
        fs::write(dir.join(name), source).map_err(BenchError::machine(CANNOT))?;
    }
    let worker = dir.join("worker");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&worker).arg(".").current_dir(&dir);
    // Nothing is fetched, and nothing around the directory is taken for a part of it.
    build.envs([("GOFLAGS", "-mod=mod"), ("GOTOOLCHAIN", "local"), ("GOWORK", "off"), ("CGO_ENABLED", "0")]);
    let output = build.output().map_err(BenchError::machine(CANNOT))?;
    if output.status.success() {
        Ok(worker)
    } else {
        Err(BenchError::machine(CANNOT)(format!(
            "go says: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }
}

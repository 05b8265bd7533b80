//! A real etcd, as a process of its own. The tests of the command use it, too.

use std::env;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;

use tempfile::TempDir;

use crate::site::{SOON, Site, argument};

/// A program of etcd, and whether its TLS is that of a Go before 1.23, which sends one alert for most refusals.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) is_old: bool,
}

/// The installed etcd, and etcd 3.6 if it may be built. With `TYPHA_TLS_REQUIRE_INTEROP=1`, none at all is a failure.
pub(crate) fn programs() -> Vec<Program> {
    let mut programs = Vec::new();
    let installed = Command::new("etcd").arg("--version").output();
    if let Ok(version) = installed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()) {
        let is_old = version.contains("etcd Version: 3.4") || version.contains("etcd Version: 3.5");
        programs.push(Program { path: "etcd".into(), is_old });
    }
    programs.extend(built().map(|path| Program { path, is_old: false }));
    if programs.is_empty() {
        let required = env::var("TYPHA_TLS_REQUIRE_INTEROP").as_deref() == Ok("1");
        assert!(!required, "etcd is not installed, but TYPHA_TLS_REQUIRE_INTEROP=1 requires it");
        // Not by a macro, whose output the test harness keeps back when a test passes.
        let _ = writeln!(io::stderr(), "skipped: no etcd");
    }
    programs
}

/// Builds etcd 3.6 from its Go module, once, if the environment asks for it. It takes a minute, and Go 1.26.
fn built() -> Option<PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        if env::var("TYPHA_TLS_BUILD_ETCD").as_deref() != Ok("1") {
            return None;
        }
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etcd/tests/etcd/etcd-3.6");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("etcd-3.6");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg("go.etcd.io/etcd/server/v3")
            .current_dir(module)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Some(program)
    };
    BUILT.get_or_init(build).clone()
}

/// A running etcd; killed when dropped.
pub(crate) struct Etcd {
    child: Child,
    pub(crate) port: u16,
    _data: TempDir,
}

impl Etcd {
    /// Starts it with the files of the site and these further arguments. It serves TLS and requires a certificate.
    pub(crate) fn start(program: &Program, site: &Site, arguments: &[&str]) -> Self {
        Self::start_at(program, "https://127.0.0.1:0", Some(site), arguments)
    }

    /// Starts it at this URL, without TLS if there is no site. With port 0, the system chooses a port.
    pub(crate) fn start_at(program: &Program, url: &str, site: Option<&Site>, arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let peer = "http://127.0.0.1:0";
        let mut child = Command::new(&program.path)
            .args(["--name", "test", "--logger", "zap", "--log-outputs", "stderr", "--unsafe-no-fsync"])
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen-client-urls", url, "--advertise-client-urls", url])
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .args(site.map(tls_arguments).unwrap_or_default())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (ready, is_ready) = mpsc::channel();
        // It reads to the end, so that etcd never waits for it.
        thread::spawn(move || {
            let mut all = String::new();
            for line in log.lines().map_while(Result::ok) {
                let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                let is_serving =
                    entry["msg"].as_str().is_some_and(|msg| msg.starts_with("serving client traffic"));
                if let Some(address) = entry["address"].as_str().filter(|_| is_serving) {
                    let _ = ready.send(Ok(address.to_owned()));
                }
                all += &(line + "\n");
            }
            let _ = ready.send(Err(all));
        });
        let address = match is_ready.recv_timeout(SOON).expect("etcd does not serve") {
            Ok(address) => address,
            Err(log) => panic!("etcd has ended: {log}"),
        };
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        Self { child, port, _data: data }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tls_arguments(site: &Site) -> Vec<String> {
    let file = |name| argument(&site.path(name));
    let (cert, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let flags = ["--client-cert-auth", "--cert-file", &cert, "--key-file", &key, "--trusted-ca-file", &ca];
    flags.map(str::to_owned).to_vec()
}

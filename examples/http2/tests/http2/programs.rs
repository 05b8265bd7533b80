//! The example as processes, and curl as another client.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;
use typha_tls::testing::{FELIX_COMMON_NAME, TYPHA_COMMON_NAME, TestPki};

/// The example as Typha, and what a Felix needs for it. It is killed when dropped.
struct Typha {
    process: Child,
    port: u16,
    directory: TempDir,
}

impl Typha {
    fn start() -> Self {
        let (pki, directory) = (TestPki::new().unwrap(), TempDir::new().unwrap());
        let file = |name: &str| directory.path().join(name);
        let write = |name: &str, text: String| fs::write(file(name), text).unwrap();
        write("ca.pem", pki.ca.root_pem());
        for (name, leaf) in [("typha", &pki.typha), ("felix", &pki.felix)] {
            write(&format!("{name}.pem"), leaf.chain_pem());
            write(&format!("{name}.key"), leaf.key_pem());
        }
        // Another process may take the port before Typha does.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new(env!("CARGO_BIN_EXE_typha-tls-http2"))
            .arg("typha")
            .envs([("TYPHA_SERVERHOST", "127.0.0.1"), ("TYPHA_CLIENTCN", FELIX_COMMON_NAME)])
            .env("TYPHA_SERVERPORT", port.to_string())
            .env("TYPHA_CAFILE", file("ca.pem"))
            .env("TYPHA_SERVERCERTFILE", file("typha.pem"))
            .env("TYPHA_SERVERKEYFILE", file("typha.key"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let typha = Self { process, port, directory };
        if line == format!("listening on 127.0.0.1:{port}\n") {
            return typha;
        }
        let complaints = typha.complaints(0);
        assert!(complaints.contains("AddrInUse"), "{line:?}; {complaints}");
        Self::start()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Sends a request with curl.
    fn curl(&self, arguments: &[&str]) -> Output {
        let address = format!("{TYPHA_COMMON_NAME}:{}", self.port);
        Command::new("curl")
            .args(["--disable", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20"])
            .args(["--write-out", "HTTP/%{http_version} %{http_code}", "--resolve"])
            .arg(format!("{address}:127.0.0.1"))
            .arg("--cacert")
            .arg(self.file("ca.pem"))
            .arg("--cert")
            .arg(self.file("felix.pem"))
            .arg("--key")
            .arg(self.file("felix.key"))
            .args(arguments)
            .arg(format!("https://{address}/config"))
            .output()
            .unwrap()
    }

    /// Waits for so many lines of its error output, ends it, and returns all of its error output.
    fn complaints(mut self, lines: usize) -> String {
        let mut stderr = BufReader::new(self.process.stderr.take().unwrap());
        let mut complaints = String::new();
        for _ in 0..lines {
            stderr.read_line(&mut complaints).unwrap();
        }
        let _ = self.process.kill();
        stderr.read_to_string(&mut complaints).unwrap();
        complaints
    }
}

impl Drop for Typha {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const FELIX: &str =
    r#"CN "typha-client", URI SANs ["spiffe://cluster.local/ns/calico-system/sa/calico-node"]"#;
const TYPHA: &str =
    r#"CN "typha-server", URI SANs ["spiffe://cluster.local/ns/calico-system/sa/calico-typha"]"#;

#[test]
fn felix_calls_typha() {
    let typha = Typha::start();
    let felix = Command::new(env!("CARGO_BIN_EXE_typha-tls-http2"))
        .arg("felix")
        .env("FELIX_TYPHAADDR", format!("127.0.0.1:{}", typha.port))
        .env("FELIX_TYPHACAFILE", typha.file("ca.pem"))
        .env("FELIX_TYPHACERTFILE", typha.file("felix.pem"))
        .env("FELIX_TYPHAKEYFILE", typha.file("felix.key"))
        .env("FELIX_TYPHACN", TYPHA_COMMON_NAME)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&felix.stderr), "");
    assert_eq!(
        String::from_utf8_lossy(&felix.stdout),
        format!(
            "connected to Typha with {TYPHA} (matched by common_name) over TLS 1.3, TLS_AES_128_GCM_SHA256, \
             X25519MLKEM768, ALPN \"h2\"\nHTTP/2.0 200 OK\nhello, {FELIX}; you asked for /config\n"
        )
    );
    assert!(felix.status.success());
    assert_eq!(typha.complaints(0), "");
}

#[test]
fn curl_calls_typha() {
    if !curl_is_installed() {
        return;
    }
    let typha = Typha::start();
    for arguments in [&["--http2"][..], &["--http2", "--tls-max", "1.2"]] {
        let output = typha.curl(arguments);
        let expected = format!("hello, {FELIX}; you asked for /config\nHTTP/2 200");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
    }
    // Without h2, and without ALPN.
    for (arguments, alert) in [
        (&["--http1.1"][..], "no application protocol"),
        (&["--http1.1", "--tls-max", "1.2"], "no application protocol"),
        (&["--no-alpn"], "handshake failure"),
        (&["--no-alpn", "--tls-max", "1.2"], "handshake failure"),
    ] {
        let output = typha.curl(arguments);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "HTTP/0 000", "{arguments:?}: {output:?}");
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(printed.contains(alert), "{arguments:?}: {printed}");
    }
    let refused = |theirs| {
        format!(
            "refused: no application protocol (ALPN) in common: ours are [\"h2\"], and the peer {theirs}\n"
        )
    };
    let (others, none) = (refused("offers [\"http/1.1\"]"), refused("does not use ALPN"));
    assert_eq!(typha.complaints(4), [&*others, &others, &none, &none].concat());
}

/// With `TYPHA_TLS_REQUIRE_INTEROP=1`, a missing curl is a failure.
fn curl_is_installed() -> bool {
    let installed =
        Command::new("curl").arg("--version").output().is_ok_and(|output| output.status.success());
    if !installed {
        assert!(
            env::var("TYPHA_TLS_REQUIRE_INTEROP").as_deref() != Ok("1"),
            "`curl --version` does not run, but TYPHA_TLS_REQUIRE_INTEROP=1 requires it"
        );
        // The harness hides the output of macros when a test passes, so this writes to stderr directly.
        let _ = writeln!(io::stderr(), "skipped: no curl");
    }
    installed
}

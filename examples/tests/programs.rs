//! Runs the examples as programs, each end against the other.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail this way")]

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use socket2::SockRef;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use typha_tls::testing::{FELIX_COMMON_NAME, TYPHA_COMMON_NAME, TestLeaf, TestPki};

/// A program that is ended with the test.
struct Program {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the program has ended").unwrap()
    }

    /// The address that the program listens on.
    fn address(&mut self) -> String {
        self.line().strip_prefix("listening on ").expect("no address").to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example, which cargo has built before this test.
fn example(name: &str) -> Command {
    let deps = std::env::current_exe().unwrap();
    let profile = deps.parent().and_then(Path::parent).unwrap();
    let mut command = Command::new(profile.join("examples").join(name));
    command.env_clear();
    command
}

/// The files of both ends: CA, certificate and key.
struct Files {
    _dir: TempDir,
    typha: [PathBuf; 3],
    felix: [PathBuf; 3],
}

impl Files {
    fn new() -> Self {
        let (dir, pki) = (tempfile::tempdir().unwrap(), TestPki::new().unwrap());
        let write = |name: &str, contents: String| {
            let path = dir.path().join(name);
            std::fs::write(&path, contents).unwrap();
            path
        };
        let end = |name: &str, leaf: &TestLeaf| {
            [
                write("ca.pem", pki.ca.root_pem()),
                write(&format!("{name}.pem"), leaf.chain_pem()),
                write(&format!("{name}.key"), leaf.key_pem().to_string()),
            ]
        };
        let (typha, felix) = (end("typha", &pki.typha), end("felix", &pki.felix));
        Self { _dir: dir, typha, felix }
    }
}

fn with_files(command: &mut Command, names: [&str; 3], files: &[PathBuf; 3]) {
    for (name, file) in std::iter::zip(names, files) {
        command.env(name, file);
    }
}

/// Typha greets each Felix and closes the connection in order; Felix then connects to it again.
#[test]
fn the_two_programs_of_the_readme_understand_each_other() {
    let readme = include_str!("../../README.md");
    for program in [include_str!("../hello_typha.rs"), include_str!("../hello_felix.rs")] {
        assert!(readme.contains(&format!("```rust,no_run\n{program}```\n")), "not in the README:\n{program}");
    }
    let files = Files::new();
    let mut typha = example("hello_typha");
    with_files(&mut typha, ["TYPHA_CAFILE", "TYPHA_SERVERCERTFILE", "TYPHA_SERVERKEYFILE"], &files.typha);
    typha.env("TYPHA_CLIENTCN", FELIX_COMMON_NAME);
    let (_reserved, port) = reserved_port();
    typha.env("TYPHA_SERVERHOST", "127.0.0.1").env("TYPHA_SERVERPORT", port);
    let mut typha = Program::start(&mut typha);
    let address = typha.address();

    let mut felix = example("hello_felix");
    with_files(&mut felix, ["FELIX_TYPHACAFILE", "FELIX_TYPHACERTFILE", "FELIX_TYPHAKEYFILE"], &files.felix);
    felix.env("FELIX_TYPHACN", TYPHA_COMMON_NAME).env("FELIX_TYPHAADDR", &address);
    let mut felix = Program::start(&mut felix);
    for _ in 0..3 {
        let connected = felix.line();
        let expected = format!("connected to Typha with CN \"{TYPHA_COMMON_NAME}\", ");
        assert!(connected.starts_with(&expected) && connected.ends_with(&address), "{connected}");
        let hello = felix.line();
        assert!(hello.starts_with(&format!("hello, CN \"{FELIX_COMMON_NAME}\", ")), "{hello}");
    }
}

#[test]
fn the_parts_of_both_ends_understand_each_other() {
    let files = Files::new();
    let mut typha = Program::start(example("parts_typha").args(&files.typha).arg("127.0.0.1:0"));
    let address = typha.address();
    let mut felix = Program::start(example("parts_felix").args(&files.felix).arg(&address));
    let connected = felix.line();
    assert!(connected.starts_with("connected to Typha with CN"), "{connected}");
    assert_eq!(felix.line(), "hello");
    assert!(felix.lines.next().is_none());
    assert!(felix.child.wait().unwrap().success());
}

/// A client and a server without TLS, both sidecars between them: bytes, a half-close, and a reset that stays one.
#[test]
fn the_sidecars_carry_bytes_and_ends() {
    let files = Files::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut typha = example("typha_sidecar");
    with_files(&mut typha, ["TYPHA_CAFILE", "TYPHA_SERVERCERTFILE", "TYPHA_SERVERKEYFILE"], &files.typha);
    typha.env("TYPHA_CLIENTCN", FELIX_COMMON_NAME).arg(server.local_addr().unwrap().to_string());
    let (_reserved, port) = reserved_port();
    typha.env("TYPHA_SERVERHOST", "127.0.0.1").env("TYPHA_SERVERPORT", port);
    let mut typha = Program::start(&mut typha);
    let mut felix = example("felix_sidecar");
    with_files(&mut felix, ["FELIX_TYPHACAFILE", "FELIX_TYPHACERTFILE", "FELIX_TYPHAKEYFILE"], &files.felix);
    felix.env("FELIX_TYPHACN", TYPHA_COMMON_NAME).env("FELIX_TYPHAADDR", typha.address()).arg("127.0.0.1:0");
    let mut felix = Program::start(&mut felix);
    let address = felix.address();
    let connect = || {
        let client = TcpStream::connect(&address).unwrap();
        (client, server.accept().unwrap().0)
    };
    let (mut client, mut server_end) = connect();
    let mut received = Vec::new();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server_end.read_to_end(&mut received).unwrap();
    server_end.write_all(b", answer").unwrap();
    drop(server_end);
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"question, answer");
    for resets in ["the client", "the server"] {
        let (mut one, mut other) = connect();
        one.write_all(b"x").unwrap();
        other.read_exact(&mut [0]).unwrap();
        if resets == "the server" {
            (one, other) = (other, one);
        }
        SockRef::from(&one).set_linger(Some(Duration::ZERO)).unwrap();
        drop(one);
        let error = other.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{resets}");
    }
}

/// A port for a program that can not let the system choose one: Calico's `ServerPort` is never 0. No other program gets
/// the port as long as the socket lives.
fn reserved_port() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    (socket, port)
}

//! The command, while nobody reads what it prints.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use typha_tls::testing::{CertificateSpec, FELIX_COMMON_NAME, Purpose, TestCa, TestPki, connector};
use typha_tls::{FelixConnector, RequiredIdentity};

pub(super) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
    // Nothing of the machine's own configuration gets in.
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Ended with the test.
pub(super) struct Process(pub(super) Child);

impl Process {
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The files of a Typha, and a Felix with long names, so that the lines about it are long.
fn ends() -> (TempDir, FelixConnector) {
    let (pki, dir) = (TestPki::new().unwrap(), TempDir::new().unwrap());
    let write = |name: &str, contents: &str| -> PathBuf {
        std::fs::write(dir.path().join(name), contents).unwrap();
        dir.path().join(name)
    };
    let ca = write("ca.pem", &pki.ca.root_pem());
    let chain = write("typha.pem", &pki.typha.chain_pem());
    let key = write("key.pem", &pki.typha.key_pem());
    let (ca, chain, key) = (ca.display(), chain.display(), key.display());
    write(
        "typha.cfg",
        &format!("CAFile={ca}\nServerCertFile={chain}\nServerKeyFile={key}\nClientCN={FELIX_COMMON_NAME}\n"),
    );
    let mut felix = CertificateSpec::leaf(FELIX_COMMON_NAME).purpose(Purpose::ClientAuth);
    for number in 0..3 {
        felix = felix.uri_san(&format!("urn:{number:0230}"));
    }
    let required = RequiredIdentity::common_name("typha-server").unwrap();
    let felix = connector(&pki.ca, &pki.ca.issue(felix).unwrap(), required).unwrap();
    (dir, felix)
}

/// Starts a Typha. Returns its process, its stdout after the first line, and its address.
fn start(mut command: Command) -> (Process, BufReader<ChildStdout>, String) {
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut typha = Process(process);
    let mut stdout = BufReader::new(typha.0.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    let listening: Value = serde_json::from_str(&first).unwrap();
    (typha, stdout, listening["address"].as_str().unwrap().to_owned())
}

/// Many more than the queue and the pipe hold.
const CONNECTIONS: usize = 1500;

#[tokio::test]
async fn typha_serves_and_closes_connections() {
    let (dir, felix) = ends();
    let config = dir.path().join("typha.cfg");
    let arguments = ["--log", "trace", "typha", "--listen", "127.0.0.1:0", "--reload-interval", "0"];
    let mut typha = command(&arguments);
    typha.args(["--stats-interval", "3600", "--config", config.to_str().unwrap()]);
    let (mut typha, mut stdout, address) = start(typha);
    let mut last = None;
    for _ in 0..CONNECTIONS {
        let tcp = TcpStream::connect(&address).await.unwrap();
        let mut stream = felix.connect_tcp(tcp).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        let mut echo = [0];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"x");
        last = Some(stream);
    }
    let other = TestCa::new(CertificateSpec::ca("other")).unwrap();
    std::fs::write(dir.path().join("ca.pem"), other.root_pem()).unwrap();
    typha.signal(Signal::HUP);
    // Closed in order, without a reader.
    assert_eq!(last.unwrap().read(&mut [0]).await.unwrap(), 0);

    let mut stderr = typha.0.stderr.take().unwrap();
    let log = std::thread::spawn(move || std::io::read_to_string(&mut stderr).unwrap());
    let rest = std::thread::spawn(move || std::io::read_to_string(&mut stdout).unwrap());
    typha.signal(Signal::TERM);
    let (log, rest) = (log.join().unwrap(), rest.join().unwrap());
    assert_eq!(typha.0.wait().unwrap().code(), Some(0));
    let (gaps, lines): (Vec<Value>, Vec<Value>) = rest
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .partition(|line: &Value| line["event"] == "lines_lost");
    let lost: u64 = gaps.iter().map(|gap| gap["lines"].as_u64().unwrap()).sum();
    let [.., shut_down, stats] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(*shut_down, json!({ "event": "shut_down", "dropped": 0, "left": 0 }));
    assert_eq!(
        [&stats["accepted"], &stats["lost_trust"], &stats["lines_lost"]],
        [&json!(CONNECTIONS), &json!({ "unknown_ca": 1 }), &json!(lost)]
    );
    // One for each connection, for the lost trust, for the reload, and the last two.
    assert_eq!(lines.len() as u64 + lost, CONNECTIONS as u64 + 4);
    assert!(lost > 0, "the queue has held all lines");
    let gaps: Vec<_> = log.lines().filter(|line| line.starts_with("typha-tls: ")).collect();
    assert!(!gaps.is_empty(), "the queue has held all lines");
    for gap in gaps {
        assert!(gap.starts_with("typha-tls: lines lost here: "), "{gap}");
    }
}

/// A warning says so once.
#[tokio::test]
async fn the_log_says_that_lines_are_lost() {
    let (dir, felix) = ends();
    let config = dir.path().join("typha.cfg");
    let typha = command(&["typha", "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()]);
    let (mut typha, stdout, address) = start(typha);
    for _ in 0..CONNECTIONS {
        let tcp = TcpStream::connect(&address).await.unwrap();
        felix.connect_tcp(tcp).await.unwrap();
    }
    typha.signal(Signal::TERM);
    let log = std::io::read_to_string(typha.0.stderr.take().unwrap()).unwrap();
    assert_eq!(typha.0.wait().unwrap().code(), Some(0));
    let warning = "lines on stdout are lost, because nobody reads them fast enough";
    assert_eq!(log.matches(warning).count(), 1, "{log}");
    drop(stdout);
}

/// A pipe that nobody reads, and that is full.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // The size of a pipe in Linux.
    writer.write_all(&[b'x'; 65_536]).unwrap();
    (reader, writer)
}

#[test]
fn the_outcome_of_felix_does_not_wait_for_a_reader() {
    let (dir, _) = ends();
    let text = std::fs::read_to_string(dir.path().join("typha.cfg")).unwrap();
    let text = text.replace("CAFile", "TyphaCAFile").replace("Server", "Typha").replace("Client", "Typha");
    std::fs::write(dir.path().join("felix.cfg"), text).unwrap();
    let config = dir.path().join("felix.cfg");
    let config = config.to_str().unwrap();
    let (mut reader, writer) = full_pipe();
    let arguments = ["--log", "debug", "felix", "--connect", "127.0.0.1:1", "--config", config];
    let status = command(&arguments).stderr(writer).stdout(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(5));
    // And so do complaints of other commands.
    let (_reader, writer) = full_pipe();
    let status = command(&["verify", "--peer", "felix", "--ca-file", config, "--chain", config, "--cn", "x"])
        .stderr(writer)
        .status();
    assert_eq!(status.unwrap().code(), Some(2));
    let mut printed = Vec::new();
    reader.read_to_end(&mut printed).unwrap();
    assert!(printed.iter().all(|byte| *byte == b'x'), "{} bytes", printed.len());
}

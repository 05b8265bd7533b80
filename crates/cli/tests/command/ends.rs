//! The command `typha-tls`: its lines and exit codes, with both ends as processes of their own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;
use typha_tls::testing::{CertificateSpec, FELIX_SPIFFE_ID, Purpose, TYPHA_SPIFFE_ID, TestCa};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
    // Nothing of the machine's own configuration gets in.
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

#[test]
fn the_command_says_what_it_is() {
    let version = run(&["--version"]);
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        concat!("typha-tls ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let about = "Mutual TLS between Calico's Felix and Typha, with Calico's identity rule, on rustls";
    assert!(help.starts_with(&format!("{about}\n\nUsage: typha-tls ")), "{help}");
    // As in the README.
    let summaries = [
        ("storm", "Opens many connections to a running Typha and counts the results"),
        ("verify", "Verifies one certificate chain as in a handshake"),
    ];
    let lines: Vec<_> = help.lines().filter_map(|line| line.trim().split_once(' ')).collect();
    for summary in summaries.into_iter().filter(|(name, _)| cfg!(target_os = "linux") || *name != "storm") {
        assert!(lines.iter().any(|(name, text)| (*name, text.trim()) == summary), "{summary:?}: {help}");
    }
    assert!(help.contains("[default: warn for typha and felix, else off]"), "{help}");
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// The only line of the output.
fn line(bytes: &[u8]) -> Value {
    let mut lines = lines(bytes);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// The rest of a line on a peer, whose CA is that of the PKI. What each leaf has for itself is checked and taken out.
fn without_ca(mut line: Value) -> Value {
    crate::remove_leaf_numbers(&mut line);
    let ca = line.as_object_mut().unwrap().remove("ca").unwrap();
    assert!(ca.as_str().unwrap().starts_with("CN=\"calico-typha-ca\" (key "), "{ca}");
    line
}

/// A directory with what `typha-tls pki` makes.
struct Pki(TempDir);

impl Pki {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let output = run(&["pki", dir.path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, contents: &str) -> String {
        std::fs::write(self.0.path().join(name), contents).unwrap();
        self.path(name)
    }
}

/// A running `typha-tls typha`.
struct Typha {
    process: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Typha {
    fn start(pki: &Pki, more: &[&str]) -> Self {
        let config = pki.path("typha.cfg");
        let arguments = [&["typha", "--listen", "127.0.0.1:0", "--config", &config], more].concat();
        let mut process = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        let address = first
            .strip_prefix("{\"event\":\"listening\",\"address\":\"")
            .and_then(|rest| rest.strip_suffix("\"}\n"))
            .unwrap_or_else(|| panic!("{first}"))
            .to_owned();
        Self { process, stdout, address }
    }

    fn next_line(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }

    #[cfg(unix)]
    fn stop(mut self, signal: &str) -> Option<i32> {
        // The shell's own kill: not every machine has the program.
        let kill = format!("kill {signal} {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.process.wait().unwrap().code()
    }
}

impl Drop for Typha {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn felix(pki: &Pki, address: &str, input: &[u8], more: &[&str]) -> Output {
    let config = pki.path("felix.cfg");
    let arguments = [&["felix", "--connect", address, "--config", &config], more].concat();
    let mut process = command(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A refused Felix does not read its input.
    let _ = process.stdin.take().unwrap().write_all(input);
    process.wait_with_output().unwrap()
}

/// A Felix that has got its first echo, and its open input.
fn connected_felix(pki: &Pki, typha: &Typha) -> (Child, ChildStdin) {
    let config = pki.path("felix.cfg");
    let mut felix = command(&["felix", "--connect", &typha.address, "--config", &config])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = felix.stdin.take().unwrap();
    input.write_all(b"x").unwrap();
    let mut echo = [0];
    felix.stdout.as_mut().unwrap().read_exact(&mut echo).unwrap();
    (felix, input)
}

#[test]
fn an_accepted_felix_gets_its_echo() {
    let pki = Pki::new();
    let mut typha = Typha::start(&pki, &[]);
    let input: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let output = felix(&pki, &typha.address, &input, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == input, "{} bytes came back", output.stdout.len());
    assert_eq!(
        without_ca(line(&output.stderr)),
        json!({
            "event": "accepted", "peer": typha.address, "matched_by": "both", "common_name": "typha-server",
            "uri_sans": [TYPHA_SPIFFE_ID], "tls_version": "1.3", "cipher_suite": "TLS_AES_128_GCM_SHA256",
            "group": "X25519MLKEM768", "acceptance": "confirmed", "sent": 300_000, "received": 300_000,
            "closed": "cleanly",
        })
    );
    let mut accepted = typha.next_line();
    assert!(
        accepted.as_object_mut().unwrap().remove("peer").unwrap().as_str().unwrap().starts_with("127.0.0.1:")
    );
    assert_eq!(
        without_ca(accepted),
        json!({
            "event": "accepted", "matched_by": "both", "common_name": "typha-client",
            "uri_sans": [FELIX_SPIFFE_ID], "tls_version": "1.3", "cipher_suite": "TLS_AES_128_GCM_SHA256",
            "group": "X25519MLKEM768",
        })
    );
}

#[test]
fn flags_win_and_each_end_says_who_refused_whom() {
    let pki = Pki::new();
    let mut typha = Typha::start(&pki, &["--client-cn", "someone-else", "--client-uri-san", "spiffe://td/x"]);
    let output = felix(&pki, &typha.address, b"x", &[]);
    assert_eq!(output.status.code(), Some(3));
    let refused = line(&output.stderr);
    assert_eq!((&refused["reason"], &refused["alert"]), (&json!("refused_by_peer"), &json!("access_denied")));
    let refused = typha.next_line();
    assert_eq!((&refused["event"], &refused["reason"]), (&json!("refused"), &json!("identity_mismatch")));
    let (_, leaf) = verify(&pki, "typha-client.pem", &["--peer", "felix", "--cn", "someone-else"]);
    assert_eq!(
        (&refused["serial"], &refused["authority_key_id"]),
        (&leaf["serial"], &leaf["authority_key_id"])
    );
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("peer certificate does not have required CN or URI SAN"), "{detail}");

    let output = felix(&pki, &typha.address, b"x", &["--typha-cn", "nobody", "--typha-uri-san", "none"]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(line(&output.stderr)["reason"], "identity_mismatch");
    let refused = typha.next_line();
    assert_eq!((&refused["reason"], &refused["alert"]), (&json!("refused_by_peer"), &json!("access_denied")));
}

#[test]
fn other_endings_of_a_handshake() {
    let pki = Pki::new();
    let mut typha = Typha::start(&pki, &[]);
    let mut plain = TcpStream::connect(&typha.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).unwrap();
    let refused = typha.next_line();
    assert_eq!(refused["reason"], "not_tls");
    assert_eq!(refused["detail"], "the peer does not speak TLS: it began with \"GET / HTTP/1.1..\"");

    // Half of a message and the end; a probe that sends nothing gets no line.
    drop(TcpStream::connect(&typha.address).unwrap());
    let mut half = TcpStream::connect(&typha.address).unwrap();
    half.write_all(&[22, 3, 1, 2]).unwrap();
    half.shutdown(Shutdown::Both).unwrap();
    assert_eq!(typha.next_line()["reason"], "io");

    // Nobody listens on a port that was given back.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = felix(&pki, &gone, b"", &[]);
    assert_eq!((output.status.code(), &line(&output.stderr)["reason"]), (Some(5), &json!("io")));
}

/// A port that nobody listens on, and that nobody else gets as long as the socket lives.
pub(crate) fn closed_port() -> (socket2::Socket, String) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address.to_string())
}

#[test]
fn of_several_typhas_felix_takes_one_that_accepts_it() {
    let pki = Pki::new();
    let (_socket, closed) = closed_port();
    let refusing = Typha::start(&pki, &["--client-cn", "someone-else", "--client-uri-san", "spiffe://td/x"]);
    let good = Typha::start(&pki, &[]);
    let output =
        felix(&pki, &closed, b"hello", &["--connect", &refusing.address, "--connect", &good.address]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"hello"[..]));
    let accepted = line(&output.stderr);
    assert_eq!((&accepted["event"], &accepted["peer"]), (&json!("accepted"), &json!(good.address)));

    let port = good.address.rsplit_once(':').unwrap().1;
    let config = pki.path("felix.cfg");
    let output = run(&["felix", "--dns", &format!("localhost:{port}"), "--config", &config]);
    assert_eq!((output.status.code(), &line(&output.stderr)["peer"]), (Some(0), &json!(good.address)));
}

#[test]
fn felix_says_what_came_of_every_typha() {
    let pki = Pki::new();
    let (_socket, closed) = closed_port();
    let refusing = Typha::start(&pki, &["--client-cn", "someone-else", "--client-uri-san", "spiffe://td/x"]);
    let output = felix(&pki, &closed, b"", &["--connect", &refusing.address]);
    // Whatever was tried last: a refusal says more than a port that is closed.
    assert_eq!(output.status.code(), Some(3));
    let outcome = line(&output.stderr);
    assert_eq!((&outcome["event"], &outcome["peer"]), (&json!("refused"), &json!(refusing.address)));
    assert_eq!((&outcome["reason"], &outcome["alert"]), (&json!("refused_by_peer"), &json!("access_denied")));
    let detail = outcome["detail"].as_str().unwrap();
    assert!(detail.starts_with("could not connect to any Typha: "), "{detail}");
    assert!(detail.contains(&format!("{closed}: no TCP connection: ")), "{detail}");
    assert!(
        detail.contains(&format!("{}: the peer refused us: access_denied", refusing.address)),
        "{detail}"
    );
    let mut attempts = outcome["attempts"].as_array().unwrap().clone();
    attempts.sort_by_key(|attempt| attempt["peer"] != closed);
    assert_eq!(attempts.len(), 2);
    assert_eq!((&attempts[0]["peer"], &attempts[0]["reason"]), (&json!(closed), &json!("io")));
    assert_eq!(attempts[1]["peer"], refusing.address);
    assert_eq!(
        (&attempts[1]["reason"], &attempts[1]["alert"]),
        (&json!("refused_by_peer"), &json!("access_denied"))
    );

    // As often as is said.
    let output = felix(&pki, &closed, b"", &["--tries", "3"]);
    let outcome = line(&output.stderr);
    assert_eq!((output.status.code(), outcome["attempts"].as_array().unwrap().len()), (Some(5), 3));
    assert_eq!((&outcome["peer"], &outcome["reason"]), (&json!(closed), &json!("io")));
    assert_eq!(outcome.get("attempts_omitted"), None);

    // The last ten of many.
    let ports = [(); 12].map(|()| closed_port());
    let more: Vec<_> = ports.iter().flat_map(|(_, address)| ["--connect", address]).collect();
    let outcome = line(&felix(&pki, &closed, b"", &more).stderr);
    assert_eq!(outcome["attempts"].as_array().unwrap().len(), 10);
    assert_eq!(outcome["attempts_omitted"], 3);
}

#[cfg(unix)]
#[test]
fn felix_does_not_touch_stdin_before_it_is_connected() {
    let pki = Pki::new();
    let (_socket, closed) = closed_port();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"for Typha alone").unwrap();
    drop(writer);
    let output =
        command(&["felix", "--connect", &closed, "--tries", "3", "--config", &pki.path("felix.cfg")])
            .stdin(reader.try_clone().unwrap())
            .output()
            .unwrap();
    assert_eq!(output.status.code(), Some(5));
    let mut left = String::new();
    reader.read_to_string(&mut left).unwrap();
    assert_eq!(left, "for Typha alone");
}

#[test]
fn a_stalled_felix_times_out() {
    let pki = Pki::new();
    let config = std::fs::read_to_string(pki.path("typha.cfg")).unwrap();
    pki.write("typha.cfg", &format!("{config}ServerHandshakeTimeoutSecs = 0.2\n"));
    let mut typha = Typha::start(&pki, &[]);
    let _silent = TcpStream::connect(&typha.address).unwrap();
    let refused = typha.next_line();
    assert_eq!(refused["reason"], "timed_out");
    assert_eq!(refused["detail"], "the handshake timed out after 200ms (the peer had sent nothing)");
}

#[test]
fn a_typha_that_goes_away_breaks_the_connection_off() {
    let pki = Pki::new();
    let typha = Typha::start(&pki, &[]);
    let (felix, input) = connected_felix(&pki, &typha);
    // Killed, it can say no goodbye.
    drop(typha);
    let output = felix.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let outcome = line(&output.stderr);
    assert_eq!((&outcome["event"], &outcome["reason"]), (&json!("broken_off"), &json!("io")));
    drop(input);
}

#[cfg(unix)]
#[test]
fn signals_end_typha_cleanly() {
    for signal in ["-TERM", "-INT"] {
        let pki = Pki::new();
        let typha = Typha::start(&pki, &[]);
        let (felix, input) = connected_felix(&pki, &typha);
        assert_eq!(typha.stop(signal), Some(0));
        // Felix is told by close_notify, so that it is a clean end for it too, although its input is still open.
        assert_eq!(felix.wait_with_output().unwrap().status.code(), Some(0));
        drop(input);
    }
}

/// The lines up to the end, and the exit code.
#[cfg(unix)]
fn rest(mut typha: Typha, signals: &[&str]) -> (Vec<Value>, Option<i32>) {
    for signal in signals {
        let kill = format!("kill {signal} {}", typha.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
    let mut text = String::new();
    typha.stdout.read_to_string(&mut text).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, typha.process.wait().unwrap().code())
}

#[cfg(unix)]
#[test]
fn typha_counts_and_shuts_down_gracefully() {
    let pki = Pki::new();
    let typha = Typha::start(&pki, &["--stats-interval", "3600", "--shutdown-timeout", "1.5"]);
    let felixes = [(); 3].map(|()| connected_felix(&pki, &typha));
    let refused = felix(&pki, &typha.address, b"", &["--typha-cn", "nobody", "--typha-uri-san", "none"]);
    assert_eq!(refused.status.code(), Some(4));
    let (lines, code) = rest(typha, &["-TERM"]);
    assert_eq!(code, Some(0));
    for (felix, input) in felixes {
        assert_eq!(felix.wait_with_output().unwrap().status.code(), Some(0));
        drop(input);
    }
    let [.., shut_down, stats] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(*shut_down, json!({ "event": "shut_down", "dropped": 3, "left": 0 }));
    let mut stats = stats.clone();
    let seconds = stats.as_object_mut().unwrap().remove("handshake_seconds").unwrap();
    assert!(stats.as_object_mut().unwrap().remove("tasks").unwrap().is_u64());
    assert_eq!(seconds["count"], 3);
    assert_eq!(
        stats,
        json!({
            "event": "stats", "accepted": 3, "active": 0, "unreleased": 0, "active_by_ca": {}, "queued": 0,
            "in_handshake": 0,
            "matched": { "both": 3, "common_name": 0, "uri_san": 0 },
            "refused": {}, "failed": { "refused_by_peer": 1 }, "timed_out": {}, "shed": {},
            "probed": 0, "dropped": { "shutdown": 3 }, "lost_trust": {}, "accept_errors": 0, "lines_lost": 0,
        })
    );
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_typha_at_once() {
    let pki = Pki::new();
    let typha = Typha::start(&pki, &[]);
    let felixes: Vec<_> = (0..40).map(|_| connected_felix(&pki, &typha)).collect();
    // 40 connections at 1 a second.
    let (lines, code) = rest(typha, &["-TERM", "-INT"]);
    assert_eq!(code, Some(0));
    assert!(lines.iter().all(|line| line["event"] == "accepted"), "{:?}", lines.last());
    for (mut felix, input) in felixes {
        drop(input);
        felix.wait().unwrap();
    }
}

#[test]
fn typha_keeps_to_its_limits() {
    let pki = Pki::new();
    for limit in ["--max-connections", "--max-connections-per-address"] {
        let typha = Typha::start(&pki, &[limit, "1"]);
        let (_felix, _input) = connected_felix(&pki, &typha);
        let mut shed = TcpStream::connect(&typha.address).unwrap();
        assert_eq!(shed.read(&mut [0]).unwrap(), 0, "{limit}");
    }
    for limit in [
        "--max-connections",
        "--max-connections-per-address",
        "--max-handshakes",
        "--max-queue",
        "--stats-interval",
    ] {
        let output = run(&["typha", "--config", &pki.path("typha.cfg"), limit, "0"]);
        assert_eq!(output.status.code(), Some(2), "{limit}");
    }
}

#[test]
fn what_can_not_be_used_is_exit_code_2() {
    let pki = Pki::new();
    let config = pki.path("felix.cfg");
    let missing = pki.path("missing.pem");
    for arguments in [
        &["felix", "--connect", "127.0.0.1:1"][..],
        &["felix", "--config", &config],
        &["felix", "--connect", "127.0.0.1:1", "--config", &config, "--ca-file", &missing],
        &["felix", "--connect", "127.0.0.1:1", "--config", &missing],
        &["felix", "--no-such-flag"],
        &["felix", "--connect", "127.0.0.1", "--config", &config],
        &["felix", "--connect", ":5473", "--config", &config],
        &["felix", "--connect", "127.0.0.1:99999", "--config", &config],
        &["felix", "--connect", "127.0.0.1:1", "--config", &config, "--typha-cn", ""],
        &["felix", "--dns", "127.0.0.1", "--config", &config],
        &["felix", "--dns", "127.0.0.1:1", "--connect", "127.0.0.1:1", "--config", &config],
        &["felix", "--dns", "127.0.0.1:1", "--kubernetes-service", "a/b", "--config", &config],
        &["felix", "--connect", "127.0.0.1:1", "--kubernetes-service", "a/b", "--config", &config],
        &["felix", "--kubernetes-service", "calico-typha", "--config", &config],
        &["felix", "--kubernetes-service", "/calico-typha", "--config", &config],
        &["felix", "--kubernetes-service", "a/b/c", "--config", &config],
        &["felix", "--connect", "127.0.0.1:1", "--tries", "0", "--config", &config],
        &["felix", "--connect", "127.0.0.1:1", "--node-name", "a b", "--config", &config],
        &["typha", "--listen", "127.0.0.1"],
        &["typha", "--listen", "127.0.0.1:0"],
        &["typha", "--listen", "127.0.0.1:0", "--ca-file", &missing],
        &["verify", "--peer", "felix"],
        &["verify", "--peer", "nobody", "--ca-file", &missing, "--chain", &missing, "--cn", "x"],
        &["verify", "--peer", "felix", "--ca-file", &missing, "--chain", &missing, "--cn", "x"],
        &["verify", "--peer", "felix", "--ca-file", &missing, "--chain", &missing],
        &["check"],
        &["nothing"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn the_client_cn_slip_on_felix_is_explained() {
    let pki = Pki::new();
    let output = command(&["felix", "--connect", "127.0.0.1:1", "--config", &pki.path("felix.cfg")])
        .env("FELIX_CLIENTCN", "typha-server")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        line(&output.stderr)["detail"],
        "ClientCN (from environment variable FELIX_CLIENTCN) is a parameter of Typha; on Felix, the identity that \
         Typha must have is set by TyphaCN"
    );
}

/// Against a real API, in a test of its own; here there is none.
#[test]
fn a_kubernetes_service_takes_credentials() {
    let pki = Pki::new();
    let config = pki.path("felix.cfg");
    let arguments = ["felix", "--kubernetes-service", "calico-system/calico-typha", "--config", &config];
    let missing = pki.path("kubeconfig");
    let output = command(&arguments).env("KUBECONFIG", &missing).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let outcome = line(&output.stderr);
    let detail = outcome["detail"].as_str().unwrap();
    assert!(detail.contains("the kubeconfig can not be used") && detail.contains(&missing), "{detail}");
}

fn verify(pki: &Pki, chain: &str, more: &[&str]) -> (Option<i32>, Value) {
    let (ca, chain) = (pki.path("ca.pem"), pki.path(chain));
    let arguments = [&["verify", "--ca-file", &ca, "--chain", &chain, "--json"], more].concat();
    let output = run(&arguments);
    (output.status.code(), line(&output.stdout))
}

#[test]
fn verify_judges_a_chain() {
    let pki = Pki::new();
    let (code, accepted) = verify(&pki, "typha-client.pem", &["--peer", "felix", "--cn", "typha-client"]);
    assert_eq!(code, Some(0));
    let serial = accepted["serial"].clone();
    assert_eq!(
        without_ca(accepted),
        json!({
            "verdict": "accepted", "matched_by": "common_name", "common_name": "typha-client",
            "uri_sans": [FELIX_SPIFFE_ID],
        })
    );
    for (chain, arguments, reason) in [
        ("typha-client.pem", &["--peer", "felix", "--uri-san", "spiffe://td/x"][..], "identity_mismatch"),
        ("typha-client.pem", &["--peer", "typha", "--cn", "typha-client"], "wrong_key_usage"),
        ("typha-client.pem", &["--peer", "felix", "--cn", "x", "--at", "2199-01-01T00:00:00Z"], "expired"),
        (
            "typha-client.pem",
            &["--peer", "felix", "--cn", "x", "--at", "1999-01-01T00:00:00Z"],
            "not_yet_valid",
        ),
    ] {
        let (code, outcome) = verify(&pki, chain, arguments);
        assert_eq!(
            (code, &outcome["verdict"], &outcome["reason"], &outcome["serial"]),
            (Some(1), &json!("refused"), &json!(reason), &serial)
        );
        assert_eq!(outcome["authority_key_id"].as_str().map(str::len), Some(40), "{outcome}");
    }
    // A certificate of the CA file is accepted as itself, as in Go; another CA is not.
    let (code, outcome) = verify(&pki, "ca.pem", &["--peer", "felix", "--cn", "calico-typha-ca"]);
    assert_eq!((code, &outcome["verdict"]), (Some(0), &json!("accepted")));
    let root = TestCa::new(CertificateSpec::ca("root")).unwrap();
    let below = root.intermediate(CertificateSpec::ca("below")).unwrap();
    let chain = below.issue(CertificateSpec::leaf("x")).unwrap().chain_pem();
    let below = &chain[chain.rfind("-----BEGIN").unwrap()..];
    let (root, below) = (pki.write("root.pem", &root.root_pem()), pki.write("below.pem", below));
    let output =
        run(&["verify", "--json", "--peer", "felix", "--ca-file", &root, "--chain", &below, "--cn", "below"]);
    assert_eq!((output.status.code(), &line(&output.stdout)["reason"]), (Some(1), &json!("ca_used_as_leaf")));
    // A malformed certificate is what a peer may send: it is judged, not an error of usage.
    pki.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let (code, outcome) = verify(&pki, "broken.pem", &["--peer", "felix", "--cn", "x"]);
    assert_eq!((code, &outcome["reason"]), (Some(1), &json!("malformed_certificate")));
    let chain = pki.write("junk.pem", "what a peer can not send\n");
    let ca = pki.path("ca.pem");
    for chain in [&*chain, pki.0.path().to_str().unwrap()] {
        let output = run(&["verify", "--peer", "felix", "--ca-file", &ca, "--chain", chain, "--cn", "x"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    pki.write("empty.pem", "");
    let (code, outcome) = verify(&pki, "empty.pem", &["--peer", "felix", "--cn", "x"]);
    assert_eq!(
        (code, &outcome["reason"], &outcome["serial"]),
        (Some(1), &json!("no_certificate"), &Value::Null)
    );

    let output = run(&[
        "verify",
        "--peer",
        "felix",
        "--ca-file",
        &pki.path("ca.pem"),
        "--chain",
        &pki.path("typha-client.pem"),
        "--cn",
        "typha-client",
    ]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!(
            "accepted: Felix with CN \"typha-client\", URI SANs [\"{FELIX_SPIFFE_ID}\"] (matched by common_name)\n"
        )
    );
}

/// A good chain with more after it is judged as a whole, or not at all.
#[test]
fn verify_judges_no_part_of_a_file() {
    let pki = Pki::new();
    let [ca, chain] = ["ca.pem", "typha-client.pem"].map(|name| pki.path(name));
    let verify = |ca: &str, chain: &str, more: &[&str]| {
        let base = ["verify", "--peer", "felix", "--ca-file", ca, "--chain", chain, "--cn", "typha-client"];
        let output = run(&[&base, more].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let large = |name: &str, of: &str| {
        let path = pki.write(name, &std::fs::read_to_string(of).unwrap());
        std::fs::File::options().append(true).open(&path).unwrap().set_len((16 << 20) + 1).unwrap();
        path
    };
    let (large_ca, large_chain) = (large("large-ca.pem", &ca), large("large-chain.pem", &chain));
    let refused = |path: &str| {
        let why = "it can not be read: it is larger than 16 MiB; leave only what is needed in it";
        (Some(2), format!("typha-tls: {path}: {why}\n"))
    };
    assert_eq!(verify(&ca, &large_chain, &[]), refused(&large_chain));
    assert_eq!(verify(&ca, &large_chain, &["--at", "2026-01-31T12:00:00Z"]), refused(&large_chain));
    assert_eq!(verify(&large_ca, &chain, &[]), refused(&large_ca));
    assert_eq!(verify(&ca, &chain, &["--crl-file", &large_chain]), refused(&large_chain));
    // Behind 2 MiB of nothing.
    let good = std::fs::read_to_string(&chain).unwrap();
    let padding = "\n".repeat(2 << 20);
    let late = pki.write("late.pem", &(good.clone() + &padding + &good.replacen("\nM", "\n!", 1)));
    let (code, error) = verify(&ca, &late, &[]);
    assert!(error.contains(" is not valid base64"), "{error}");
    assert_eq!(code, Some(2));
    let several = pki.write("several.pem", &(good.clone() + &padding + &good.repeat(50)));
    let output = run(&[
        "verify",
        "--json",
        "--peer",
        "felix",
        "--ca-file",
        &ca,
        "--chain",
        &several,
        "--cn",
        "typha-client",
    ]);
    assert_eq!((output.status.code(), &line(&output.stdout)["reason"]), (Some(1), &json!("too_complex")));

    let config = pki.path("typha.cfg");
    let at = |flag: &str, path: &str| check(&["typha", "--config", &config, flag, path]);
    let found = |finding: &str| (Some(1), vec![("error".to_owned(), finding.to_owned())]);
    assert_eq!(at("--ca-file", &large_ca), found("ca_file"));
    assert_eq!(at("--cert-file", &large_chain), found("cert_file_and_key_file"));
    assert_eq!(at("--with-ca-file", &large_ca), found("with_ca_file"));
}

#[test]
fn verify_says_that_a_required_name_is_doubtful() {
    let pki = Pki::new();
    let (ca, chain) = (pki.path("ca.pem"), pki.path("typha-client.pem"));
    let verify = |more: &[&str]| {
        let base =
            ["verify", "--peer", "felix", "--ca-file", &ca, "--chain", &chain, "--cn", "typha-client\n"];
        let output = run(&[&base, more].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let doubt = "the required Common Name \"typha-client\\n\" ends in a line break, and a peer must have exactly this \
                 name; if that is not meant, make the value without one: echo -n, or printf %s";
    let detail = format!(
        "peer certificate does not have required CN: required CN \"typha-client\\n\", but presented CN \
         \"typha-client\", URI SANs [\"{FELIX_SPIFFE_ID}\"]; correct --cn (see doubtful_identity)"
    );
    let text = format!("refused (identity_mismatch): {detail}\ndoubtful_identity: {doubt}\n");
    assert_eq!(verify(&[]), (Some(1), text));
    let (code, json) = verify(&["--json"]);
    let line = line(json.as_bytes());
    assert_eq!(
        (code, &line["doubtful_identity"], &line["detail"]),
        (Some(1), &json!([doubt]), &json!(detail))
    );
    // Another name matches.
    let (code, text) = verify(&["--uri-san", FELIX_SPIFFE_ID]);
    let accepted = "accepted: Felix with CN \"typha-client\", URI SANs ";
    assert!(
        text.starts_with(accepted) && text.ends_with(&format!("\ndoubtful_identity: {doubt}\n")),
        "{text}"
    );
    let (_, json) = verify(&["--json", "--uri-san", FELIX_SPIFFE_ID]);
    assert_eq!((code, &crate::ends::line(json.as_bytes())["doubtful_identity"]), (Some(0), &json!([doubt])));
}

#[test]
fn verify_prints_text_or_json() {
    let pki = Pki::new();
    let (ca, chain) = (pki.path("ca.pem"), pki.path("typha-client.pem"));
    let verify = |more: &[&str]| {
        let base = ["verify", "--peer", "felix", "--ca-file", &ca, "--chain", &chain, "--cn", "nobody"];
        let output = run(&[&base, more].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = verify(&[]);
    assert!(text.starts_with("refused (identity_mismatch): peer certificate does not have "), "{text}");
    assert_eq!((code, verify(&["--format", "text"])), (Some(1), (Some(1), text)));
    let (code, json) = verify(&["--format", "json"]);
    assert_eq!(line(json.as_bytes())["verdict"], "refused");
    assert_eq!((code, verify(&["--json"])), (Some(1), (Some(1), json)));
    assert_eq!(verify(&["--json", "--format", "text"]).0, Some(2));
}

/// Nobody reads what the command prints.
#[cfg(unix)]
#[test]
fn a_reader_that_does_not_read_stops_nothing() {
    let pki = Pki::new();
    let typha = Typha::start(&pki, &[]);
    // More lines than the pipe and the command hold together; from many addresses, since one that keeps failing is
    // slowed down.
    let address: std::net::SocketAddr = typha.address.parse().unwrap();
    for number in 0..2500_u16 {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let [high, low] = (number / 8).to_be_bytes();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 1 + high, low], 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        TcpStream::from(socket).write_all(b"no TLS").unwrap();
    }
    let output = felix(&pki, &typha.address, b"", &["--typha-cn", "nobody", "--typha-uri-san", "none"]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(typha.stop("-TERM"), Some(0));

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let arguments = [
        "verify",
        "--peer",
        "felix",
        "--ca-file",
        &pki.path("ca.pem"),
        "--chain",
        &pki.path("ca.pem"),
        "--cn",
        "x",
    ];
    assert_eq!(command(&arguments).stdout(writer).status().unwrap().code(), Some(1));
}

#[cfg(unix)]
#[test]
fn felix_says_what_broke_on_its_own_end() {
    let pki = Pki::new();
    let typha = Typha::start(&pki, &[]);
    let config = pki.path("felix.cfg");
    let arguments = ["felix", "--connect", &typha.address, "--config", &config];
    let directory = std::fs::File::open(pki.0.path()).unwrap();
    let output = command(&arguments).stdin(directory).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let outcome = line(&output.stderr);
    assert!(outcome["detail"].as_str().unwrap().starts_with("reading stdin: "), "{outcome}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut felix =
        command(&arguments).stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = felix.stdin.take().unwrap();
    input.write_all(b"x").unwrap();
    let output = felix.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let outcome = line(&output.stderr);
    assert!(outcome["detail"].as_str().unwrap().starts_with("writing stdout: "), "{outcome}");
}

#[test]
fn an_address_in_use_is_named() {
    let pki = Pki::new();
    let typha = Typha::start(&pki, &[]);
    let output = run(&["typha", "--listen", &typha.address, "--config", &pki.path("typha.cfg")]);
    assert_eq!(output.status.code(), Some(5));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with(&format!("typha-tls: can not listen on {}: ", typha.address)), "{text}");
}

/// The findings of `typha-tls check`, and its exit code.
fn check(arguments: &[&str]) -> (Option<i32>, Vec<(String, String)>) {
    let output = run(&[&["check", "--format", "json"], arguments].concat());
    let findings = lines(&output.stdout)
        .iter()
        .filter(|line| line["level"] != "info")
        .map(|line| {
            assert!(
                line["detail"].is_string() && line["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
                "{line}"
            );
            (line["level"].as_str().unwrap().to_owned(), line["finding"].as_str().unwrap().to_owned())
        })
        .collect();
    (output.status.code(), findings)
}

#[test]
fn check_finds_nothing_in_a_good_set() {
    let pki = Pki::new();
    let (typha, felix) = (pki.path("typha.cfg"), pki.path("felix.cfg"));
    assert_eq!(check(&["typha", "--config", &typha, "--against", &felix]), (Some(0), vec![]));
    assert_eq!(check(&["felix", "--config", &felix, "--against", &typha]), (Some(0), vec![]));
    let output = run(&["check", "felix", "--format", "json", "--config", &felix, "--against", &typha]);
    let facts: Vec<_> =
        lines(&output.stdout).iter().map(|line| line["fact"].as_str().unwrap().to_owned()).collect();
    let expected = [
        "required_peer",
        "tls_policy",
        "trusted_ca",
        "days_left",
        "own_identity",
        "own_chain",
        "against",
        "against",
    ];
    assert_eq!(facts, expected);
}

#[test]
fn check_reports_settings_that_have_no_effect() {
    let pki = Pki::new();
    let (typha, felix) = (pki.path("typha.cfg"), pki.path("felix.cfg"));
    let found = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut check = command(&[&["check", "--format", "json"], arguments].concat());
        let output = check.envs(environment.iter().copied()).output().unwrap();
        let mut found = lines(&output.stdout);
        let policy = found.iter().find(|line| line["fact"] == "tls_policy").unwrap().clone();
        found.retain(|line| line["level"] != "info");
        (output.status.code(), found, policy)
    };
    let good = std::fs::read_to_string(&typha).unwrap();
    pki.write("typha.cfg", &(good.clone() + "TLS_MIN_VERSION = 1.3\nClientURISANs = x\nLogFilePath = /x\n"));
    let from = format!("file {typha}");
    let detail = "\"ClientURISANs\" (from file CFG) has no effect: there is no parameter of this name";
    let expected = json!({
        "level": "warning", "finding": "ineffective_parameter", "about": from,
        "detail": format!("{}; set ClientURISAN if that is meant", detail.replace("CFG", &typha)),
        "fix": "set ClientURISAN if that is meant",
    });
    let (code, lines, policy) = found(&["typha", "--config", &typha], &[("TYPHA_SERVICE_HOST", "x")]);
    assert_eq!((code, lines.len(), &lines[1]), (Some(1), 2, &expected));
    assert_eq!(lines[0]["fix"], "set the environment variable TLS_MIN_VERSION if that is meant");
    assert_eq!([&policy["tls_min_version"], &policy["tls_max_version"]], ["1.2", "1.3"]);
    assert_eq!(policy["alpn"], json!([]));
    // The file of the other end is read, too.
    let (code, lines, _) = found(&["felix", "--config", &felix, "--against", &typha], &[]);
    assert_eq!((code, lines.len(), &lines[1]), (Some(1), 2, &expected));
    pki.write("typha.cfg", &good);
    let (code, lines, policy) = found(&["typha", "--config", &typha], &[("TLS_MIN_VERSION", "1.3")]);
    assert_eq!((code, &*lines), (Some(0), &[][..]));
    assert_eq!(
        [&policy["tls_min_version"], &policy["cipher_suites"][0]],
        [&json!("1.3"), &json!("TLS_AES_128_GCM_SHA256")]
    );
}

#[test]
fn check_reports_each_finding() {
    let pki = Pki::new();
    let felix = pki.path("felix.cfg");
    let ca = TestCa::new(CertificateSpec::ca("other CA")).unwrap();
    let hour = Duration::from_secs(3600);
    let (from, until) = (SystemTime::now() - 2 * hour, SystemTime::now() - hour);
    let leaf =
        ca.issue(CertificateSpec::leaf("someone").purpose(Purpose::ServerAuth).valid(from, until)).unwrap();
    let (chain, key) = (pki.write("bad.pem", &leaf.chain_pem()), pki.write("bad-key.pem", &leaf.key_pem()));
    open_to_all(Path::new(&key));
    let plain = TestCa::new(CertificateSpec::ca("plain").without_ca_flag()).unwrap();
    let bundle = pki.write("bundle.pem", &(plain.root_pem() + &ca.root_pem()));
    let arguments = [
        "felix",
        "--config",
        &felix,
        "--cert-file",
        &chain,
        "--key-file",
        &key,
        "--ca-file",
        &bundle,
        "--against",
        &pki.path("typha.cfg"),
    ];
    let (code, mut findings) = check(&arguments);
    findings.retain(|(_, finding)| cfg!(unix) || finding != "key_accessible_by_others");
    let expected = [
        ("warning", "not_a_ca"),
        ("error", "leaf_expired"),
        ("error", "leaf_lacks_purpose"),
        ("warning", "key_accessible_by_others"),
        ("error", "against"),
    ];
    let expected: Vec<_> =
        expected.iter().map(|(level, finding)| ((*level).to_owned(), (*finding).to_owned())).collect();
    assert_eq!((code, findings), (Some(1), expected));
}

/// A leaf that expired an hour ago, with its key.
#[cfg(unix)]
fn expired(pki: &Pki) -> (String, String) {
    let ca = TestCa::new(CertificateSpec::ca("other CA")).unwrap();
    let (hour, now) = (Duration::from_secs(3600), SystemTime::now());
    let spec = CertificateSpec::leaf("typha-server").valid(now - 2 * hour, now - hour);
    let leaf = ca.issue(spec.purpose(Purpose::ServerAuth)).unwrap();
    let (chain, key) = (pki.write("old.pem", &leaf.chain_pem()), pki.write("old-key.pem", &leaf.key_pem()));
    close_to_others(Path::new(&key));
    (chain, key)
}

#[cfg(unix)]
#[test]
fn a_daemon_with_an_expired_certificate_logs_it_once() {
    let pki = Pki::new();
    let (chain, key) = expired(&pki);
    let config = pki.path("typha.cfg");
    let start = |more: &[&str]| {
        let base = [
            "typha",
            "--listen",
            "127.0.0.1:0",
            "--config",
            &config,
            "--cert-file",
            &chain,
            "--key-file",
            &key,
        ];
        let mut process =
            command(&[&base, more].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = String::new();
        let mut reader = BufReader::new(process.stdout.take().unwrap());
        reader.read_line(&mut stdout).unwrap();
        // A process that is killed may lose its last lines.
        let kill = format!("kill -TERM {}", process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let output = process.wait_with_output().unwrap();
        assert_eq!(line(stdout.as_bytes())["event"], "listening");
        String::from_utf8(output.stderr).unwrap()
    };
    let log = start(&[]);
    let warning = "our certificate CN=\"typha-server\" expired at ";
    assert_eq!((log.matches(warning).count(), log.lines().count()), (1, 1), "{log}");
    assert_eq!(start(&["--log", "off"]), "");
}

#[test]
fn check_reports_a_certificate_that_is_due() {
    let pki = Pki::new();
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let day = Duration::from_secs(24 * 3600);
    let (from, until) = (SystemTime::now() - 30 * day, SystemTime::now() + 13 * day);
    let leaf = ca.issue(CertificateSpec::leaf("x").purpose(Purpose::ClientAuth).valid(from, until)).unwrap();
    let (chain, key) = (pki.write("due.pem", &leaf.chain_pem()), pki.write("due-key.pem", &leaf.key_pem()));
    close_to_others(Path::new(&key));
    let felix = pki.path("felix.cfg");
    assert_eq!(
        check(&["felix", "--config", &felix, "--cert-file", &chain, "--key-file", &key]),
        (Some(1), vec![("warning".to_owned(), "leaf_expires_soon".to_owned())])
    );
}

#[test]
fn check_needs_no_key_of_the_other_end() {
    let pki = Pki::new();
    std::fs::remove_file(pki.path("typha-server-key.pem")).unwrap();
    let (felix, typha) = (pki.path("felix.cfg"), pki.path("typha.cfg"));
    assert_eq!(check(&["felix", "--config", &felix, "--against", &typha]), (Some(0), vec![]));
}

#[test]
fn a_wrong_required_name_is_found_on_both_ends() {
    let pki = Pki::new();
    let (felix, typha) = (pki.path("felix.cfg"), pki.path("typha.cfg"));
    let against = |arguments: &[&str]| {
        let output = run(&[&["check", "--format", "json"], arguments].concat());
        let mut found = lines(&output.stdout);
        found.retain(|line| line["level"] != "info");
        assert_eq!((output.status.code(), found.len()), (Some(1), 1), "{found:?}");
        assert_eq!((&found[0]["level"], &found[0]["finding"]), (&json!("error"), &json!("against")));
        (found[0]["detail"].as_str().unwrap().to_owned(), found[0]["fix"].as_str().unwrap().to_owned())
    };
    let names = format!(", but presented CN \"typha-client\", URI SANs [\"{FELIX_SPIFFE_ID}\"]");
    let (detail, fix) = against(&[
        "typha",
        "--config",
        &typha,
        "--client-cn",
        "typha-clent",
        "--client-uri-san",
        "none",
        "--against",
        &felix,
    ]);
    let expected = "we would refuse Felix (identity_mismatch): peer certificate does not have required CN: required CN \
                    \"typha-clent\"";
    assert_eq!(detail, format!("{expected}{names}; {fix}"));
    assert_eq!(fix, "re-issue it with a name that is required, or set ClientCN to a name that it has");
    // The same mistake, seen from Felix's end.
    let text = std::fs::read_to_string(&typha).unwrap();
    let text = text.lines().filter(|line| !line.starts_with("Client")).collect::<Vec<_>>().join("\n");
    let wrong = pki.write("wrong.cfg", &(text + "\nClientCN = typha-clent\n"));
    let (detail, fix) = against(&["felix", "--config", &felix, "--against", &wrong]);
    assert_eq!(
        detail,
        format!("{}{names}; {fix}", expected.replace("we would refuse Felix", "Typha would refuse us"))
    );
    let expected = "or issue our certificate with a name that is required there";
    assert_eq!(fix, format!("correct ClientCN in {wrong}, {expected}"));
}

#[test]
fn check_reports_what_can_not_be_used() {
    let pki = Pki::new();
    let felix = pki.path("felix.cfg");
    let error = |finding: &str| (Some(1), vec![("error".to_owned(), finding.to_owned())]);
    assert_eq!(check(&["felix"]), error("configuration"));
    assert_eq!(check(&["felix", "--config", &pki.path("missing.cfg")]), error("configuration"));
    assert_eq!(
        check(&["felix", "--config", &felix, "--ca-file", &pki.path("typha-client-key.pem")]),
        error("ca_file")
    );
    assert_eq!(
        check(&["felix", "--config", &felix, "--key-file", &pki.path("typha-server-key.pem")]),
        error("cert_file_and_key_file")
    );
    assert_eq!(
        check(&["felix", "--config", &felix, "--against", &pki.path("missing.cfg")]),
        error("against")
    );
    // Both halves of a wrong pair of files are reported at once.
    let (code, findings) = check(&[
        "felix",
        "--config",
        &felix,
        "--ca-file",
        &pki.path("felix.cfg"),
        "--cert-file",
        &pki.path("felix.cfg"),
    ]);
    assert_eq!((code, findings.len()), (Some(1), 2));
}

#[test]
fn pki_says_what_to_set_and_overwrites_nothing() {
    let dir = TempDir::new().unwrap();
    let target = dir.path().join("new/pki");
    let output = run(&["pki", "--format", "json", target.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let lines = lines(&output.stdout);
    let created: Vec<PathBuf> = lines
        .iter()
        .filter(|line| line["event"] == "created")
        .map(|line| line["file"].as_str().unwrap().into())
        .collect();
    assert_eq!(created.len(), 8);
    for file in &created {
        assert!(file.is_file());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let others = file.metadata().unwrap().permissions().mode() & 0o077;
            assert_eq!(others == 0, file.to_str().unwrap().ends_with("key.pem"), "{}", file.display());
        }
    }
    let settings: Vec<_> = lines.iter().filter(|line| line["event"] == "settings").collect();
    assert_eq!(settings.len(), 2);
    // The printed variables are enough to run both daemons.
    let variables = |daemon: &Value| -> Vec<(String, String)> {
        daemon["environment"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap().split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    for (settings, end) in settings.iter().zip(["typha", "felix"]) {
        assert_eq!(settings["daemon"], end);
        let output = command(&["check", end]).envs(variables(settings)).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }

    let odd = dir.path().join("with space # and more");
    assert_eq!(run(&["pki", odd.to_str().unwrap()]).status.code(), Some(2));
    assert!(!odd.exists());

    let before = std::fs::read(target.join("ca.pem")).unwrap();
    let output = run(&["pki", target.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read(target.join("ca.pem")).unwrap(), before);
}

#[test]
fn pki_prints_text_for_people() {
    let dir = TempDir::new().unwrap();
    let target = dir.path().join("pki").to_str().unwrap().to_owned();
    let output = run(&["pki", &target]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap().replace(&target, "DIR");
    let expected = "created DIR/ca.pem\ncreated DIR/ca-key.pem\ncreated DIR/typha-server.pem\n\
                    created DIR/typha-server-key.pem\ncreated DIR/typha-client.pem\ncreated DIR/typha-client-key.pem\n\
                    created DIR/typha.cfg\ncreated DIR/felix.cfg\n\n\
                    settings of typha: --config DIR/typha.cfg, or these environment variables:\n  \
                    TYPHA_CAFILE=DIR/ca.pem\n  TYPHA_SERVERCERTFILE=DIR/typha-server.pem\n  \
                    TYPHA_SERVERKEYFILE=DIR/typha-server-key.pem\n  TYPHA_CLIENTCN=typha-client\n  \
                    TYPHA_CLIENTURISAN=spiffe://cluster.local/ns/calico-system/sa/calico-node\n\n\
                    settings of felix: --config DIR/felix.cfg, or these environment variables:\n";
    assert!(text.starts_with(expected), "{text}");
}

fn open_to_all(path: &Path) {
    set_mode(path, 0o644);
}

fn close_to_others(path: &Path) {
    set_mode(path, 0o600);
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) {}

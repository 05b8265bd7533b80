//! Peers whose certificates have many and long names: the lines about them stay short.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use typha_tls::RequiredIdentity;
use typha_tls::testing::{CertificateSpec, Purpose, TestLeaf, TestPki, connector};

use crate::unread::{Process, command};

/// The bound on a line about a connection.
const MAX_LINE: usize = 5 * 1024;

const REQUIRED: &str = "urn:required";

/// One with many names, and one with a long one; both have the required name, as the last.
fn specs(purpose: Purpose) -> [CertificateSpec; 2] {
    let many = (0..500).fold(CertificateSpec::leaf("many"), |leaf, n| leaf.uri_san(&format!("urn:{n:080}")));
    // The text has quotation marks and backslashes, which JSON escapes again.
    let long =
        CertificateSpec::leaf(&"\u{1}\"\\".repeat(10_000)).uri_san(&format!("urn:{}", "\"".repeat(10_000)));
    [many, long].map(|spec| spec.uri_san(REQUIRED).purpose(purpose))
}

fn write(dir: &Path, name: &str, contents: &str) -> String {
    std::fs::write(dir.join(name), contents).unwrap();
    dir.join(name).to_str().unwrap().to_owned()
}

/// The files of an end, and its configuration with these names of the parameters.
fn files(dir: &Path, pki: &TestPki, leaf: &TestLeaf, names: [&str; 3]) -> String {
    let ca = write(dir, "ca.pem", &pki.ca.root_pem());
    let [chain, key] = [(names[1], leaf.chain_pem()), (names[2], leaf.key_pem())]
        .map(|(name, contents)| write(dir, &format!("{name}.pem"), &contents));
    format!("{}={ca}\n{}={chain}\n{}={key}\n", names[0], names[1], names[2])
}

#[tokio::test]
async fn the_lines_of_typha_are_bounded() {
    let (pki, dir) = (TestPki::new().unwrap(), TempDir::new().unwrap());
    let files = files(dir.path(), &pki, &pki.typha, ["CAFile", "ServerCertFile", "ServerKeyFile"]);
    let config = write(dir.path(), "typha.cfg", &format!("{files}ClientURISAN={REQUIRED}\n"));
    let mut typha =
        command(&["typha", "--listen", "127.0.0.1:0", "--reload-interval", "0", "--config", &config]);
    let mut typha = Process(typha.stdout(Stdio::piped()).spawn().unwrap());
    let mut stdout = BufReader::new(typha.0.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.len() <= MAX_LINE, "{} bytes: {line}", line.len());
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let listening = line();
    let address = listening["address"].as_str().unwrap();
    let felixes = specs(Purpose::ClientAuth).map(|spec| {
        let required = RequiredIdentity::common_name("typha-server").unwrap();
        connector(&pki.ca, &pki.ca.issue(spec).unwrap(), required).unwrap()
    });
    let connect = |felix: usize| {
        let felix = felixes[felix].clone();
        async move { felix.connect_tcp(TcpStream::connect(address).await.unwrap()).await }
    };
    let many = connect(0).await.unwrap();
    let accepted = line();
    let uris = [0, 1].map(|n| format!("urn:{n:080}"));
    assert_eq!(
        [&accepted["event"], &accepted["uri_sans"], &accepted["uri_sans_omitted"]],
        [&json!("accepted"), &json!([uris[0], uris[1], REQUIRED]), &json!(498)]
    );
    let long = connect(1).await.unwrap();
    let accepted = line();
    let name = accepted["common_name"].as_str().unwrap();
    assert!(name.starts_with("\u{1}\"\\\u{1}") && name.ends_with(" bytes more)"), "{name}");
    assert_eq!((&accepted["uri_sans"][1], accepted.get("uri_sans_omitted")), (&json!(REQUIRED), None));

    write(dir.path(), "typha.cfg", &format!("{files}ClientURISAN=urn:other\n"));
    typha.signal(Signal::HUP);
    let mut events = [line(), line(), line()].map(|line| line["event"].as_str().unwrap().to_owned());
    events.sort();
    assert_eq!(events, ["lost_trust", "lost_trust", "reloaded"]);
    for felix in [0, 1] {
        let _ = connect(felix).await;
        let refused = line();
        assert_eq!(
            [&refused["event"], &refused["reason"]],
            [&json!("refused"), &json!("identity_mismatch")],
            "{refused}"
        );
    }
    drop((many, long));
}

#[test]
fn the_lines_of_felix_are_bounded() {
    for spec in specs(Purpose::ServerAuth) {
        let (pki, dir) = (TestPki::new().unwrap(), TempDir::new().unwrap());
        let (typha, felix) = (dir.path().join("typha"), dir.path().join("felix"));
        std::fs::create_dir(&typha).unwrap();
        std::fs::create_dir(&felix).unwrap();
        let leaf = pki.ca.issue(spec).unwrap();
        let text = files(&typha, &pki, &leaf, ["CAFile", "ServerCertFile", "ServerKeyFile"]);
        let typha = write(&typha, "typha.cfg", &format!("{text}ClientCN=typha-client\n"));
        let text = files(&felix, &pki, &pki.felix, ["TyphaCAFile", "TyphaCertFile", "TyphaKeyFile"]);
        let felix = write(&felix, "felix.cfg", &format!("{text}TyphaURISAN={REQUIRED}\n"));
        let mut typha = command(&["typha", "--listen", "127.0.0.1:0", "--config", &typha]);
        let mut typha = Process(typha.stdout(Stdio::piped()).spawn().unwrap());
        let mut first = String::new();
        let mut stdout = BufReader::new(typha.0.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
        let listening: Value = serde_json::from_str(&first).unwrap();
        let address = listening["address"].as_str().unwrap();
        for (required, code, bound) in [(REQUIRED, 0, MAX_LINE), ("urn:other", 4, 2 * MAX_LINE)] {
            let arguments = [
                "--log",
                "off",
                "felix",
                "--connect",
                address,
                "--config",
                &felix,
                "--typha-uri-san",
                required,
            ];
            let output = command(&arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            assert!(output.stderr.len() <= bound, "{} bytes", output.stderr.len());
        }
    }
}

#[test]
fn verify_prints_all_names_if_asked_to() {
    let (pki, dir) = (TestPki::new().unwrap(), TempDir::new().unwrap());
    let ca = write(dir.path(), "ca.pem", &pki.ca.root_pem());
    let [_, long] = specs(Purpose::ClientAuth).map(|spec| pki.ca.issue(spec).unwrap());
    let long = write(dir.path(), "long.pem", &long.chain_pem());
    let verify = |required: &str, more: &[&str]| {
        let base = ["verify", "--peer", "felix", "--ca-file", &ca, "--chain", &long, "--uri-san", required];
        let output = command(&[&base, more].concat()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let uri = format!("urn:{}", "\"".repeat(10_000));
    let name = "\u{1}\"\\".repeat(10_000);
    for (required, code) in [(REQUIRED, 0), ("urn:other", 1)] {
        let (cut, json) = verify(required, &["--json"]);
        assert_eq!((cut, json.len() <= MAX_LINE), (Some(code), true), "{}", json.len());
        let (_, json) = verify(required, &["--json", "--all-names"]);
        let line: Value = serde_json::from_str(&json).unwrap();
        assert_eq!([&line["common_name"], &line["uri_sans"]], [&json!(name), &json!([uri, REQUIRED])]);
        assert_eq!(line.get("uri_sans_omitted"), None);
        let (_, text) = verify(required, &["--all-names"]);
        let lines: Vec<_> = text.lines().skip(1).collect();
        let name = "\\u{1}\"\\".repeat(10_000);
        assert_eq!(lines, [format!("CN: {name}"), format!("URI SAN: {uri}"), format!("URI SAN: {REQUIRED}")]);
    }
}

//! `typha-tls verify --host`: the chain of a server that is verified for the host that was dialled.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa};

/// A CA, and the chain of a server with many names.
struct Server(TempDir);

impl Server {
    fn new() -> Self {
        let server = Self(TempDir::new().unwrap());
        let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
        let spec = CertificateSpec::leaf("etcd").dns_san("etcd-1.example").ip_san([192, 0, 2, 1].into());
        let leaf = ca.issue(spec.purpose(Purpose::ServerAuth)).unwrap();
        let bare = ca.issue(CertificateSpec::leaf("etcd-1.example")).unwrap();
        server.write("ca.pem", ca.root_pem());
        server.write("server.pem", leaf.chain_pem());
        server.write("bare.pem", bare.chain_pem());
        server.write(
            "client.pem",
            ca.issue(CertificateSpec::leaf("x").purpose(Purpose::ClientAuth)).unwrap().chain_pem(),
        );
        server
    }

    fn write(&self, name: &str, contents: String) {
        std::fs::write(self.0.path().join(name), contents).unwrap();
    }

    /// The exit code, stdout and stderr.
    fn verify(&self, chain: &str, more: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
        command.args(["verify", "--ca-file", "ca.pem", "--chain", chain]).args(more);
        let output = command.current_dir(&self.0).env_clear().output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, chain: &str, more: &[&str]) -> (Option<i32>, Value) {
        let (code, line, _) = self.verify(chain, &[&["--format", "json"], more].concat());
        (code, serde_json::from_str(&line).unwrap())
    }
}

#[test]
fn a_server_that_has_the_host_is_accepted() {
    let server = Server::new();
    for (host, shown) in [("ETCD-1.example.", "etcd-1.example"), ("192.0.2.1", "192.0.2.1")] {
        let (code, text, _) = server.verify("server.pem", &["--host", host]);
        assert_eq!(
            (code, &*text),
            (Some(0), &*format!("accepted: server {shown} with CN \"etcd\", no URI SAN\n"))
        );
        let (code, mut line) = server.json("server.pem", &["--host", host]);
        assert_eq!(code, Some(0));
        crate::remove_leaf_numbers(&mut line);
        assert!(
            line.as_object_mut().unwrap().remove("ca").unwrap().as_str().unwrap().starts_with("CN=\"ca\" (")
        );
        assert_eq!(
            line,
            json!({
                "verdict": "accepted", "matched_by": "host", "host": shown, "common_name": "etcd", "uri_sans": [],
            })
        );
    }
}

#[test]
fn a_server_without_the_host_is_refused() {
    let server = Server::new();
    let names = "it is valid for the DNS names [\"etcd-1.example\"] and the IP addresses [\"192.0.2.1\"]";
    let detail = format!(
        "the server's certificate is not valid for the host etcd-2.example: {names}; issue it again with \
         subjectAltName = DNS:etcd-2.example, or connect to a host that it has"
    );
    let (code, text, _) = server.verify("server.pem", &["--host", "etcd-2.example"]);
    assert_eq!((code, text), (Some(1), format!("refused (host_mismatch): {detail}\n")));
    let (code, line) = server.json("server.pem", &["--host", "etcd-2.example"]);
    assert_eq!(
        (code, [&line["verdict"], &line["reason"], &line["detail"]]),
        (Some(1), [&json!("refused"), &json!("host_mismatch"), &json!(detail)])
    );
    assert_eq!(line["serial"].as_str().map(str::is_empty), Some(false), "{line}");
    // A Common Name does not count, and neither does a certificate of a client.
    for (chain, reason) in [("bare.pem", "host_mismatch"), ("client.pem", "wrong_key_usage")] {
        let (code, line) = server.json(chain, &["--host", "etcd-1.example"]);
        assert_eq!((code, &line["reason"]), (Some(1), &json!(reason)), "{chain}");
    }
    // The time and the lists are those of the other rule.
    let (_, line) = server.json("server.pem", &["--host", "etcd-1.example", "--at", "2199-01-01T00:00:00Z"]);
    assert_eq!(line["reason"], "expired");
    let (code, _, error) = server.verify("server.pem", &["--host", "etcd-1.example", "--crl-file", "ca.pem"]);
    assert!(error.starts_with("typha-tls: ca.pem: "), "{error}");
    assert_eq!(code, Some(2));
}

#[test]
fn all_names_are_those_of_hosts_too() {
    let server = Server::new();
    let arguments = ["--host", "etcd-1.example", "--all-names"];
    let (_, text, _) = server.verify("server.pem", &arguments);
    let names: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(names, ["CN: etcd", "DNS name: etcd-1.example", "IP address: 192.0.2.1"]);
    let (_, line) = server.json("server.pem", &arguments);
    assert_eq!(
        (&line["dns_names"], &line["ip_addresses"]),
        (&json!(["etcd-1.example"]), &json!(["192.0.2.1"]))
    );
}

#[test]
fn a_host_takes_the_place_of_the_peer_and_its_names() {
    let server = Server::new();
    let problem = |more: &[&str]| {
        let (code, stdout, stderr) = server.verify("server.pem", more);
        assert_eq!((code, &*stdout), (Some(2), ""), "{more:?}");
        stderr
    };
    for more in [["--peer", "typha"], ["--cn", "etcd"], ["--uri-san", "urn:x"]] {
        let error = problem(&[&["--host", "etcd-1.example"], &more[..]].concat());
        assert!(error.contains(&format!("cannot be used with '{}", more[0])), "{error}");
    }
    assert!(problem(&["--cn", "etcd"]).contains("--peer <PEER>"));
    assert!(problem(&["--peer", "typha"]).contains("--host <NAME>"));
    let error = problem(&["--host", "*.example"]);
    assert!(error.contains("the host \"*.example\" is a wildcard; give the name of one server"), "{error}");
    assert!(problem(&["--host", "etcd-1.example:2379"]).contains("leave out the port"));
}

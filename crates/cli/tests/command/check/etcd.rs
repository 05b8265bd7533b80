//! `check etcd`: the parameters, the files, the user, and what the members say.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};

use super::server::findings;
use super::site::{DAY, ca, ca_name, close_to_others, detail, name, only, spec};

/// The files of a client of etcd.
struct Site {
    dir: TempDir,
    ca: TestCa,
}

impl Site {
    fn new() -> Self {
        let site = Self { dir: TempDir::new().unwrap(), ca: ca("etcd-ca") };
        site.write("ca.pem", &site.ca.root_pem());
        site.issue(spec("felix", Purpose::ClientAuth));
        site
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, contents: &str) -> String {
        std::fs::write(self.path(name), contents).unwrap();
        self.path(name)
    }

    fn issue(&self, spec: CertificateSpec) {
        let leaf = self.ca.issue(spec).unwrap();
        self.write("client.pem", &leaf.chain_pem());
        close_to_others(self.write("client.key", &leaf.key_pem()));
    }

    /// Felix's file, with these lines in place of the usual endpoint.
    fn felix(&self, endpoints: &str) -> String {
        let text = format!(
            "{endpoints}\nEtcdCaFile={}\nEtcdCertFile={}\nEtcdKeyFile={}\n",
            self.path("ca.pem"),
            self.path("client.pem"),
            self.path("client.key")
        );
        self.write("felix.cfg", &text)
    }

    /// The exit code and the output of `check etcd`.
    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
        command.args(["check", "etcd"]).args(arguments).env_clear().envs(variables.iter().copied());
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap().replace(&self.path(""), "DIR/");
        (output.status.code(), text)
    }

    fn check(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, Vec<Value>) {
        let (code, text) = self.run(&[&["--format", "json"], arguments].concat(), variables);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &lines {
            assert!(
                line["level"] == "info" || line["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
                "{line}"
            );
        }
        (code, lines)
    }
}

fn labels(expected: &[&str]) -> Vec<String> {
    expected.iter().map(|label| (*label).to_owned()).collect()
}

#[test]
fn the_facts_of_a_good_configuration() {
    let site = Site::new();
    let config = site.felix("EtcdEndpoints=https://etcd-1.example:2379,https://[2001:db8::2]:2379");
    let (code, text) = site.run(&["--config", &config], &[]);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("- tls_policy: ")).collect();
    let trusted = format!("- trusted_ca: {}", ca_name(&site.ca.root_pem()));
    assert_eq!(
        (code, lines),
        (
            Some(0),
            vec![
                "- endpoint: https://etcd-1.example:2379 must present a certificate for the host etcd-1.example",
                "- endpoint: https://[2001:db8::2]:2379 must present a certificate for the host 2001:db8::2",
                &*trusted,
                lines_days(&text),
                "- own_chain: etcd's --trusted-ca-file must have the CA CN=\"etcd-ca\", which issued CN=\"felix\"",
                "- user: if etcd's authentication is on, we are its user \"felix\": the Common Name of our certificate",
                "",
                "no errors, no warnings",
            ]
        )
    );
}

/// The line with the days, of which one may just have ended.
fn lines_days(text: &str) -> &str {
    let line = text.lines().find(|line| line.starts_with("- days_left: ")).unwrap();
    assert!(["59 days", "60 days"].iter().any(|days| line.ends_with(days)), "{line}");
    line
}

#[test]
fn what_calico_ignores_is_a_finding_with_a_remedy() {
    let site = Site::new();
    let check = |endpoints: &str| site.check(&["--config", &site.felix(endpoints)], &[]);
    for (endpoints, label, fix) in [
        ("EtcdEndpoints=http://a:2379", "clear_text", "write https://"),
        ("EtcdEndpoints=https://a:2379,http://b:2379", "mixed_schemes", "write https:// for all"),
        (
            "EtcdEndpoints=",
            "no_endpoint",
            "set EtcdEndpoints to https://HOST:PORT; separate several by commas",
        ),
        (
            "EtcdEndpoints=https://u:secret@a:2379",
            "value",
            "write https://HOST:PORT, and set user and password by their own parameters",
        ),
    ] {
        let (code, lines) = check(endpoints);
        assert_eq!((code, lines.iter().map(name).collect()), (Some(1), vec![label]), "{endpoints}");
        assert_eq!(lines[0]["fix"], fix);
        assert!(!lines[0].to_string().contains("secret"), "{}", lines[0]);
    }
    std::fs::remove_file(site.path("ca.pem")).unwrap();
    let (_, lines) = check("EtcdEndpoints=https://a:2379");
    assert_eq!(findings(&lines), labels(&["error unreadable_file"]));
    assert_eq!(lines[0]["fix"], "correct the path or the permissions");
}

#[test]
fn each_component_has_its_own_parameters() {
    let site = Site::new();
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| site.path(name));
    let variables = [
        ("ETCD_ENDPOINTS", "https://etcd.example:2379"),
        ("ETCD_CA_CERT_FILE", &ca),
        ("ETCD_CERT_FILE", &cert),
        ("ETCD_KEY_FILE", &key),
    ];
    let typha = site.felix("EtcdEndpoints=https://etcd.example:2379");
    let cni = json!({
        "type": "calico", "etcd_endpoints": "https://etcd.example:2379", "etcd_ca_cert_file": ca,
        "etcd_cert_file": cert, "etcd_key_file": key,
    });
    let cni = site.write("10-calico.conf", &cni.to_string());
    let neutron = format!(
        "[calico]\netcd_host=etcd.example\netcd_ca_cert_file={ca}\netcd_cert_file={cert}\netcd_key_file={key}\n"
    );
    let neutron = site.write("neutron.conf", &neutron);
    for (arguments, variables, expected) in [
        (&["--environment"][..], &variables[..], &[][..]),
        // Felix reads these variables, too; Typha does not.
        (&[], &variables, &[]),
        (&["--typha"], &variables, &["error no_endpoint"]),
        (&["--typha", "--config", &typha], &[], &[]),
        (&["--cni", &cni], &[], &[]),
        (&["--neutron", &neutron], &[], &["warning no_user"]),
    ] {
        let (_, lines) = site.check(arguments, variables);
        assert_eq!(findings(&lines), labels(expected), "{arguments:?}");
        if !expected.contains(&"error no_endpoint") {
            let endpoint = "https://etcd.example:2379 must present a certificate for the host etcd.example";
            assert_eq!(detail(&lines, "endpoint"), endpoint);
        }
    }
    for arguments in [["--environment", "--typha"], ["--cni", "--neutron"]] {
        assert_eq!(site.run(&arguments, &[]).0, Some(2), "{arguments:?}");
    }
    // The names are those of the component.
    site.write("client.key", &site.ca.issue(spec("x", Purpose::ClientAuth)).unwrap().key_pem());
    for (arguments, key) in [
        (&["--environment"][..], "ETCD_KEY_FILE"),
        (&["--typha", "--config", &typha], "EtcdKeyFile"),
        (&["--cni", &cni], "etcd_key_file"),
    ] {
        let (_, lines) = site.check(arguments, &variables);
        assert_eq!(only(&lines, "cert_file_and_key_file")["about"], key);
    }
}

#[test]
fn the_user_is_the_configured_one_or_the_common_name() {
    let site = Site::new();
    let config = site.felix("EtcdEndpoints=https://a:2379");
    let user = [("ETCD_USERNAME", "root"), ("ETCD_PASSWORD", "hunter2")];
    let (code, text) = site.run(&["--config", &config], &user);
    let expected = "- user: we are etcd's user \"root\", by the password: it wins over the Common Name \"felix\", also \
                    if it has fewer rights\n";
    assert!(text.contains(expected) && !text.contains("hunter2"), "{text}");
    assert_eq!(code, Some(0));

    site.issue(
        CertificateSpec::unnamed()
            .dns_san("felix")
            .purpose(Purpose::ClientAuth)
            .valid(std::time::SystemTime::now() - DAY, std::time::SystemTime::now() + 60 * DAY),
    );
    let denies = "etcd denies us everything if its authentication is on";
    let by_name = "if it is on, use a certificate with the user as its Common Name";
    let or_user = format!("{by_name}, or set ETCD_USERNAME and ETCD_PASSWORD");
    let no_user = |arguments: &[&str]| {
        let (code, lines) = site.check(arguments, &[]);
        assert_eq!((code, findings(&lines)), (Some(1), labels(&["warning no_user"])));
        detail(&lines, "no_user").to_owned()
    };
    let why = "no user is configured, and the certificate has no Common Name";
    assert_eq!(no_user(&["--config", &config]), format!("{why}: {denies}; {or_user}"));
    assert_eq!(no_user(&["--typha", "--config", &config]), format!("{why}: {denies}; {by_name}"));
    assert_eq!(
        detail(&site.check(&["--config", &config], &user).1, "user"),
        "we are etcd's user \"root\", by the password"
    );

    // No certificate at all.
    let text = format!("EtcdEndpoints=https://a:2379\nEtcdCaFile={}\n", site.path("ca.pem"));
    let config = site.write("felix.cfg", &text);
    let (_, lines) = site.check(&["--config", &config], &[]);
    assert_eq!(findings(&lines), labels(&["warning no_certificate", "warning no_user"]));
    assert_eq!(
        detail(&lines, "no_certificate"),
        "no client certificate is configured: etcd refuses us if it runs with --client-cert-auth; set EtcdCertFile and \
         EtcdKeyFile"
    );
    let (code, lines) = site.check(&["--config", &config], &user);
    assert_eq!((code, only(&lines, "no_certificate")["level"].as_str()), (Some(0), Some("info")));
}

#[test]
fn our_certificate_must_be_one_of_a_client() {
    let site = Site::new();
    let now = std::time::SystemTime::now();
    let config = site.felix("EtcdEndpoints=https://a:2379");
    for (spec, finding) in [
        (spec("felix", Purpose::ServerAuth), "error leaf_lacks_purpose"),
        (spec("felix", Purpose::ClientAuth).valid(now - 2 * DAY, now - DAY), "error leaf_expired"),
        (
            spec("felix", Purpose::ClientAuth).valid(now - 99 * DAY, now + 5 * DAY),
            "warning leaf_expires_soon",
        ),
    ] {
        site.issue(spec);
        let (code, lines) = site.check(&["--config", &config], &[]);
        assert_eq!((code, findings(&lines)), (Some(1), labels(&[finding])));
    }
    site.write("ca.pem", "");
    let (_, lines) = site.check(&["--config", &config], &[]);
    assert_eq!(only(&lines, "ca_file")["about"], "EtcdCaFile");
}

/// A member of etcd that sends its first data, or that requires a certificate of this CA.
fn member(leaf: &TestLeaf, client_ca: Option<&TestCa>) -> u16 {
    let policy = TlsPolicy::builder().build().unwrap();
    let config = ServerConfig::builder_with_provider(policy.provider().clone());
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = match client_ca {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.root().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), policy.provider().clone());
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_single_cert(leaf.chain().to_vec(), leaf.key()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let config = Arc::new(config);
        for tcp in listener.incoming() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), tcp.unwrap());
            // An empty SETTINGS frame of HTTP/2.
            let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    port
}

#[test]
fn each_member_is_connected_to() {
    let site = Site::new();
    let server = |spec: CertificateSpec| site.ca.issue(spec.purpose(Purpose::ServerAuth)).unwrap();
    let good = server(CertificateSpec::leaf("etcd").ip_san(Ipv4Addr::LOCALHOST.into()));
    let bare = server(CertificateSpec::leaf("127.0.0.1"));
    let ports = [
        member(&good, Some(&site.ca)),
        member(&good, None),
        member(&bare, Some(&site.ca)),
        member(&good, Some(&ca("other"))),
    ];
    let endpoints = ports.map(|port| format!("https://127.0.0.1:{port}"));
    let config = site.felix(&format!("EtcdEndpoints={}", endpoints.join(",")));
    let (code, lines) = site.check(&["--connect", "--config", &config], &[]);
    let expected = ["warning not_asked", "error connect", "error connect"];
    assert_eq!((code, findings(&lines)), (Some(1), labels(&expected)), "{lines:?}");

    let connected = only(&lines, "connected");
    let trusted = ca_name(&site.ca.root_pem());
    let detail = format!(
        "connected to {}: server 127.0.0.1 with CN \"etcd\", no URI SAN, TLS 1.3, TLS_AES_128_GCM_SHA256, \
         X25519MLKEM768, ALPN \"h2\", CA {trusted}: it has accepted our certificate",
        endpoints[0]
    );
    let mut line = connected.clone();
    crate::remove_leaf_numbers(&mut line);
    assert_eq!(
        line,
        json!({
            "level": "info", "fact": "connected", "endpoint": endpoints[0], "matched_by": "host",
            "host": "127.0.0.1", "common_name": "etcd", "uri_sans": [], "ca": trusted, "tls_version": "1.3",
            "cipher_suite": "TLS_AES_128_GCM_SHA256", "group": "X25519MLKEM768", "acceptance": "confirmed",
            "detail": detail,
        })
    );
    let not_asked = only(&lines, "not_asked");
    assert_eq!(
        (&not_asked["endpoint"], &not_asked["acceptance"]),
        (&json!(endpoints[1]), &json!("not_asked"))
    );
    assert_eq!(
        not_asked["fix"],
        "start etcd with --client-cert-auth and --trusted-ca-file, or any client can use it"
    );
    let errors: Vec<_> = lines.iter().filter(|line| line["finding"] == "connect").collect();
    assert_eq!(
        (&errors[0]["endpoint"], &errors[0]["reason"]),
        (&json!(endpoints[2]), &json!("host_mismatch"))
    );
    assert_eq!(errors[0]["fix"], "issue it again with subjectAltName = IP:127.0.0.1");
    assert_eq!(
        ["endpoint", "reason", "alert"].map(|member| errors[1][member].as_str().unwrap()),
        [&*endpoints[3], "refused_by_peer", "unknown_ca"]
    );
    let fix = "add it there and restart etcd, which reads that file at its start only. If an intermediate CA issued \
               our certificate, append that CA's certificate to our certificate file";
    let problem = format!(
        "{}: etcd refused us with the alert unknown_ca: etcd's --trusted-ca-file lacks the CA of our certificate",
        endpoints[3]
    );
    assert_eq!((&errors[1]["detail"], &errors[1]["fix"]), (&json!(format!("{problem}; {fix}")), &json!(fix)));
}

#[test]
fn nobody_there_is_a_finding_and_bad_files_connect_to_nothing() {
    let site = Site::new();
    let (_socket, closed) = crate::ends::closed_port();
    let config = site.felix(&format!("EtcdEndpoints=https://{closed}"));
    let (code, lines) = site.check(&["--connect", "--config", &config], &[]);
    assert_eq!((code, findings(&lines)), (Some(1), labels(&["error connect"])));
    let line = only(&lines, "connect");
    assert_eq!(
        line["fix"],
        "see whether etcd runs there, and whether its client port can be reached from here"
    );
    site.write("client.key", "");
    let (_, lines) = site.check(&["--connect", "--config", &config], &[]);
    assert_eq!(findings(&lines), labels(&["error cert_file_and_key_file"]));
    let expected = format!("not connected to https://{closed}: see the errors of our own files");
    assert_eq!(detail(&lines, "connect"), expected);
}

//! Interoperation with Go's crypto/tls, configured as Calico's Typha and Felix configure it; the program is
//! `interop/go`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::{
    End, Flaw, Implementation, Ours, Output, PAYLOAD_LENGTH, Process, Refusal, VERSIONS, assert_accepted,
    assert_agrees_on_h2, assert_both_accept, assert_no_protocol, assert_refused, assert_rejected,
    assert_they_refuse, assert_we_refuse, is_installed, leaf, names, our_payload, pki,
};
use rustls::AlertDescription;
use tempfile::TempDir;
use typha_tls::identity::MatchedBy;
use typha_tls::testing::KeyType;
use typha_tls::{RequiredIdentity, Role};

/// The Go program; `None` without Go.
pub(crate) fn go() -> Option<Go> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    is_installed("go").then(|| Go { program: PROGRAM.get_or_init(build), ignore_hints: true, alpn: "" })
}

fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = TempDir::new_in(target).unwrap();
    let built = directory.path().join("interop-go");
    let mut command = Command::new("go");
    command
        .args(["build", "-buildvcs=false", "-o"])
        .args([&built, Path::new(".")])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/go"))
        .envs([("GO111MODULE", "on"), ("GOFLAGS", "-mod=mod"), ("GOPROXY", "off"), ("GOTOOLCHAIN", "local")]);
    // With an empty cache, Go compiles its standard library first.
    let output = Process::start(&mut command, None).finish_within(Duration::from_secs(300));
    assert!(output.success, "go build: {output}");
    // Renaming replaces the program whole, also under another run that is using it.
    let program = target.join("interop-go");
    fs::rename(built, &program).unwrap();
    program
}

pub(crate) struct Go {
    program: &'static Path,
    /// A Go client keeps back a certificate whose issuer the server has not named. With this it does not.
    ignore_hints: bool,
    /// The application protocols, separated by commas.
    alpn: &'static str,
}

impl Go {
    fn start(&self, subcommand: &str, end: &End<'_>, arguments: &[&str]) -> Process {
        let files = end.write_files();
        let mut command = Command::new(self.program);
        command.args([subcommand, "-max-version", end.version]).args(arguments);
        command.args(["-cn", end.required.0, "-uri", end.required.1, "-alpn", self.alpn]);
        command.arg("-send").arg(PAYLOAD_LENGTH.to_string()).arg("-ca").arg(&files.ca);
        if let Some((chain, key)) = &files.chain_and_key {
            command.arg("-cert").arg(chain).arg("-key").arg(key);
        }
        Process::start(&mut command, Some(files.directory))
    }

    /// Go's version, and its verdict on each chain of a file: `None`, or the error.
    pub(crate) fn judge(&self, cases: &Path) -> (String, Vec<Option<String>>) {
        let output = Process::start(Command::new(self.program).arg("judge").arg(cases), None).finish();
        assert!(output.success, "{output}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (version, verdicts) = text.split_once('\n').unwrap();
        let verdicts = verdicts.lines().map(|line| serde_json::from_str::<String>(line).unwrap());
        (version.to_owned(), verdicts.map(|error| (!error.is_empty()).then_some(error)).collect())
    }
}

impl Implementation for Go {
    fn felix(&self, end: &End<'_>, typha: SocketAddr) -> Process {
        let ignore_hints = format!("-ignore-hints={}", self.ignore_hints && end.leaf.is_some());
        self.start("felix", end, &["-connect", &typha.to_string(), &ignore_hints])
    }

    fn typha(&self, end: &End<'_>) -> Process {
        self.start("typha", end, &[])
    }

    fn assert_satisfied(&self, end: &End<'_>, output: &Output, case: &str) {
        let outcome = outcome(output);
        assert_eq!(outcome["error"], "", "{case}; {output}");
        assert_eq!(outcome["version"], end.version, "{case}; {output}");
        assert_eq!(outcome["alpn"], self.alpn.split(',').next_back().unwrap(), "{case}; {output}");
        assert_eq!(outcome["common_name"], names(end.role.peer()).0, "{case}; {output}");
        let hex: String = our_payload().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(outcome["received"] == hex, "{case}: Go received something else; {output}");
    }

    fn reported_alert(&self, output: &Output) -> Option<String> {
        outcome(output)["error"].as_str().map(str::to_owned)
    }

    fn alert_text(&self, alert: AlertDescription) -> &'static str {
        match alert {
            AlertDescription::AccessDenied => "remote error: tls: access denied",
            AlertDescription::CertificateExpired => "remote error: tls: expired certificate",
            AlertDescription::CertificateRequired => "remote error: tls: certificate required",
            AlertDescription::HandshakeFailure => "remote error: tls: handshake failure",
            AlertDescription::NoApplicationProtocol => "remote error: tls: no application protocol",
            AlertDescription::UnknownCA => "remote error: tls: unknown certificate authority",
            AlertDescription::UnsupportedCertificate => "remote error: tls: unsupported certificate",
            other => panic!("no text known for {other:?}"),
        }
    }
}

/// The line of JSON by which the program ends.
fn outcome(output: &Output) -> serde_json::Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}; {output}"))
}

#[test]
fn our_typha_and_felix_in_go_accept_each_other() {
    let Some(go) = go() else { return };
    assert_both_accept(&go, Role::Typha);
}

#[test]
fn our_felix_and_typha_in_go_accept_each_other() {
    let Some(go) = go() else { return };
    assert_both_accept(&go, Role::Felix);
}

#[test]
fn either_end_may_require_one_name_of_two() {
    let Some(go) = go() else { return };
    let pki = pki(KeyType::P256);
    for ours in [Role::Felix, Role::Typha] {
        let (our_leaf, their_leaf) = (leaf(pki, ours), leaf(pki, ours.peer()));
        let ((our_name, our_uri), (their_name, their_uri)) = (names(ours), names(ours.peer()));
        for version in VERSIONS {
            for (we_require, they_require, matched_by) in [
                (RequiredIdentity::common_name(their_name), (our_name, ""), MatchedBy::CommonName),
                (RequiredIdentity::uri_san(their_uri), ("", our_uri), MatchedBy::UriSan),
                (
                    RequiredIdentity::either(their_name, "other:x"),
                    (our_name, "other:x"),
                    MatchedBy::CommonName,
                ),
                (RequiredIdentity::either("other", their_uri), ("other", our_uri), MatchedBy::UriSan),
            ] {
                let case = format!("our {ours}, TLS {version}, {we_require:?}");
                let our_end = Ours::new(ours, our_leaf, &pki.ca, we_require.unwrap());
                let end = End {
                    role: ours.peer(),
                    version,
                    leaf: Some(their_leaf),
                    trusted: &pki.ca,
                    required: they_require,
                };
                assert_accepted(&our_end, &go, &end, matched_by, &case);
            }
        }
    }
}

#[test]
fn our_typha_refuses_felix_in_go() {
    let Some(go) = go() else { return };
    assert_we_refuse(&go, Role::Typha, &Flaw::OF_CERTIFICATES);
    assert_we_refuse(&go, Role::Typha, &[Flaw::NoCertificate]);
}

#[test]
fn our_felix_refuses_typha_in_go() {
    let Some(go) = go() else { return };
    assert_we_refuse(&go, Role::Felix, &Flaw::OF_CERTIFICATES);
}

/// What an operator sees when Calico's Felix has a certificate of a CA that Typha does not trust: none at all.
#[test]
fn felix_in_go_keeps_back_a_certificate_of_a_ca_that_typha_does_not_name() {
    let Some(go) = go() else { return };
    let go = Go { ignore_hints: false, ..go };
    let pki = pki(KeyType::P256);
    let ours = Ours::requiring_either(Role::Typha, &pki.typha, &pki.ca);
    let unknown = Flaw::UnknownCa.leaf(&pki.ca, Role::Felix).unwrap();
    for version in VERSIONS {
        let end = End::new(Role::Felix, version, Some(&unknown), &pki.ca);
        assert_rejected(&ours, &go, &end, Flaw::NoCertificate, version);
    }
}

#[test]
fn felix_in_go_refuses_our_typha() {
    let Some(go) = go() else { return };
    // Whatever VerifyPeerCertificate finds, crypto/tls says bad_certificate.
    let refusals = [
        (Flaw::CaKeyMismatch, "x509: certificate signed by unknown authority"),
        (Flaw::Expired, "x509: certificate has expired or is not yet valid"),
        (Flaw::NotYetValid, "x509: certificate has expired or is not yet valid"),
        (Flaw::UnknownCa, "x509: certificate signed by unknown authority"),
        (Flaw::WrongIdentity, "identity refused: CN \\\"intruder\\\", URI SANs [spiffe://intruder/]"),
        (Flaw::WrongPurpose, "x509: certificate specifies an incompatible key usage"),
    ]
    .map(|(flaw, reason)| Refusal { flaw, alert: AlertDescription::BadCertificate, reason });
    assert_they_refuse(&go, Role::Typha, &refusals);
}

#[test]
fn typha_in_go_refuses_our_felix() {
    let Some(go) = go() else { return };
    let refusals = [
        (Flaw::CaKeyMismatch, AlertDescription::UnknownCA, "x509: certificate signed by unknown authority"),
        (
            Flaw::Expired,
            AlertDescription::CertificateExpired,
            "x509: certificate has expired or is not yet valid",
        ),
        (
            Flaw::NotYetValid,
            AlertDescription::CertificateExpired,
            "x509: certificate has expired or is not yet valid",
        ),
        (Flaw::UnknownCa, AlertDescription::UnknownCA, "x509: certificate signed by unknown authority"),
        (
            Flaw::WrongIdentity,
            AlertDescription::BadCertificate,
            "identity refused: CN \\\"intruder\\\", URI SANs [spiffe://intruder/]",
        ),
        (
            Flaw::WrongPurpose,
            AlertDescription::BadCertificate,
            "x509: certificate specifies an incompatible key usage",
        ),
    ]
    .map(|(flaw, alert, reason)| Refusal { flaw, alert, reason });
    assert_they_refuse(&go, Role::Felix, &refusals);
}

#[test]
fn either_end_in_go_agrees_on_an_application_protocol() {
    let Some(go) = go() else { return };
    assert_agrees_on_h2(&Go { alpn: "acme,h2", ..go }, Role::Typha);
    assert_agrees_on_h2(&Go { alpn: "acme,h2", ..go }, Role::Felix);
}

#[test]
fn our_typha_refuses_felix_in_go_without_an_application_protocol_in_common() {
    let Some(go) = go() else { return };
    assert_no_protocol(
        &Go { alpn: "http/1.1", ..go },
        &["http/1.1"],
        AlertDescription::NoApplicationProtocol,
    );
    assert_no_protocol(&go, &[], AlertDescription::HandshakeFailure);
}

#[test]
fn our_felix_and_typha_in_go_without_an_application_protocol_in_common() {
    let Some(go) = go() else { return };
    let pki = pki(KeyType::P256);
    let ours = Ours::requiring_either(Role::Felix, &pki.felix, &pki.ca).with_alpn(&["h2"]);
    for version in VERSIONS {
        let end = End::new(Role::Typha, version, Some(&pki.typha), &pki.ca);
        let theirs = Go { alpn: "http/1.1", ..go };
        let reason = "tls: client requested unsupported application protocols";
        assert_refused(&ours, &theirs, &end, AlertDescription::NoApplicationProtocol, reason, version);
        // Without a list, it accepts us; then it sees the connection end.
        let (outcome, output) = ours.meet(&go, &end);
        assert_eq!(outcome.unwrap_err().label(), "no_application_protocol", "{version}; {output}");
        let seen = self::outcome(&output);
        assert_eq!(seen["error"], "the connection ended without close_notify", "{version}; {output}");
        assert_eq!(seen["received"], "", "{version}; {output}");
    }
}

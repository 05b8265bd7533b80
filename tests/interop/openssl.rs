//! Interoperation with OpenSSL's `s_client` and `s_server`.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use crate::{
    End, Flaw, Implementation, Ours, Output, Process, Refusal, assert_agrees_on_h2, assert_both_accept,
    assert_no_protocol, assert_refused, assert_they_refuse, assert_we_refuse, is_installed, our_payload, pki,
};
use rustls::AlertDescription;
use rustls_pki_types::UnixTime;
use typha_tls::material::{MaterialError, RevocationLists, RevocationPolicy};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, KeyType, TestCa};
use typha_tls::verifier::{PeerVerifier, Rejection};
use typha_tls::{RequiredIdentity, Role};

/// `None` without OpenSSL.
fn openssl() -> Option<OpenSsl> {
    is_installed("openssl").then_some(OpenSsl { arguments: &[], server_arguments: &[] })
}

struct OpenSsl {
    arguments: &'static [&'static str],
    server_arguments: &'static [&'static str],
}

impl OpenSsl {
    fn start(&self, end: &End<'_>, arguments: &[&str]) -> Process {
        let files = end.write_files();
        let mut command = Command::new("openssl");
        command.args(arguments).args(self.arguments).arg(format!("-tls{}", end.version.replace('.', "_")));
        // Without -verify_return_error, a bad chain is only printed.
        command.arg("-verify_return_error").arg("-CAfile").arg(&files.ca);
        if let Some(leaf) = end.leaf {
            let (chain, _) = files.chain_and_key.as_ref().unwrap();
            let key = files.directory.path().join("key.der");
            fs::write(&key, without_public_key(leaf.key().secret_der())).unwrap();
            command.arg("-cert").arg(chain).arg("-cert_chain").arg(chain);
            command.arg("-keyform").arg("DER").arg("-key").arg(key);
        }
        Process::start(&mut command, Some(files.directory))
    }
}

/// PKCS #8 as OpenSSL 3.0 reads it: it knows version 1 only, while aws-lc writes Ed25519 keys in version 2, with the
/// public key (RFC 8410 section 10.3 has an example of each).
fn without_public_key(key: &[u8]) -> Vec<u8> {
    match key {
        [0x30, 0x51, 0x02, 0x01, 0x01, algorithm_and_seed @ ..] => {
            [&[0x30, 0x2e, 0x02, 0x01, 0x00], &algorithm_and_seed[..0x2e - 3]].concat()
        }
        key => key.to_vec(),
    }
}

impl Implementation for OpenSsl {
    fn felix(&self, end: &End<'_>, typha: SocketAddr) -> Process {
        self.start(end, &["s_client", "-quiet", "-connect", &typha.to_string()])
    }

    /// Not quiet, since it would not print its address.
    fn typha(&self, end: &End<'_>) -> Process {
        let mut arguments = vec!["s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-Verify", "1"];
        arguments.extend(self.server_arguments);
        self.start(end, &arguments)
    }

    fn assert_satisfied(&self, _end: &End<'_>, output: &Output, case: &str) {
        let payload = our_payload();
        let received = match output.stdout.windows(payload.len()).position(|window| window == payload) {
            Some(0) => output.stdout.len() == payload.len(),
            // s_server prints the session first, and this in answer to close_notify.
            Some(start) => output.stdout[start + payload.len()..].starts_with(b"DONE\n"),
            None => false,
        };
        assert!(received, "{case}: OpenSSL received something else; {output}");
        // Without close_notify: "unexpected eof while reading".
        assert!(!output.stderr.contains(":error:"), "{case}; {output}");
    }

    /// From a line such as `...:tlsv1 alert unknown ca:../ssl/record/rec_layer_s3.c:1601:SSL alert number 48`.
    fn reported_alert(&self, output: &Output) -> Option<String> {
        let (line, number) = output.stderr.lines().find_map(|line| line.rsplit_once(":SSL alert number "))?;
        let (_, name) = line.split(':').find_map(|field| field.split_once(" alert "))?;
        Some(format!("{name} ({number})"))
    }

    fn alert_text(&self, alert: AlertDescription) -> &'static str {
        match alert {
            AlertDescription::AccessDenied => "access denied (49)",
            AlertDescription::CertificateExpired => "certificate expired (45)",
            AlertDescription::CertificateRequired => "certificate required (116)",
            AlertDescription::HandshakeFailure => "handshake failure (40)",
            AlertDescription::NoApplicationProtocol => "no application protocol (120)",
            AlertDescription::UnknownCA => "unknown ca (48)",
            AlertDescription::UnsupportedCertificate => "unsupported certificate (43)",
            other => panic!("no text known for {other:?}"),
        }
    }
}

#[test]
fn our_typha_and_s_client_accept_each_other() {
    let Some(openssl) = openssl() else { return };
    assert_both_accept(&openssl, Role::Typha);
}

#[test]
fn our_felix_and_s_server_accept_each_other() {
    let Some(openssl) = openssl() else { return };
    assert_both_accept(&openssl, Role::Felix);
}

#[test]
fn our_typha_refuses_s_client() {
    let Some(openssl) = openssl() else { return };
    assert_we_refuse(&openssl, Role::Typha, &Flaw::OF_CERTIFICATES);
    assert_we_refuse(&openssl, Role::Typha, &[Flaw::NoCertificate]);
}

#[test]
fn our_felix_refuses_s_server() {
    let Some(openssl) = openssl() else { return };
    assert_we_refuse(&openssl, Role::Felix, &Flaw::OF_CERTIFICATES);
}

#[test]
fn s_client_refuses_our_typha() {
    let Some(openssl) = openssl() else { return };
    assert_they_refuse(&openssl, Role::Typha, &refusals());
}

#[test]
fn s_server_refuses_our_felix() {
    let Some(openssl) = openssl() else { return };
    assert_they_refuse(&openssl, Role::Felix, &refusals());
}

#[test]
fn either_end_of_openssl_agrees_on_an_application_protocol() {
    let Some(openssl) = openssl() else { return };
    let openssl = OpenSsl { arguments: &["-alpn", "acme,h2"], ..openssl };
    assert_agrees_on_h2(&openssl, Role::Typha);
    assert_agrees_on_h2(&openssl, Role::Felix);
}

#[test]
fn our_typha_refuses_s_client_without_an_application_protocol_in_common() {
    let Some(openssl) = openssl() else { return };
    assert_no_protocol(&openssl, &[], AlertDescription::HandshakeFailure);
    let openssl = OpenSsl { arguments: &["-alpn", "http/1.1"], ..openssl };
    assert_no_protocol(&openssl, &["http/1.1"], AlertDescription::NoApplicationProtocol);
}

/// All flaws but a wrong identity, which OpenSSL does not look for. The numbers are those of `openssl verify`.
fn refusals() -> [Refusal; 5] {
    [
        (Flaw::CaKeyMismatch, AlertDescription::UnknownCA, "verify error:num=20:"),
        (Flaw::Expired, AlertDescription::CertificateExpired, "verify error:num=10:"),
        (Flaw::NotYetValid, AlertDescription::BadCertificate, "verify error:num=9:"),
        (Flaw::UnknownCa, AlertDescription::UnknownCA, "verify error:num=20:"),
        (Flaw::WrongPurpose, AlertDescription::UnsupportedCertificate, "verify error:num=26:"),
    ]
    .map(|(flaw, alert, reason)| Refusal { flaw, alert, reason })
}

/// Felix always has a certificate, but presents none to a server that wants another kind of signature.
#[test]
fn s_server_refuses_our_felix_without_a_usable_certificate() {
    let Some(_) = openssl() else { return };
    let openssl = OpenSsl { arguments: &[], server_arguments: &["-client_sigalgs", "RSA-PSS+SHA256"] };
    let pki = pki(KeyType::P256);
    let ours = Ours::requiring_either(Role::Felix, &pki.felix, &pki.ca);
    for (version, alert) in
        [("1.2", AlertDescription::HandshakeFailure), ("1.3", AlertDescription::CertificateRequired)]
    {
        let end = End::new(Role::Typha, version, Some(&pki.typha), &pki.ca);
        assert_refused(&ours, &openssl, &end, alert, "peer did not return a certificate", version);
    }
}

/// `openssl ca` as the CA that revokes: what it writes is read, in both formats.
#[test]
fn revocation_lists_of_openssl() {
    if openssl().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let issue = || ca.issue(CertificateSpec::leaf("peer")).unwrap();
    let (revoked, good) = (issue(), issue());
    let settings =
        "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\ndefault_md = sha256\ndefault_crl_days = 30\n";
    for (name, contents) in [
        ("ca.pem", &*ca.root_pem()),
        ("ca-key.pem", &ca.key_pem()),
        ("revoked.pem", &revoked.chain_pem()),
        ("index.txt", ""),
        ("number", "01\n"),
        ("1.cnf", settings),
        ("2.cnf", &format!("{settings}crlnumber = number\n")),
    ] {
        fs::write(dir.path().join(name), contents).unwrap();
    }
    let run = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(&dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let by = "-keyfile ca-key.pem -cert ca.pem";
    run(&format!("ca -config 1.cnf {by} -gencrl -out version1.pem"));
    run(&format!("ca -config 2.cnf {by} -revoke revoked.pem -crl_reason keyCompromise"));
    // Of version 2 for the sake of the reason in it.
    run(&format!("ca -config 1.cnf {by} -gencrl -out unnumbered.pem"));
    run(&format!("ca -config 2.cnf {by} -gencrl -out list.pem"));
    run("crl -in list.pem -outform DER -out list.der");

    let (bundle, policy) = (ca.trust_bundle().unwrap(), TlsPolicy::builder().build().unwrap());
    let load = |name| RevocationLists::from_files([dir.path().join(name)], &bundle, policy.provider());
    for name in ["list.pem", "list.der"] {
        let lists = load(name).unwrap().with_policy(RevocationPolicy::strict());
        let required = RequiredIdentity::common_name("peer").unwrap();
        let verifier = PeerVerifier::new(bundle.clone(), lists, required, &policy);
        verifier.verify(good.chain(), Role::Felix, UnixTime::now()).unwrap();
        let refusal = verifier.verify(revoked.chain(), Role::Felix, UnixTime::now()).unwrap_err();
        assert!(matches!(refusal, Rejection::Revoked { .. }), "{refusal}");
    }
    for (name, why) in [("version1.pem", "it is of version 1; "), ("unnumbered.pem", "its extensions are ")] {
        let MaterialError::RevocationList { problem, .. } = load(name).unwrap_err() else {
            panic!("{name} is an unusable list")
        };
        assert!(problem.starts_with(why), "{problem}");
        assert!(problem.ends_with("(crlnumber in the configuration of openssl ca)"), "{problem}");
    }
}

/// A leaf is called by the serial number and the fingerprint that `openssl x509` prints.
#[test]
fn serial_number_and_fingerprint_as_openssl_prints_them() {
    if openssl().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let required = RequiredIdentity::common_name("peer").unwrap();
    // Without a SHA-256 suite in the policy, the fingerprint is the same.
    let policy = TlsPolicy::builder().cipher_suites("TLS_AES_256_GCM_SHA384").build().unwrap();
    let verifier = PeerVerifier::new(ca.trust_bundle().unwrap(), RevocationLists::none(), required, &policy);
    for serial in [&[0x7f][..], &[0x80], &[0x0a, 0xbc], &[0xff; 20], &[0], &[0x01; 20]] {
        let leaf = ca.issue(CertificateSpec::leaf("peer").serial_number(serial)).unwrap();
        let file = dir.path().join("leaf.pem");
        fs::write(&file, leaf.chain_pem()).unwrap();
        let output = Command::new("openssl")
            .args(["x509", "-noout", "-serial", "-fingerprint", "-sha256", "-in"])
            .arg(&file)
            .output()
            .unwrap();
        for chain in [(); 2].map(|()| verifier.verify(leaf.chain(), Role::Felix, UnixTime::now()).unwrap()) {
            let ours = format!("serial={}\nsha256 fingerprint={}\n", chain.serial(), chain.sha256());
            let openssl = String::from_utf8(output.stdout.clone()).unwrap();
            assert_eq!(ours, openssl.to_lowercase().replace(':', ""), "{serial:x?}");
        }
    }
}

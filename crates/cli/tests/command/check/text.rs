//! The text for people.

use std::process::Command;

use typha_tls::testing::{CertificateSpec, Purpose, TestLeaf};

use super::site::{DAY, Site, ca, felix, spec};
use crate::lists::{List, certificate_pem};

/// The exit code and the text of a check of this site's Typha.
fn text(site: &Site, more: &[&str]) -> (Option<i32>, String) {
    let config = site.path("typha.cfg");
    let mut command = Command::new(env!("CARGO_BIN_EXE_typha-tls"));
    command.args(["check", "typha", "--config", &config]).args(more).env_clear();
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// The text without what differs from run to run: the digits of keys, the directory, and the day that has begun.
fn stable(site: &Site, text: &str) -> String {
    let mut parts = text.split("(key ");
    let first = parts.next().unwrap().to_owned();
    let rest = parts.map(|part| part.split_once(')').unwrap().1);
    let text = rest.fold(first, |text, part| text + "(key ...)" + part);
    text.replace(site.path("").trim_end_matches('/'), "DIR").replace("in 60 days", "in 59 days")
}

#[test]
fn facts_then_the_numbers() {
    let site = Site::new();
    let (code, text) = text(&site, &[]);
    let expected = "- required_peer: Felix must present CN \"typha-client\"\n\
                    - tls_policy: TLS 1.2 at least, TLS 1.3 at most; cipher suites TLS_AES_128_GCM_SHA256, \
                    TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
                    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, \
                    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
                    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256; groups X25519MLKEM768, x25519, secp256r1, secp384r1\n\
                    - trusted_ca: CN=\"old\" (key ...)\n\
                    - trusted_ca: CN=\"kept\" (key ...)\n\
                    - days_left: our certificate expires in 59 days\n\
                    - own_identity: Felix would have to require one of what we present: CN \"typha-server\", no URI \
                    SAN\n\
                    - own_chain: our chain leads to a CA of our own CA file\n\
                    \n\
                    no errors, no warnings\n";
    assert_eq!((code, &*stable(&site, &text)), (Some(0), expected));
}

#[test]
fn errors_come_first_and_each_has_its_fix() {
    let site = Site::new();
    // The CA file has a CA of the same name.
    site.own_chain(&ca("kept"));
    site.peer("a.pem", felix(&site.kept).chain_pem());
    site.peer("b.pem", site.kept.issue(spec("b", Purpose::ClientAuth)).unwrap().chain_pem());
    let (code, text) = text(&site, &["--peers", &site.path("peers")]);
    let expected = "✗ refused: b.pem: refused today: peer certificate does not have required CN: required CN \
                    \"typha-client\", but presented CN \"b\", no URI SAN\n    \
                    fix: re-issue it with a name that is required, or set ClientCN to a name that it has\n\
                    ! own_chain: ServerCertFile DIR/own.pem: our chain does not lead to our own CA file: the CA \
                    CN=\"kept\" in it has another key than the CA that issued our certificate, so that a Felix with \
                    the same CA file refuses us\n    \
                    fix: have our certificate issued by the CA in CAFile DIR/ca.pem; or, if you made that CA \
                    anew, put its old and its new certificate there and into TyphaCAFile of Felix; never add a CA \
                    that you did not make\n\
                    - required_peer: ";
    let stable = stable(&site, &text);
    assert!(stable.starts_with(expected), "{stable}");
    assert!(stable.ends_with("\n\n1 error, 1 warning: refused, own_chain\n"), "{stable}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_forgotten_intermediate_is_named() {
    let site = Site::new();
    let intermediate = site.kept.intermediate(CertificateSpec::ca("middle")).unwrap();
    let own = intermediate.issue(spec("typha-server", Purpose::ServerAuth)).unwrap();
    site.write("own.pem", certificate_pem(&own.chain()[0]));
    site.write("own.key", own.key_pem());
    let (code, text) = text(&site, &[]);
    let expected = "- own_chain: ServerCertFile DIR/own.pem: our chain does not lead to our own CA file: \
                    CN=\"middle\", which issued its last certificate, is not in it\n    \
                    fix: if CN=\"middle\" is an intermediate CA, append its certificate to ServerCertFile; otherwise \
                    TyphaCAFile of Felix needs it, if it is a CA of this cluster; never add a CA that you did not \
                    make\n";
    let stable = stable(&site, &text);
    assert!(stable.starts_with(expected), "{stable}");
    assert_eq!(code, Some(0));
}

/// The first finding with its fix, and the last line.
fn first_and_last(site: &Site) -> (String, String) {
    let (code, text) = text(site, &[]);
    let stable = stable(site, &text);
    let lines: Vec<_> = stable.lines().collect();
    assert_eq!(code, Some(1), "{stable}");
    (lines[..2].join("\n"), lines[lines.len() - 1].to_owned())
}

#[test]
fn a_certificate_with_dns_names_alone_is_one_error() {
    let site = Site::new();
    let leaf = CertificateSpec::unnamed().dns_san("typha.example");
    let own = site.kept.issue(leaf.purpose(Purpose::ServerAuth)).unwrap();
    site.write("own.pem", own.chain_pem());
    site.write("own.key", own.key_pem());
    let (finding, last) = first_and_last(&site);
    assert_eq!(
        finding,
        "✗ no_identity: ServerCertFile DIR/own.pem: our certificate has no name that a peer could require (no CN, no \
         URI SAN (its DNS name \"typha.example\" does not count))\n    \
         fix: issue one with the Common Name (TyphaCN) or the URI SAN (TyphaURISAN) that Felix requires"
    );
    assert_eq!(last, "1 error, no warnings: no_identity");
}

#[test]
fn the_parameter_of_an_unusable_file_is_named() {
    let site = Site::new();
    let [chain, key] = ["own.pem", "own.key"].map(|name| std::fs::read_to_string(site.path(name)).unwrap());
    site.write("own.pem", &key);
    let (finding, last) = first_and_last(&site);
    assert_eq!(
        finding,
        "✗ cert_file_and_key_file: ServerCertFile: DIR/own.pem: there is no certificate (a PEM block CERTIFICATE) in \
         it: it has a private key, so this file and the key file may be swapped\n    \
         fix: put the certificate chain here, leaf first, in PEM"
    );
    assert_eq!(last, "1 error, no warnings: cert_file_and_key_file");

    site.write("own.pem", &chain);
    site.write("own.key", felix(&site.kept).key_pem());
    let (finding, _) = first_and_last(&site);
    assert_eq!(
        finding,
        "✗ cert_file_and_key_file: ServerKeyFile: DIR/own.key: the private key does not belong to the certificate in \
         DIR/own.pem\n    \
         fix: set ServerKeyFile to the key that ServerCertFile was issued for, or issue a certificate for this key: \
         openssl x509 -in DIR/own.pem -noout -pubkey and openssl pkey -in DIR/own.key -pubout must print the same"
    );

    site.write("own.key", "");
    site.write("ca.pem", "");
    let (finding, last) = first_and_last(&site);
    assert_eq!(
        finding,
        "✗ ca_file: CAFile: DIR/ca.pem: there is no certificate (a PEM block CERTIFICATE) in it: it is empty\n    \
         fix: put the certificates of the CAs here, in PEM"
    );
    assert_eq!(last, "2 errors, no warnings: ca_file, cert_file_and_key_file");
}

/// One file for both, without a key.
#[test]
fn the_key_is_missed_by_the_parameter_of_the_key() {
    let site = Site::new();
    std::fs::copy(site.path("own.pem"), site.path("own.key")).unwrap();
    let config = std::fs::read_to_string(site.path("typha.cfg")).unwrap();
    site.write("typha.cfg", config.replace("own.key", "own.pem"));
    let (finding, _) = first_and_last(&site);
    assert!(
        finding.starts_with("✗ cert_file_and_key_file: ServerKeyFile: DIR/own.pem: there is no private key")
    );
}

/// Each lists the other's certificate.
#[test]
fn a_self_signed_certificate_of_our_own_is_no_finding() {
    let site = Site::new();
    let now = std::time::SystemTime::now();
    for spec in [CertificateSpec::leaf("typha-server"), CertificateSpec::ca("typha-server")] {
        let spec = spec.purpose(Purpose::ServerAuth).valid(now - DAY, now + 60 * DAY);
        let own = TestLeaf::self_signed(spec).unwrap();
        site.write("own.pem", own.chain_pem());
        site.write("own.key", own.key_pem());
        let (code, text) = text(&site, &[]);
        let text = stable(&site, &text);
        assert_eq!(code, Some(0), "{text}");
        let expected = "- own_chain: ServerCertFile DIR/own.pem: our certificate is self-signed, and our own CA file \
                        does not have it\n    fix: have this certificate in TyphaCAFile of Felix";
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_doubtful_name_has_its_parameter() {
    let site = Site::new();
    let config = std::fs::read_to_string(site.path("typha.cfg")).unwrap();
    site.write("typha.cfg", config.replace("typha-client", "'typha-client '"));
    let (finding, last) = first_and_last(&site);
    assert_eq!(
        finding,
        "! doubtful_identity: ClientCN: the required Common Name \"typha-client \" begins or ends with white space, \
         and a peer must have exactly this name\n    \
         fix: if that is not meant, remove the white space"
    );
    assert_eq!(last, "no errors, 1 warning: doubtful_identity");
}

#[test]
fn our_certificate_is_judged_without_a_ca_file() {
    let site = Site::new();
    let own = site.kept.issue(spec("typha-server", Purpose::ClientAuth)).unwrap();
    site.write("own.pem", own.chain_pem());
    site.write("own.key", own.key_pem());
    site.write("ca.pem", "");
    let (_, last) = first_and_last(&site);
    assert_eq!(last, "2 errors, no warnings: ca_file, leaf_lacks_purpose");
}

#[test]
fn the_purpose_is_spelled_as_openssl_wants_it() {
    let site = Site::new();
    let own = site.kept.issue(spec("typha-server", Purpose::ClientAuth)).unwrap();
    site.write("own.pem", own.chain_pem());
    site.write("own.key", own.key_pem());
    let peer = site.kept.issue(spec("typha-client", Purpose::ServerAuth)).unwrap();
    site.peer("a.pem", peer.chain_pem());
    let (_, text) = text(&site, &["--peers", &site.path("peers")]);
    let fixes: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("    fix: ")).collect();
    let expected =
        ["issue one with extendedKeyUsage = serverAuth", "issue it again with extendedKeyUsage = clientAuth"];
    assert_eq!(fixes[..2], expected, "{text}");
}

#[test]
fn strict_lists_need_one_of_each_issuer() {
    let site = Site::new();
    site.peer("a.pem", felix(&site.old).chain_pem());
    let list = site.write("kept.crl", List::new().signed_by(&site.kept, "kept"));
    let flags = ["--peers", &site.path("peers"), "--crl-file", &list, "--crl-strict"];
    let (_, text) = text(&site, &flags);
    let fix = text.lines().find_map(|line| line.strip_prefix("    fix: "));
    assert_eq!(fix, Some("add the list of its issuer (--crl-file), or remove --crl-strict"), "{text}");
}

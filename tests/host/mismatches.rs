//! What is said of a good certificate that is not valid for the host.

use std::net::IpAddr;
use std::sync::LazyLock;

use rustls_pki_types::UnixTime;
use typha_tls::ServerHost;
use typha_tls::identity::{HostCheckError, HostMismatch};
use typha_tls::material::RevocationLists;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, TestCa};
use typha_tls::verifier::{HostVerifier, Rejection, VerifiedChain};

static CA: LazyLock<TestCa> = LazyLock::new(|| TestCa::new(CertificateSpec::ca("etcd-ca")).unwrap());
static VERIFIER: LazyLock<HostVerifier> = LazyLock::new(|| {
    let policy = TlsPolicy::builder().build().unwrap();
    HostVerifier::new(CA.trust_bundle().unwrap(), RevocationLists::none(), &policy)
});

/// A leaf with these subject alternative names: addresses as such, the rest as DNS names.
fn spec(common_name: Option<&str>, names: &[&str]) -> CertificateSpec {
    let spec = common_name.map_or_else(CertificateSpec::unnamed, CertificateSpec::leaf);
    names.iter().fold(spec, |spec, name| match name.parse::<IpAddr>() {
        Ok(address) => spec.ip_san(address),
        Err(_) => spec.dns_san(name),
    })
}

fn verify(spec: CertificateSpec, host: &str) -> Result<VerifiedChain, Rejection> {
    let leaf = CA.issue(spec).unwrap();
    VERIFIER.verify(leaf.chain(), &host.parse().unwrap(), UnixTime::now())
}

fn mismatch(spec: CertificateSpec, host: &str) -> HostMismatch {
    match verify(spec, host) {
        Err(Rejection::HostMismatch(mismatch)) => *mismatch,
        other => panic!("{host}: {other:?}"),
    }
}

#[test]
fn matches() {
    for (names, host) in [
        (&["etcd-1.example"][..], "etcd-1.example"),
        (&["ETCD-1.Example"], "etcd-1.eXample"),
        (&["etcd-1.example"], "etcd-1.example."),
        (&["other.example", "etcd-1.example"], "etcd-1.example"),
        (&["*.example.org"], "etcd-1.example.org"),
        (&["*.example.org"], "xn--bcher-kva.example.org"),
        (&["xn--bcher-kva.example"], "xn--bcher-kva.example"),
        (&["my_etcd.example"], "my_etcd.example"),
        (&["10.0.0.1"], "10.0.0.1"),
        (&["10.0.0.1"], "::ffff:10.0.0.1"),
        (&["2001:db8::1"], "[2001:DB8::1]"),
        (&["other.example", "10.0.0.1"], "10.0.0.1"),
    ] {
        let accepted = verify(spec(Some("etcd"), names), host).unwrap();
        assert_eq!(accepted.matched_host(), Some(&ServerHost::new(host).unwrap()), "{names:?} {host}");
    }
}

#[test]
fn no_matches() {
    for (names, host) in [
        // A wildcard is one whole first label, and the name has one for it.
        (&["*.example.org"][..], "example.org"),
        (&["*.example.org"], "a.b.example.org"),
        (&["*"], "localhost"),
        (&["*.org"], "example.org"),
        (&["etcd-*.example.org"], "etcd-1.example.org"),
        (&["*-1.example.org"], "etcd-1.example.org"),
        (&["etcd.*.example.org"], "etcd.a.example.org"),
        (&["*.*.example.org"], "a.b.example.org"),
        // No part of a name, and no name around it.
        (&["etcd-1.example.org"], "etcd-1.example"),
        (&["etcd-1.example"], "1.example"),
        (&["etcd-1.example"], "a.etcd-1.example"),
        // No certificate has a final dot.
        (&["etcd-1.example."], "etcd-1.example"),
        (&["etcd-1.example\0.org"], "etcd-1.example"),
        (&["10.0.0.1"], "10.0.0.2"),
        (&["10.0.0.1"], "10-0-0-1.example"),
        (&["::1"], "127.0.0.1"),
        (&["127.0.0.1"], "::1"),
        // Of IPv6 addresses that are IPv4 addresses, none is in use.
        (&["::ffff:10.0.0.1"], "10.0.0.1"),
        (&["::ffff:10.0.0.1"], "::ffff:10.0.0.1"),
    ] {
        let mismatch = mismatch(spec(Some(host), names), host);
        assert_eq!(mismatch.host, ServerHost::new(host).unwrap());
        assert_eq!(mismatch.common_name.as_deref(), Some(host));
        let shown = mismatch.ip_addresses.iter().map(ToString::to_string);
        let found: Vec<_> = mismatch.dns_names.iter().cloned().chain(shown).collect();
        assert_eq!(found, names, "{host}");
    }
}

/// The problem, what the certificate has, a hint, and the remedy.
#[test]
fn texts() {
    let subject = |host: &str| format!("the server's certificate is not valid for the host {host}: ");
    let has = "it is valid for the DNS names [\"etcd-2.example\"]";
    let issue = |san: &str| format!("; issue it again with subjectAltName = {san}");
    let or_connect = ", or connect to a host that it has";
    let nothing = "it has neither a DNS name nor an IP address as subject alternative name";
    let elsewhere = "; connect to a host that it has, or issue it again with subjectAltName = ";
    for (common_name, names, host, rest) in [
        // No names at all.
        (None, &[][..], "etcd-1.example", format!("{nothing}{}", issue("DNS:etcd-1.example"))),
        (None, &[], "localhost", format!("{nothing}{}", issue("DNS:localhost"))),
        (
            Some("etcd"),
            &[],
            "10.0.0.1",
            format!("{nothing} (its Common Name \"etcd\" does not count){}", issue("IP:10.0.0.1")),
        ),
        // Other names.
        (Some("etcd"), &["etcd-2.example"], "etcd-1.example", {
            format!("{has}{}{or_connect}", issue("DNS:etcd-1.example"))
        }),
        (
            None,
            &["10.0.0.2", "::2"],
            "::1:1",
            format!(
                "it is valid for the IP addresses [\"10.0.0.2\", \"::2\"]{}{or_connect}",
                issue("IP:::1:1")
            ),
        ),
        (
            None,
            &["a.example", "b.example", "10.0.0.2", "c.example", "d.example"],
            "e.example",
            format!(
                "it is valid for the DNS names [\"a.example\", \"b.example\", \"c.example\", 1 more] and the IP \
                 addresses [\"10.0.0.2\"]{}{or_connect}",
                issue("DNS:e.example")
            ),
        ),
        // The host is there, but where it does not count.
        (Some("etcd-1.example"), &["etcd-2.example"], "etcd-1.example", {
            format!(
                "{has} (only its Common Name is etcd-1.example, and that does not count){}{or_connect}",
                issue("DNS:etcd-1.example")
            )
        }),
        (
            Some("ETCD-1.example."),
            &[],
            "etcd-1.example",
            format!(
                "{nothing} (only its Common Name is etcd-1.example, and that does not count){}",
                issue("DNS:etcd-1.example")
            ),
        ),
        (
            Some("10.0.0.1"),
            &[],
            "10.0.0.1",
            format!(
                "{nothing} (only its Common Name is 10.0.0.1, and that does not count){}",
                issue("IP:10.0.0.1")
            ),
        ),
        // Both ends on one machine, or only one.
        (
            Some("etcd"),
            &["localhost", "127.0.0.1"],
            "etcd-1.example",
            format!(
                "it is valid for the DNS names [\"localhost\"] and the IP addresses [\"127.0.0.1\"] (all of them \
                 mean the server's own machine only){}{or_connect}",
                issue("DNS:etcd-1.example")
            ),
        ),
        (Some("etcd"), &["etcd-2.example"], "localhost", format!("{has}{elsewhere}DNS:localhost")),
        (Some("etcd"), &["etcd-2.example"], "127.0.0.1", format!("{has}{elsewhere}IP:127.0.0.1")),
        (Some("etcd"), &["etcd-2.example"], "::1", format!("{has}{elsewhere}IP:::1")),
    ] {
        let mismatch = mismatch(spec(common_name, names), host);
        assert_eq!(mismatch.to_string(), format!("{}{rest}", subject(host)));
    }
}

#[test]
fn an_address_among_the_dns_names() {
    // rcgen makes an IP address of it, so the extension is written by hand: dNSName 10.0.0.1.
    let names = [&[0x30, 10, 0x82, 8][..], b"10.0.0.1"].concat();
    let leaf = CertificateSpec::leaf("etcd").extension(&[2, 5, 29, 17], false, &names);
    let mismatch = mismatch(leaf, "10.0.0.1");
    assert_eq!(mismatch.dns_names, ["10.0.0.1"]);
    assert_eq!(
        mismatch.to_string(),
        "the server's certificate is not valid for the host 10.0.0.1: it is valid for the DNS names [\"10.0.0.1\"] \
         (10.0.0.1 stands there as a DNS name, where an address does not count); issue it again with subjectAltName \
         = IP:10.0.0.1, or connect to a host that it has"
    );
}

/// It may have the host, so that it is no mismatch.
#[test]
fn a_certificate_that_can_not_be_read() {
    let (host, good) = (ServerHost::new("etcd-1.example").unwrap(), spec(Some("etcd"), &["etcd-1.example"]));
    assert_eq!(host.check(&CA.issue(good.clone()).unwrap().chain()[0]), Ok(()));
    let unknown = good.extension(&[1, 3, 6, 1, 4, 1, 99999, 1], true, &[5, 0]);
    for (leaf, problem) in [
        (CA.issue(unknown.clone()).unwrap().chain()[0].clone(), "UnsupportedCriticalExtension"),
        (vec![0x30, 0].into(), "BadDer"),
    ] {
        let error = host.check(&leaf).unwrap_err();
        assert_eq!(error, HostCheckError::Unreadable(problem.to_owned()));
        assert_eq!(
            error.to_string(),
            format!(
                "it is not known whether the certificate is valid for the host, because it can not be read: {problem}"
            )
        );
    }
    let refused = verify(unknown, "etcd-1.example").unwrap_err();
    assert!(matches!(refused, Rejection::UnhandledCriticalExtension { .. }), "{refused:?}");
}

/// Everything that the server wrote is escaped and cut.
#[test]
fn hostile_names() {
    let names: Vec<_> = (0..20).map(|n| format!("{n}\n\"{}", "x".repeat(2000))).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let text = mismatch(spec(Some(&"\u{202e}y\n".repeat(1000)), &names), "etcd-1.example").to_string();
    assert!(text.len() < 1024 && text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text}");
    let text = mismatch(spec(Some(&"\u{202e}y\n".repeat(1000)), &[]), "etcd-1.example").to_string();
    assert!(text.len() < 1024 && text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text}");
}

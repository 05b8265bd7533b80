//! The host rule: an arbitrary host, and a certificate with a good signature over arbitrary names.
//!
//! Input: the host after its length, then the parts of the certificate.

#![no_main]

use std::net::IpAddr;
use std::slice::from_ref;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;
use typha_tls::ServerHost;
use typha_tls::material::RevocationLists;
use typha_tls::verifier::{HostVerifier, Rejection};
use typha_tls_fuzz::certificate::Parts;
use typha_tls_fuzz::fixtures::{self, NOW, POLICY};
use typha_tls_fuzz::input::Input;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

static VERIFIER: LazyLock<HostVerifier> =
    LazyLock::new(|| HostVerifier::new(fixtures::trust_bundle(), RevocationLists::none(), &POLICY));

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let text = String::from_utf8_lossy(input.counted());
    let host = match ServerHost::new(&text) {
        Ok(host) => host,
        Err(invalid) => return check_text(&invalid.to_string()),
    };
    check_host(&host, &text);
    let leaf = Parts::read(input).signed();
    match VERIFIER.verify(from_ref(&leaf), &host, NOW) {
        Ok(server) => {
            assert_eq!(server.matched_host(), Some(&host));
            assert_ne!(has_host(&leaf, &host), Some(false), "{host}");
        }
        Err(rejection) => {
            check_text(&rejection.to_string());
            if let Rejection::HostMismatch(mismatch) = rejection {
                assert_eq!(mismatch.host, host);
                assert_ne!(has_host(&leaf, &host), Some(true), "{host}");
            }
        }
    }
});

/// Where a host occurs in a text, it is below 254 bytes each time.
fn check_text(text: &str) {
    assert!(text.len() < 2048, "{} bytes: {text}", text.len());
    assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
}

/// What was accepted as a host is one, and has one form.
fn check_host(host: &ServerHost, text: &str) {
    let shown = host.to_string();
    assert_eq!(ServerHost::new(&shown).as_ref(), Ok(host));
    match host.ip_address() {
        Some(address) => {
            assert_eq!(shown, address.to_string());
            assert!(!address.is_unspecified() && address.to_canonical() == address);
        }
        None => {
            assert_eq!(shown, text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase());
            assert!(shown.len() <= 253 && shown.parse::<IpAddr>().is_err());
            for label in shown.split('.') {
                let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                assert!((1..=63).contains(&label.len()) && label.bytes().all(is_usual), "{shown}");
            }
        }
    }
}

/// Whether the certificate has the host, as x509-cert reads it; `None` if that does not accept the certificate.
fn has_host(leaf: &CertificateDer<'_>, host: &ServerHost) -> Option<bool> {
    let tbs = x509_cert::Certificate::from_der(leaf).ok()?.tbs_certificate;
    let Some((_, SubjectAltName(names))) = tbs.get::<SubjectAltName>().ok()? else { return Some(false) };
    let is_host = |name: &GeneralName| match (name, host.ip_address()) {
        (GeneralName::DnsName(name), None) => matches(&name.as_str().to_ascii_lowercase(), &host.to_string()),
        (GeneralName::IpAddress(octets), Some(IpAddr::V4(address))) => octets.as_bytes() == address.octets(),
        (GeneralName::IpAddress(octets), Some(IpAddr::V6(address))) => octets.as_bytes() == address.octets(),
        _ => false,
    };
    Some(names.iter().any(is_host))
}

/// Whether a name in lower case is the host, or is a wildcard for its first label above two others.
fn matches(name: &str, host: &str) -> bool {
    let is_wildcard_for = |(_, rest): (&str, &str)| rest.contains('.') && name == format!("*.{rest}");
    name == host || host.split_once('.').is_some_and(is_wildcard_for)
}

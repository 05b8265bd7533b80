//! What is written in a certificate, for tools that show or check it.

use std::net::IpAddr;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Certificate, MalformedCertificate, UNREADABLE_ALGORITHM, key_text};

/// What is written in a certificate, for tools that show or check it.
///
/// # Security
///
/// Nothing of it is verified. [`HostVerifier`](crate::verifier::HostVerifier) and
/// [`PeerVerifier`](crate::verifier::PeerVerifier) verify a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// The subject as text: `O="example", CN="typha-server"`; escaped and cut.
    pub subject: String,
    /// The issuer as text.
    pub issuer: String,
    /// Whether subject and issuer are the same name, as in a certificate that is signed by its own key.
    pub is_self_issued: bool,
    /// The begin of the validity.
    pub not_before: UnixTime,
    /// The end of the validity.
    pub not_after: UnixTime,
    /// The DNS names among the subject alternative names, not escaped.
    pub dns_names: Vec<String>,
    /// The IP addresses among the subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// Whether it has an extended key usage. Without that extension, it is for all purposes.
    pub has_extended_key_usage: bool,
    /// The kind of key, such as `RSA key` or `EC key on the curve P-256`.
    pub key: String,
}

impl CertificateFacts {
    /// Reads a certificate strictly.
    ///
    /// # Errors
    ///
    /// [`MalformedCertificate`].
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, MalformedCertificate> {
        let certificate = Certificate::parse(der)?;
        let (dns_names, ip_addresses) = certificate.hosts();
        Ok(Self {
            subject: certificate.subject_text(),
            issuer: certificate.issuer_text(),
            is_self_issued: certificate.subject_der() == certificate.issuer_der(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            dns_names,
            ip_addresses,
            has_extended_key_usage: certificate.has_extended_key_usage(),
            key: certificate.public_key_algorithm().map_or_else(|| UNREADABLE_ALGORITHM.to_owned(), key_text),
        })
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::{CertificateSpec, KeyType, Purpose, TestCa, TestLeaf};

    #[test]
    fn the_facts_are_those_of_the_certificate() {
        let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
        let address = IpAddr::from([192, 0, 2, 1]);
        let spec = CertificateSpec::leaf("x").dns_san("a.example").dns_san("*.b.example").ip_san(address);
        let leaf = ca.issue(spec.purpose(Purpose::ServerAuth)).unwrap();
        let facts = CertificateFacts::read(&leaf.chain()[0]).unwrap();
        assert_eq!((&*facts.subject, &*facts.issuer), ("CN=\"x\"", "CN=\"ca\""));
        assert_eq!((facts.is_self_issued, facts.has_extended_key_usage), (false, true));
        assert_eq!(facts.dns_names, ["a.example", "*.b.example"]);
        assert_eq!((&*facts.ip_addresses, &*facts.key), (&[address][..], "EC key on the curve P-256"));
        assert_eq!(facts.not_after.as_secs() - facts.not_before.as_secs(), 25 * 3600);

        let own = TestLeaf::self_signed(CertificateSpec::leaf("y").key_type(KeyType::Ed25519)).unwrap();
        let facts = CertificateFacts::read(&own.chain()[0]).unwrap();
        assert_eq!((facts.is_self_issued, facts.has_extended_key_usage), (true, false));
        assert_eq!((&*facts.key, facts.dns_names.len() + facts.ip_addresses.len()), ("Ed25519 key", 0));
        assert_eq!(
            CertificateFacts::read(&CertificateDer::from(vec![0])).unwrap_err().to_string(),
            "malformed certificate: it is not a DER-encoded X.509 certificate"
        );
    }
}

//! What is written in a certificate, for tools that show or check it.

use std::net::IpAddr;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Certificate, KeyPurpose, MalformedCertificate, UNREADABLE_ALGORITHM, key_text};

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
    /// The subject key identifier: the CA's name for this key.
    pub key_id: Option<Vec<u8>>,
    /// The authority key identifier: which key of the issuer signed it.
    pub issuer_key_id: Option<Vec<u8>>,
    /// Whether its key usage allows signatures (digitalSignature). Without that extension, it does.
    pub allows_signatures: bool,
    /// Whether its extended key usage allows serverAuth. Without that extension, or with anyExtendedKeyUsage, it does.
    pub allows_server_auth: bool,
    /// Whether its extended key usage names serverAuth itself.
    pub names_server_auth: bool,
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
            key_id: certificate.subject_key_identifier().map(<[u8]>::to_vec),
            issuer_key_id: certificate.authority_key_identifier().map(<[u8]>::to_vec),
            allows_signatures: certificate.allows_signatures(),
            allows_server_auth: certificate.allows(KeyPurpose::ServerAuth),
            names_server_auth: certificate.names_server_auth(),
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
        assert!(!facts.is_self_issued);
        assert_eq!(facts.dns_names, ["a.example", "*.b.example"]);
        assert_eq!((&*facts.ip_addresses, &*facts.key), (&[address][..], "EC key on the curve P-256"));
        assert_eq!(facts.not_after.as_secs() - facts.not_before.as_secs(), 25 * 3600);

        let own = TestLeaf::self_signed(CertificateSpec::leaf("y").key_type(KeyType::Ed25519)).unwrap();
        let facts = CertificateFacts::read(&own.chain()[0]).unwrap();
        assert!(facts.is_self_issued);
        assert_eq!((&*facts.key, facts.dns_names.len() + facts.ip_addresses.len()), ("Ed25519 key", 0));
        assert_eq!(
            CertificateFacts::read(&CertificateDer::from(vec![0])).unwrap_err().to_string(),
            "malformed certificate: it is not a DER-encoded X.509 certificate"
        );
    }

    #[test]
    fn purposes_and_keys() {
        let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
        let root = CertificateFacts::read(ca.root()).unwrap();
        let leaf = || CertificateSpec::leaf("x");
        // The key usage of a CA has no digitalSignature.
        let of_ca = || CertificateSpec::ca("x").without_ca_flag();
        let any = leaf().extension(&[2, 5, 29, 37], false, &[0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0]);
        for (spec, expected) in [
            (leaf(), (true, true, false)),
            (of_ca(), (false, true, false)),
            (of_ca().without_key_cert_sign().without_crl_sign(), (true, true, false)),
            (any, (true, true, false)),
            (leaf().purpose(Purpose::ClientAuth), (true, false, false)),
            (leaf().purpose(Purpose::ServerAuth), (true, true, true)),
        ] {
            let facts = CertificateFacts::read(&ca.issue(spec).unwrap().chain()[0]).unwrap();
            let purposes = (facts.allows_signatures, facts.allows_server_auth, facts.names_server_auth);
            assert_eq!(purposes, expected);
            assert!(facts.issuer_key_id.is_some());
            assert_eq!(facts.issuer_key_id, root.key_id);
        }
    }
}

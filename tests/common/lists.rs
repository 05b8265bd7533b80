//! Revocation lists of any shape, for the tests of them.

#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint,
    KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use typha_tls::testing::TestCa;

pub const HOUR: Duration = Duration::from_secs(3600);

/// A list of a CA whose name is only a Common Name. It is current and empty by default.
pub struct List {
    params: CertificateRevocationListParams,
}

impl List {
    pub fn new() -> Self {
        let now = SystemTime::now();
        Self {
            params: CertificateRevocationListParams {
                this_update: (now - HOUR).into(),
                next_update: (now + HOUR).into(),
                crl_number: SerialNumber::from(1_u64),
                issuing_distribution_point: None,
                revoked_certs: Vec::new(),
                key_identifier_method: KeyIdMethod::Sha256,
            },
        }
    }

    pub fn expired() -> Self {
        let now = SystemTime::now();
        Self::new().of(now - 2 * HOUR, now - HOUR)
    }

    pub fn of(mut self, this_update: SystemTime, next_update: SystemTime) -> Self {
        (self.params.this_update, self.params.next_update) = (this_update.into(), next_update.into());
        self
    }

    pub fn serial(mut self, octets: &[u8], reason_code: Option<RevocationReason>) -> Self {
        self.params.revoked_certs.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(octets),
            revocation_time: self.params.this_update,
            reason_code,
            invalidity_date: None,
        });
        self
    }

    pub fn revoking(self, certificate: &CertificateDer<'_>) -> Self {
        let certificate = webpki::EndEntityCert::try_from(certificate).unwrap();
        self.serial(certificate.serial(), None)
    }

    pub fn of_a_distribution_point(mut self) -> Self {
        let uris = vec!["http://ca.example/1.crl".to_owned()];
        let distribution_point = CrlDistributionPoint { uris };
        self.params.issuing_distribution_point =
            Some(CrlIssuingDistributionPoint { distribution_point, scope: None });
        self
    }

    /// With the key of `ca`, in the name `issuer`, and whatever that CA may do.
    pub fn signed_by(&self, ca: &TestCa, issuer: &str) -> CertificateRevocationListDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, issuer);
        let issuer = rcgen::Issuer::new(params, KeyPair::from_pem(&ca.key_pem()).unwrap());
        self.params.signed_by(&issuer).unwrap().into()
    }
}

pub fn pem(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

pub fn list_pem(list: &CertificateRevocationListDer<'_>) -> String {
    pem("X509 CRL", list)
}

pub fn certificate_pem(certificate: &CertificateDer<'_>) -> String {
    pem("CERTIFICATE", certificate)
}

/// Another certificate of the same name and key, valid for these hours from now.
pub fn renewed(ca: &TestCa, name: &str, from: i64, until: i64) -> CertificateDer<'static> {
    let now = time::OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) =
        (now + time::Duration::hours(from), now + time::Duration::hours(until));
    params.self_signed(&KeyPair::from_pem(&ca.key_pem()).unwrap()).unwrap().der().clone()
}

//! Leaves for clients that no Typha has seen: as many as are wanted, all for one key, which the crate's own throw-away PKI
//! does not make.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use typha_tls::testing::{FELIX_COMMON_NAME, FELIX_SPIFFE_ID, TestLeaf};

/// Makes leaves like one that is there, with other serial numbers.
pub(crate) struct FreshLeaves {
    issuer: Issuer<'static, KeyPair>,
    key: KeyPair,
    params: CertificateParams,
    /// What follows each leaf, as PEM.
    intermediates: String,
    made: u64,
}

impl FreshLeaves {
    /// `felix` is the leaf whose key they are for, `issuer_name` and `issuer_key` are the CA that issued it.
    pub(crate) fn new(issuer_name: &str, issuer_key: &str, felix: &TestLeaf) -> Result<Self, rcgen::Error> {
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = common_name(issuer_name);
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(FELIX_COMMON_NAME);
        params.subject_alt_names.push(SanType::URI(FELIX_SPIFFE_ID.try_into()?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - Duration::hours(1), now + Duration::days(1));
        Ok(Self {
            issuer: Issuer::new(issuer, KeyPair::from_pem(issuer_key)?),
            key: KeyPair::from_pem(&felix.key_pem())?,
            params,
            intermediates: felix
                .chain()
                .iter()
                .skip(1)
                .map(|certificate| certificate_pem(certificate))
                .collect(),
            made: 0,
        })
    }

    /// PEM of so many chains.
    pub(crate) fn make(&mut self, count: usize) -> Result<String, rcgen::Error> {
        let mut chains = String::new();
        for _ in 0..count {
            self.made += 1;
            // Far from the serial numbers of the other leaves, and of the same length.
            let octets: Vec<u8> = [[2; 8], self.made.to_be_bytes()].concat();
            self.params.serial_number = Some(SerialNumber::from_slice(&octets));
            let leaf = self.params.signed_by(&self.key, &self.issuer)?;
            chains.push_str(&certificate_pem(leaf.der()));
            chains.push_str(&self.intermediates);
        }
        Ok(chains)
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn certificate_pem(certificate: &CertificateDer<'_>) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", certificate.as_ref()))
}

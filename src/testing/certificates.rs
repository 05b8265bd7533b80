//! Certificates of any shape.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName,
    DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, RsaKeySize, SanType, SerialNumber,
};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use thiserror::Error;

use crate::identity::InvalidIdentity;
use crate::material::{Credentials, MaterialError, TrustBundle};
use crate::policy::PolicyError;

/// Why test material can not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A certificate can not be made, mostly because a text is not valid in its string type.
    #[error("the certificate can not be made")]
    Certificate(#[from] rcgen::Error),
    /// This crate refuses the material, as a test may intend.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// The required identity is not valid.
    #[error(transparent)]
    Identity(#[from] InvalidIdentity),
    /// There is no crypto provider.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// The kind of key in a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum KeyType {
    /// Ed25519.
    Ed25519,
    /// ECDSA on the curve P-256: the fastest, and the default.
    #[default]
    P256,
    /// ECDSA on the curve P-384.
    P384,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 4096 bits; takes about a second to make.
    Rsa4096,
}

impl KeyType {
    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            Self::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::Rsa4096 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096),
        }
    }
}

/// The ASN.1 type of a Common Name.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum StringType {
    /// BMPString: UTF-16BE.
    Bmp,
    /// IA5String: ASCII.
    Ia5,
    /// PrintableString: letters, digits and some punctuation.
    Printable,
    /// TeletexString: Latin-1 in practice.
    Teletex,
    /// UniversalString: UTF-32; not supported in a Common Name.
    Universal,
    /// UTF8String: what every CA writes today.
    Utf8,
}

impl StringType {
    fn value(self, text: &str) -> Result<DnValue, rcgen::Error> {
        Ok(match self {
            Self::Bmp => DnValue::BmpString(text.try_into()?),
            Self::Ia5 => DnValue::Ia5String(text.try_into()?),
            // The encoder used by rcgen panics at this character, which the type allows.
            Self::Printable if text.contains('?') => {
                return Err(rcgen::Error::InvalidAsn1String(rcgen::InvalidAsn1String::PrintableString(
                    text.to_owned(),
                )));
            }
            Self::Printable => DnValue::PrintableString(text.try_into()?),
            Self::Teletex => DnValue::TeletexString(text.try_into()?),
            Self::Universal => DnValue::UniversalString(text.try_into()?),
            Self::Utf8 => DnValue::Utf8String(text.to_owned()),
        })
    }
}

/// A purpose in the extended key usage.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Purpose {
    /// anyExtendedKeyUsage.
    Any,
    /// Client authentication: Felix.
    ClientAuth,
    /// Code signing: neither end.
    CodeSigning,
    /// Server authentication: Typha.
    ServerAuth,
}

impl From<Purpose> for ExtendedKeyUsagePurpose {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Any => Self::Any,
            Purpose::ClientAuth => Self::ClientAuth,
            Purpose::CodeSigning => Self::CodeSigning,
            Purpose::ServerAuth => Self::ServerAuth,
        }
    }
}

/// The description of a certificate to make.
///
/// By default it is valid from an hour ago until a day ahead, with a P-256 key.
#[derive(Clone, Debug)]
pub struct CertificateSpec {
    /// The parameters without the names, because a name may be invalid on purpose.
    params: CertificateParams,
    common_names: Vec<(StringType, String)>,
    uri_sans: Vec<String>,
    dns_sans: Vec<String>,
    key_type: KeyType,
}

impl CertificateSpec {
    /// Describes a CA.
    pub fn ca(common_name: &str) -> Self {
        let mut spec = Self::leaf(common_name);
        spec.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        spec.params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        spec
    }

    /// Describes a leaf without extended key usage, which either end may use.
    pub fn leaf(common_name: &str) -> Self {
        Self::unnamed().common_name(common_name)
    }

    /// Describes a leaf with an empty subject.
    pub fn unnamed() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let (common_names, uri_sans, dns_sans) = (Vec::new(), Vec::new(), Vec::new());
        let spec = Self { params, common_names, uri_sans, dns_sans, key_type: KeyType::default() };
        let now = SystemTime::now();
        spec.valid(now - Duration::from_secs(3600), now + Duration::from_secs(24 * 3600))
    }

    /// Adds a Common Name. There may be several; the last one counts.
    #[must_use]
    pub fn common_name(self, common_name: &str) -> Self {
        self.common_name_as(StringType::Utf8, common_name)
    }

    /// Adds a Common Name of the given string type.
    #[must_use]
    pub fn common_name_as(mut self, string_type: StringType, common_name: &str) -> Self {
        self.common_names.push((string_type, common_name.to_owned()));
        self
    }

    /// Adds a URI SAN.
    #[must_use]
    pub fn uri_san(mut self, uri: &str) -> Self {
        self.uri_sans.push(uri.to_owned());
        self
    }

    /// Adds a DNS SAN.
    #[must_use]
    pub fn dns_san(mut self, name: &str) -> Self {
        self.dns_sans.push(name.to_owned());
        self
    }

    /// Adds an IP address SAN.
    #[must_use]
    pub fn ip_san(mut self, address: IpAddr) -> Self {
        self.params.subject_alt_names.push(SanType::IpAddress(address));
        self
    }

    /// Adds a purpose to the extended key usage.
    #[must_use]
    pub fn purpose(mut self, purpose: Purpose) -> Self {
        self.params.extended_key_usages.push(purpose.into());
        self
    }

    /// Sets the validity, in whole seconds.
    #[must_use]
    pub fn valid(mut self, not_before: SystemTime, not_after: SystemTime) -> Self {
        self.params.not_before = not_before.into();
        self.params.not_after = not_after.into();
        self
    }

    /// Sets the kind of key.
    #[must_use]
    pub fn key_type(mut self, key_type: KeyType) -> Self {
        self.key_type = key_type;
        self
    }

    /// Sets how many CAs may be between this CA and a leaf.
    #[must_use]
    pub fn path_length(mut self, length: u8) -> Self {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
        self
    }

    /// Drops the cA flag.
    #[must_use]
    pub fn without_ca_flag(mut self) -> Self {
        self.params.is_ca = IsCa::NoCa;
        self
    }

    /// Drops keyCertSign from the key usage.
    #[must_use]
    pub fn without_key_cert_sign(mut self) -> Self {
        self.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        self
    }

    /// Drops cRLSign from the key usage of a CA.
    #[must_use]
    pub fn without_crl_sign(mut self) -> Self {
        self.params.key_usages.retain(|usage| *usage != KeyUsagePurpose::CrlSign);
        self
    }

    /// Sets the serial number, a positive number in octets; by default it is derived from the key.
    #[must_use]
    pub fn serial_number(mut self, octets: &[u8]) -> Self {
        self.params.serial_number = Some(SerialNumber::from_slice(octets));
        self
    }

    /// Adds an extension: object identifier, criticality, DER value.
    #[must_use]
    pub fn extension(mut self, oid: &[u64], critical: bool, value: &[u8]) -> Self {
        let mut extension = CustomExtension::from_oid_content(oid, value.to_vec());
        extension.set_criticality(critical);
        self.params.custom_extensions.push(extension);
        self
    }

    fn params(&self) -> Result<CertificateParams, rcgen::Error> {
        let mut params = self.params.clone();
        for (index, (string_type, name)) in self.common_names.iter().enumerate() {
            // rcgen keeps one attribute of each type. It takes an object identifier written out as another
            // type.
            let attribute =
                if index == 0 { DnType::CommonName } else { DnType::CustomDnType(vec![2, 5, 4, 3]) };
            params.distinguished_name.push(attribute, string_type.value(name)?);
        }
        for uri in &self.uri_sans {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        for name in &self.dns_sans {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        Ok(params)
    }
}

/// A CA of the throw-away PKI.
#[derive(Debug)]
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    /// This CA's certificate, and those of the intermediates above it. Peers do not send the root.
    path: Vec<CertificateDer<'static>>,
    root: CertificateDer<'static>,
}

impl TestCa {
    /// Makes a self-signed root.
    ///
    /// # Errors
    ///
    /// [`PkiError::Certificate`].
    pub fn new(spec: CertificateSpec) -> Result<Self, PkiError> {
        let (params, key) = (spec.params()?, spec.key_type.generate()?);
        let root = params.self_signed(&key)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), path: Vec::new(), root })
    }

    /// Makes an intermediate CA below this one.
    ///
    /// # Errors
    ///
    /// [`PkiError::Certificate`].
    pub fn intermediate(&self, spec: CertificateSpec) -> Result<Self, PkiError> {
        let (params, key) = (spec.params()?, spec.key_type.generate()?);
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let path = std::iter::once(certificate).chain(self.path.iter().cloned()).collect();
        Ok(Self { issuer: Issuer::new(params, key), path, root: self.root.clone() })
    }

    /// Issues a leaf. Its chain has all intermediates, but not the root.
    ///
    /// # Errors
    ///
    /// [`PkiError::Certificate`].
    pub fn issue(&self, spec: CertificateSpec) -> Result<TestLeaf, PkiError> {
        let (mut params, key) = (spec.params()?, spec.key_type.generate()?);
        let serial = params.serial_number.take().unwrap_or_else(|| serial_number(&params, &key));
        params.serial_number = Some(serial.clone());
        let leaf = params.signed_by(&key, &self.issuer)?.der().clone();
        let chain = std::iter::once(leaf).chain(self.path.iter().cloned()).collect();
        Ok(TestLeaf { chain, key, serial })
    }

    /// Makes a list of revoked leaves of this CA. Its nextUpdate is `next_update`.
    ///
    /// # Errors
    ///
    /// [`PkiError::Certificate`].
    pub fn revocation_list(
        &self,
        revoked: &[&TestLeaf],
        next_update: SystemTime,
    ) -> Result<CertificateRevocationListDer<'static>, PkiError> {
        let this_update = next_update - Duration::from_secs(24 * 3600);
        let revoked_certs = revoked.iter().map(|leaf| RevokedCertParams {
            serial_number: leaf.serial.clone(),
            revocation_time: this_update.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: this_update.into(),
            next_update: next_update.into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.der().clone())
    }

    /// The certificate of the root.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// The root as PEM.
    pub fn root_pem(&self) -> String {
        pem("CERTIFICATE", &self.root)
    }

    /// This CA's private key as PEM (PKCS#8).
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A bundle of the root alone.
    ///
    /// # Errors
    ///
    /// [`PkiError::Material`] if the root is unusable on purpose.
    pub fn trust_bundle(&self) -> Result<TrustBundle, PkiError> {
        Ok(TrustBundle::from_der([self.root.clone()])?)
    }
}

/// A leaf of the throw-away PKI, with its chain and key.
#[derive(Debug)]
pub struct TestLeaf {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    serial: SerialNumber,
}

impl TestLeaf {
    /// Makes a self-signed leaf.
    ///
    /// # Errors
    ///
    /// [`PkiError::Certificate`].
    pub fn self_signed(spec: CertificateSpec) -> Result<Self, PkiError> {
        let (params, key) = (spec.params()?, spec.key_type.generate()?);
        let serial = serial_number(&params, &key);
        let leaf = params.self_signed(&key)?.der().clone();
        Ok(Self { chain: vec![leaf], key, serial })
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The chain as PEM.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
    }

    /// The private key as DER (PKCS#8; of version 2 for Ed25519, which OpenSSL 3.0 does not read).
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }

    /// The private key as PEM, in the same form as [`key`](Self::key).
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Chain and key for an acceptor or a connector.
    ///
    /// # Errors
    ///
    /// [`PkiError::Material`] if the leaf is unusable on purpose.
    pub fn credentials(&self, provider: &CryptoProvider) -> Result<Credentials, PkiError> {
        Ok(Credentials::from_der(self.chain.clone(), self.key(), provider)?)
    }
}

/// Different for each key, positive, and at most 20 octets long, as RFC 5280 section 4.1.2.2 requires.
fn serial_number(params: &CertificateParams, key: &KeyPair) -> SerialNumber {
    let identifier = params.key_identifier(key);
    let octets: Vec<u8> = std::iter::once(1).chain(identifier.into_iter().take(15)).collect();
    SerialNumber::from_slice(&octets)
}

fn pem(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

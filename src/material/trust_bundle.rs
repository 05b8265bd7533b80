//! The CAs that are trusted for the other end.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::DistinguishedName;
use rustls_pki_types::pem::SectionKind;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};

use super::error::{MEMORY, MaterialError};
use super::pem::{self, Expected};
use super::warning::MaterialWarning;
use crate::certificate::{Certificate, KeyPurpose, MalformedCertificate};
use crate::file::ReadFile;
use crate::text::hex;

/// The CAs that are trusted for the other end; never empty.
///
/// A peer whose leaf equals an entry, byte for byte, is accepted as itself, as in Go: whoever issued the leaf, and
/// also if it is marked as a CA. An entry that is no CA issues nothing.
#[derive(Clone)]
pub struct TrustBundle {
    entries: Vec<BundleEntry>,
    /// In the order of `entries`.
    anchors: Vec<TrustAnchor<'static>>,
}

/// One certificate of the bundle, with facts that webpki's trust anchor lacks.
#[derive(Clone)]
pub(crate) struct BundleEntry {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) subject: String,
    /// The subject and a part of the key, which tells CAs of the same name apart.
    pub(crate) label: Arc<str>,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    pub(crate) can_issue: Result<(), &'static str>,
    pub(crate) path_length: Option<u32>,
    pub(crate) unhandled_critical_extension: Option<String>,
    pub(crate) subject_key_identifier: Option<Box<[u8]>>,
    pub(crate) rsa_key_bits: Option<usize>,
    pub(crate) issuer_der: Box<[u8]>,
    subject_der: Box<[u8]>,
    allows_client_auth: bool,
    allows_server_auth: bool,
}

impl BundleEntry {
    pub(crate) fn allows(&self, purpose: KeyPurpose) -> bool {
        match purpose {
            KeyPurpose::ClientAuth => self.allows_client_auth,
            KeyPurpose::ServerAuth => self.allows_server_auth,
        }
    }

    /// Whether `issuer`, a DER name, is this certificate's subject.
    pub(crate) fn is_named(&self, issuer: &[u8]) -> bool {
        *self.subject_der == *issuer
    }
}

/// Critical extensions of a CA that webpki or this crate processes. Those that only restrict certificate policies are
/// included, because nothing here relies on policies.
const HANDLED_CRITICAL_EXTENSIONS: &[&[u8]] = &[
    &[0x55, 0x1d, 15], // key usage
    &[0x55, 0x1d, 17], // subject alternative name
    &[0x55, 0x1d, 19], // basic constraints
    &[0x55, 0x1d, 30], // name constraints
    &[0x55, 0x1d, 31], // CRL distribution points
    &[0x55, 0x1d, 32], // certificate policies
    &[0x55, 0x1d, 33], // policy mappings
    &[0x55, 0x1d, 36], // policy constraints
    &[0x55, 0x1d, 37], // extended key usage
    &[0x55, 0x1d, 54], // inhibit anyPolicy
];

const EXPECTED: Expected = Expected {
    labels: &["CERTIFICATE"],
    description: "only CERTIFICATE blocks (the trusted CAs) are allowed",
};

impl TrustBundle {
    /// Reads a PEM bundle (`CAFile`, `TyphaCAFile`).
    ///
    /// # Errors
    ///
    /// [`MaterialError`] if the file can not be read, holds no certificate, holds anything else, or has a damaged
    /// certificate. A CA that is skipped silently would cause an outage later.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, MaterialError> {
        Self::of_file(ReadFile::new(path.as_ref()))
    }

    pub(super) fn of_file(file: ReadFile) -> Result<Self, MaterialError> {
        let (pem, origin) = pem::contents(file)?;
        Self::parse_pem(&pem, &origin)
    }

    /// Reads a PEM bundle from memory.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_pem(pem: &[u8]) -> Result<Self, MaterialError> {
        Self::parse_pem(pem, MEMORY)
    }

    /// Takes DER certificates.
    ///
    /// # Errors
    ///
    /// [`MaterialError`] if there is no certificate or one is malformed.
    pub fn from_der(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, MaterialError> {
        Self::parse(certificates, MEMORY)
    }

    fn parse_pem(pem: &[u8], origin: &str) -> Result<Self, MaterialError> {
        let blocks = pem::decode(pem, origin, &EXPECTED)?;
        Self::parse(certificates(blocks), origin)
    }

    fn parse(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
        origin: &str,
    ) -> Result<Self, MaterialError> {
        let mut bundle = Self { entries: Vec::new(), anchors: Vec::new() };
        for (index, certificate) in certificates.into_iter().enumerate() {
            if bundle.entries.iter().any(|entry| entry.der == certificate) {
                continue;
            }
            bundle.add(certificate).map_err(|source| MaterialError::Certificate {
                origin: origin.to_owned(),
                position: index + 1,
                source,
            })?;
        }
        if bundle.entries.is_empty() {
            return Err(MaterialError::NoCertificate(origin.to_owned()));
        }
        Ok(bundle)
    }

    fn add(&mut self, der: CertificateDer<'static>) -> Result<(), MalformedCertificate> {
        let anchor = webpki::anchor_from_trusted_cert(&der)
            .map_err(|error| {
                MalformedCertificate::new(format!("it can not serve as a trust anchor ({error})"))
            })?
            .to_owned();
        let certificate = Certificate::parse(&der)?;
        let entry = BundleEntry {
            subject: certificate.subject_text(),
            label: label(&certificate),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            can_issue: certificate.can_issue(),
            path_length: certificate.path_length(),
            unhandled_critical_extension: certificate
                .unhandled_critical_extension(HANDLED_CRITICAL_EXTENSIONS),
            subject_key_identifier: certificate.subject_key_identifier().map(Into::into),
            rsa_key_bits: certificate.rsa_key_bits(),
            issuer_der: certificate.issuer_der().into(),
            subject_der: certificate.subject_der().into(),
            allows_client_auth: certificate.allows(KeyPurpose::ClientAuth),
            allows_server_auth: certificate.allows(KeyPurpose::ServerAuth),
            der: der.clone(),
        };
        self.anchors.push(anchor);
        self.entries.push(entry);
        Ok(())
    }

    /// The subjects of the certificates, as text for people: `O="example", CN="ca"`. There is at least one. Duplicate
    /// certificates count once.
    pub fn subjects(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.subject)
    }

    /// Reports probable mistakes: entries that are no CA, and CAs that are not valid `now`.
    pub fn warnings(&self, now: UnixTime) -> Vec<MaterialWarning> {
        self.entries.iter().filter_map(|entry| entry.warning(now)).collect()
    }

    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.entries.iter().map(|entry| &entry.der).eq(other.entries.iter().map(|entry| &entry.der))
    }

    /// The entry that equals this certificate, byte for byte.
    pub(crate) fn entry_of(&self, certificate: &CertificateDer<'_>) -> Option<&BundleEntry> {
        self.entries.iter().find(|entry| entry.der == *certificate)
    }

    pub(crate) fn entries(&self) -> &[BundleEntry] {
        &self.entries
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The CA names that a server sends to its clients. A Go client sends no certificate of another issuer.
    pub(crate) fn distinguished_names(&self) -> Vec<DistinguishedName> {
        self.anchors.iter().map(|anchor| DistinguishedName::in_sequence(&anchor.subject)).collect()
    }
}

fn label(certificate: &Certificate<'_>) -> Arc<str> {
    let (what, bytes) = match certificate.subject_key_identifier() {
        Some(key) => ("key", key),
        None => ("serial", certificate.serial()),
    };
    let digits = hex(bytes.get(..4).unwrap_or(bytes));
    format!("{} ({what} {digits})", certificate.subject_text()).into()
}

impl BundleEntry {
    pub(crate) fn warning(&self, now: UnixTime) -> Option<MaterialWarning> {
        let subject = self.subject.clone();
        if let Err(why) = self.can_issue {
            return Some(MaterialWarning::NotACa { subject, why });
        }
        if now > self.not_after {
            return Some(MaterialWarning::CaExpired { subject, not_after: self.not_after });
        }
        (now < self.not_before)
            .then_some(MaterialWarning::CaNotYetValid { subject, not_before: self.not_before })
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.subjects()).finish()
    }
}

/// The certificates among decoded PEM blocks.
pub(super) fn certificates(
    blocks: Vec<(SectionKind, Vec<u8>)>,
) -> impl Iterator<Item = CertificateDer<'static>> {
    blocks
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .map(|(_, der)| CertificateDer::from(der))
}

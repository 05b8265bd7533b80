//! The CAs that are trusted for the other end.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::DistinguishedName;
use rustls_pki_types::pem::SectionKind;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};

use super::diagnosis::FileKind;
use super::error::{EMPTY, MEMORY, MaterialError};
use super::expiry::expires_soon;
use super::pem::{self, Blocks};
use super::warning::MaterialWarning;
use crate::certificate::{Certificate, KeyPurpose, MalformedCertificate};
use crate::der::{DerReader, SEQUENCE};
use crate::file::{Permissions, ReadFile};
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
    /// Of the file, if it has a private key.
    permissions: Option<Permissions>,
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
    public_key_info: Box<[u8]>,
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

    /// Whether `now` is within its validity.
    pub(crate) fn is_valid(&self, now: UnixTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
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
        let permissions = file.permissions();
        let (pem, origin) = pem::contents(file)?;
        let (bundle, has_private_key) = Self::parse_pem(&pem, &origin)?;
        Ok(Self { permissions: permissions.filter(|_| has_private_key), ..bundle })
    }

    /// The file is that of our own private key, too.
    pub(super) fn expect_private_key(&mut self) {
        self.permissions = None;
    }

    /// Reads a PEM bundle from memory.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_pem(pem: &[u8]) -> Result<Self, MaterialError> {
        Self::parse_pem(pem, MEMORY).map(|(bundle, _)| bundle)
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

    /// Also returns whether the file has a private key.
    fn parse_pem(pem: &[u8], origin: &str) -> Result<(Self, bool), MaterialError> {
        let Blocks { blocks, has_private_key } = pem::decode(pem, origin, FileKind::Bundle)?;
        Ok((Self::parse(certificates(blocks), origin)?, has_private_key))
    }

    fn parse(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
        origin: &str,
    ) -> Result<Self, MaterialError> {
        let mut bundle = Self { entries: Vec::new(), anchors: Vec::new(), permissions: None };
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
            return Err(MaterialError::NoCertificate { origin: origin.to_owned(), found: EMPTY.to_owned() });
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
            public_key_info: certificate.public_key_info().into(),
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

    /// The subjects with a part of the key, as in [`VerifiedChain::ca`](crate::verifier::VerifiedChain::ca):
    /// `CN="ca" (key 1f0c88a2)`. They distinguish CAs that share a subject.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.label)
    }

    /// Reports probable mistakes: entries that are no CA, CAs that are not valid `now` or expire soon, and a private
    /// key in the file that others can access.
    ///
    /// A CA is not reported if its renewal is in the bundle too and is valid: a certificate of the same name and key.
    /// What the CA issued is accepted by the renewal.
    pub fn warnings(&self, now: UnixTime) -> Vec<MaterialWarning> {
        let of_key = self.permissions.as_ref().and_then(MaterialWarning::of_key_in_certificate_file);
        let of_entries = self.entries.iter().filter_map(|entry| self.warning(entry, now));
        of_entries.chain(of_key).collect()
    }

    fn warning(&self, entry: &BundleEntry, now: UnixTime) -> Option<MaterialWarning> {
        let (subject, not_after) = (entry.subject.clone(), entry.not_after);
        match entry.can_issue {
            Err(_) if now > not_after => return Some(MaterialWarning::PinExpired { subject, not_after }),
            Err(_) if now < entry.not_before => {
                return Some(MaterialWarning::PinNotYetValid { subject, not_before: entry.not_before });
            }
            Err(why) => return Some(MaterialWarning::NotACa { subject, why }),
            Ok(()) => {}
        }
        if self.is_renewed(entry, now) {
            return None;
        }
        if now > not_after {
            return Some(MaterialWarning::CaExpired { subject, not_after });
        }
        if now < entry.not_before {
            return Some(MaterialWarning::CaNotYetValid { subject, not_before: entry.not_before });
        }
        expires_soon(entry.not_before, not_after, now)
            .then_some(MaterialWarning::CaExpiresSoon { subject, not_after })
    }

    /// Whether the bundle has another certificate of this CA's name and key that is valid now, and for longer or not
    /// only later than this one.
    pub(crate) fn is_renewed(&self, entry: &BundleEntry, now: UnixTime) -> bool {
        self.entries.iter().any(|other| {
            let is_better = other.not_after > entry.not_after || now < entry.not_before;
            is_better
                && other.is_valid(now)
                && other.can_issue.is_ok()
                && other.subject_der == entry.subject_der
                && other.public_key_info == entry.public_key_info
        })
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
        let subjects = self.anchors.iter().map(|anchor| &*anchor.subject);
        // What an entry that is no CA is accepted as has its issuer's name.
        let pins = self.entries.iter().filter(|entry| entry.can_issue.is_err());
        let mut names: Vec<&[u8]> = subjects
            .chain(pins.filter_map(|pin| DerReader::single(&pin.issuer_der, SEQUENCE).ok()))
            .collect();
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(*name));
        names.into_iter().map(DistinguishedName::in_sequence).collect()
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

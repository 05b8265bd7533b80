//! From files to revocation lists whose signatures are verified.

use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::SectionKind;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::{BorrowedCertRevocationList, CertRevocationList};

use super::issuers::{Found, Issuers};
use super::list::RevocationList;
use crate::certificate::signed::Signed;
use crate::certificate::{name_text, revocation_list_times};
use crate::der::{DerError, DerReader, INTEGER, SEQUENCE, shortest_integer};
use crate::file::ReadFile;
use crate::material::diagnosis::{Binary, FileKind};
use crate::material::error::{MEMORY, MaterialError};
use crate::material::pem;
use crate::material::trust_bundle::TrustBundle;

/// The contents of the files, before any signature is verified.
#[derive(Default)]
pub(super) struct Unverified {
    pub(super) lists: Vec<Found<CertificateRevocationListDer<'static>>>,
    certificates: Vec<Found<CertificateDer<'static>>>,
}

impl Unverified {
    /// Adds the contents of a file. A file without a list is an error, because it was configured as a list file.
    pub(super) fn add_file(&mut self, file: ReadFile) -> Result<(), MaterialError> {
        let (bytes, origin) = pem::contents(file)?;
        // Another form of DER is diagnosed as such.
        if is_der(&bytes) && Binary::of(&bytes).is_none_or(|found| found == Binary::RevocationList) {
            self.lists.push(Found::new(&origin, 0, bytes.into()));
            return Ok(());
        }
        self.add_pem(&bytes, &origin)
    }

    pub(super) fn add_pem(&mut self, pem: &[u8], origin: &str) -> Result<(), MaterialError> {
        let (mut lists, mut certificates) = (0, 0);
        for (kind, der) in pem::decode(pem, origin, FileKind::Lists)?.blocks {
            if kind == SectionKind::Crl {
                self.lists.push(Found::new(origin, lists, der.into()));
                lists += 1;
            } else if kind == SectionKind::Certificate {
                self.certificates.push(Found::new(origin, certificates, der.into()));
                certificates += 1;
            }
        }
        Ok(())
    }

    pub(super) fn add_list(&mut self, list: &CertificateRevocationListDer<'_>) {
        let index = self.lists.len();
        self.lists.push(Found::new(MEMORY, index, list.to_vec().into()));
    }

    /// Keeps the lists that CAs of the bundle, or CAs below them, have signed. Any other list is an error. Also returns
    /// the certificates of these CAs.
    pub(super) fn verify(
        self,
        bundle: &TrustBundle,
        provider: &CryptoProvider,
    ) -> Result<(Vec<RevocationList>, Vec<CertificateDer<'static>>), MaterialError> {
        let algorithms = provider.signature_verification_algorithms;
        let mut issuers = Issuers::of_bundle(bundle, &algorithms);
        issuers.add(&self.certificates)?;
        let mut lists: Vec<RevocationList> = Vec::new();
        for found in &self.lists {
            let list = verify(&found.der, &issuers).map_err(|problem| found.unusable_list(problem))?;
            if lists.iter().any(|earlier| earlier.is_of(list.issuer_name(), &list.issuer_key)) {
                let problem = format!(
                    "it is the second list of the same issuer, {}; leave only the current one",
                    list.issuer
                );
                return Err(found.unusable_list(problem));
            }
            lists.push(list);
        }
        let cas = if lists.is_empty() { Vec::new() } else { issuers.certificates().collect() };
        Ok((lists, cas))
    }
}

/// Whether the bytes are DER rather than PEM. A revocation list has 128 bytes or more, so that its SEQUENCE begins with
/// two bytes with which no text begins.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [SEQUENCE, 0x80..=0xff, ..])
}

fn verify(der: &CertificateRevocationListDer<'_>, issuers: &Issuers<'_>) -> Result<RevocationList, String> {
    let signed = Signed::parse(der).map_err(|error| match error {
        DerError::Value => "it names two different signature algorithms (RFC 5280 section 5.1.1.2)",
        _ => "it is not a DER-encoded certificate revocation list",
    })?;
    let signer = issuers.signer(&signed)?;
    if DerReader::new(signed.contents).expect(INTEGER).is_err() {
        // RFC 5280 section 5.1.2.1. `openssl ca -gencrl` makes version 1 by default.
        return Err(
            "it is of version 1; have the CA write version 2 (crlnumber in the configuration of openssl ca)"
                .to_owned(),
        );
    }
    let (this_update, next_update) =
        revocation_list_times(der).ok_or("it is not a DER-encoded certificate revocation list")?;
    let next_update = next_update.ok_or("it does not say when it must be replaced (nextUpdate)")?;
    let list = BorrowedCertRevocationList::from_der(der).map_err(problem)?;
    for entry in &list {
        let serial = entry.map_err(problem)?.serial_number;
        // Lookups by serial number would not find it.
        if shortest_integer(serial) != serial {
            return Err("a serial number on it is not in its shortest form, as DER demands".to_owned());
        }
    }
    let list = CertRevocationList::Owned(list.to_owned().map_err(problem)?);
    if list.issuing_distribution_point().is_some() {
        return Err(PARTIAL.to_owned());
    }
    let issuer_key = DerReader::single(signer.public_key_info(), SEQUENCE)
        .map_err(|_| "the key of its issuer is not valid DER")?;
    Ok(RevocationList {
        list,
        issuer: name_text(signed.issuer),
        issuer_key: issuer_key.into(),
        signature: signed.signature.into(),
        this_update,
        next_update,
    })
}

const PARTIAL: &str =
    "it covers only a part of its issuer's certificates (issuing distribution point), which is not supported";

/// webpki's reason as text, with a remedy where one exists.
fn problem(error: webpki::Error) -> String {
    match error {
        webpki::Error::UnsupportedDeltaCrl => {
            "it has only the changes since another list (delta list), which is not supported; use the complete list"
            .to_owned()
        }
        webpki::Error::UnsupportedIndirectCrl => {
            "it covers certificates of other issuers (indirect list), which is not supported".to_owned()
        }
        webpki::Error::MalformedExtensions => {
            // RFC 5280 section 5.2 requires the CRL number and the key identifier of the issuer in each list.
            "its extensions are malformed, or it has none; have the CA number its lists (crlnumber in the \
             configuration of openssl ca)"
                .to_owned()
        }
        webpki::Error::UnsupportedCrlIssuingDistributionPoint
        | webpki::Error::UnsupportedRevocationReasonsPartitioning => PARTIAL.to_owned(),
        webpki::Error::UnsupportedCriticalExtension => {
            "it has a critical extension that is not supported".to_owned()
        }
        other => other.to_string(),
    }
}

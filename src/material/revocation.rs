//! Certificate revocation lists (RFC 5280 section 5).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::SectionKind;
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::error::{MaterialError, Origin};
use super::pem::{self, Expected};

/// Lists of revoked certificates of the other end.
///
/// With lists configured, every certificate of a peer's chain is looked up in the list of its issuer. A list that is
/// past its `nextUpdate` or whose signature is not its issuer's refuses the peer: it could hide a revocation. A
/// certificate whose issuer has no list is not refused, since a CA without revocation publishes none.
#[derive(Clone, Default)]
pub struct RevocationLists(Arc<[CertRevocationList<'static>]>);

const EXPECTED: Expected = Expected { labels: &["X509 CRL"], description: "only X509 CRL blocks may stand" };

impl RevocationLists {
    /// No list: nothing is looked up. Calico has no parameter for lists, so this is what its parameters give.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a PEM file of one or more lists.
    ///
    /// # Errors
    ///
    /// [`MaterialError`] if the file can not be read, holds no list, or if any one of them is damaged.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, MaterialError> {
        let path = path.as_ref();
        Self::parse_pem(&pem::read_file(path)?.0, &Origin::file(path))
    }

    /// Reads PEM lists from memory.
    ///
    /// # Errors
    ///
    /// As [`from_pem_file`](Self::from_pem_file).
    pub fn from_pem(pem: &[u8]) -> Result<Self, MaterialError> {
        Self::parse_pem(pem, &Origin::Memory)
    }

    /// Takes DER lists.
    ///
    /// # Errors
    ///
    /// [`MaterialError`] if there is none or one is damaged.
    pub fn from_der<'a>(
        lists: impl IntoIterator<Item = CertificateRevocationListDer<'a>>,
    ) -> Result<Self, MaterialError> {
        Self::parse(lists, &Origin::Memory)
    }

    fn parse_pem(pem: &[u8], origin: &Origin) -> Result<Self, MaterialError> {
        let lists = pem::decode(pem, origin, &EXPECTED)?
            .into_iter()
            .filter(|(kind, _)| *kind == SectionKind::Crl)
            .map(|(_, der)| CertificateRevocationListDer::from(der));
        Self::parse(lists, origin)
    }

    fn parse<'a>(
        lists: impl IntoIterator<Item = CertificateRevocationListDer<'a>>,
        origin: &Origin,
    ) -> Result<Self, MaterialError> {
        let lists = lists
            .into_iter()
            .enumerate()
            .map(|(index, list)| {
                OwnedCertRevocationList::from_der(&list).map(CertRevocationList::Owned).map_err(|error| {
                    MaterialError::RevocationList {
                        origin: origin.clone(),
                        position: index + 1,
                        problem: error.to_string(),
                    }
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if lists.is_empty() {
            return Err(MaterialError::NoRevocationList(origin.clone()));
        }
        Ok(Self(lists.into()))
    }

    pub(crate) fn lists(&self) -> &[CertRevocationList<'static>] {
        &self.0
    }
}

impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationLists({})", self.0.len())
    }
}

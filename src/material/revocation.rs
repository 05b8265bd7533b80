//! Certificate revocation lists (RFC 5280 section 5).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::SectionKind;
use rustls_pki_types::{CertificateRevocationListDer, UnixTime};
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::error::{MaterialError, Origin};
use super::pem::{self, Expected};
use crate::certificate::revocation_list_next_update;

/// Lists of revoked certificates of the other end.
///
/// With lists configured, every certificate of a peer's chain is looked up in the list of its issuer. A list that is
/// past its `nextUpdate` or whose signature is not its issuer's refuses the peer: it could hide a revocation. A
/// certificate whose issuer has no list is not refused, since a CA without revocation publishes none.
///
/// Of an issuer there is one list, for all of its certificates: a second one of the same name (a superseded one, or one of
/// a CA made anew under that name) and one that covers only a part of the certificates (an issuing distribution point)
/// are errors, since only one would be looked at.
#[derive(Clone, Default)]
pub struct RevocationLists {
    lists: Arc<[CertRevocationList<'static>]>,
    /// In the order of `lists`.
    next_updates: Arc<[UnixTime]>,
}

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
        let mut parsed = Vec::new();
        let mut next_updates = Vec::new();
        for (index, list) in lists.into_iter().enumerate() {
            let unusable = |problem: String| MaterialError::RevocationList {
                origin: origin.clone(),
                position: index + 1,
                problem,
            };
            let owned =
                OwnedCertRevocationList::from_der(&list).map_err(|error| unusable(error.to_string()))?;
            parsed.push(CertRevocationList::Owned(owned));
            let due = revocation_list_next_update(&list).ok_or_else(|| {
                unusable("it does not say when the next one is due (nextUpdate)".to_owned())
            })?;
            next_updates.push(due);
        }
        let lists = parsed;
        check_coverage(&lists, origin)?;
        if lists.is_empty() {
            return Err(MaterialError::NoRevocationList(origin.clone()));
        }
        Ok(Self { lists: lists.into(), next_updates: next_updates.into() })
    }

    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lists, &other.lists) || (self.lists.is_empty() && other.lists.is_empty())
    }

    pub(crate) fn lists(&self) -> &[CertRevocationList<'static>] {
        &self.lists
    }

    /// The nextUpdate of the list of `issuer`, a DER name without its header, as `webpki` has it.
    pub(crate) fn next_update(&self, issuer: &[u8]) -> Option<UnixTime> {
        let mut lists = self.lists.iter().zip(&*self.next_updates);
        lists.find_map(|(list, next_update)| (list.issuer() == issuer).then_some(*next_update))
    }
}

/// webpki looks at the first list that is authoritative by its issuer's name, and at no other.
fn check_coverage(lists: &[CertRevocationList<'static>], origin: &Origin) -> Result<(), MaterialError> {
    for (index, list) in lists.iter().enumerate() {
        let problem = if list.issuing_distribution_point().is_some() {
            "it covers only a part of its issuer's certificates (issuing distribution point), which is not supported"
        } else if lists.iter().take(index).any(|earlier| earlier.issuer() == list.issuer()) {
            "it is the second list of the same issuer; leave only the current one"
        } else {
            continue;
        };
        let (origin, problem) = (origin.clone(), problem.to_owned());
        return Err(MaterialError::RevocationList { origin, position: index + 1, problem });
    }
    Ok(())
}

impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationLists({})", self.lists.len())
    }
}

//! Certificate revocation lists (RFC 5280 section 5).

mod issuers;
mod list;
mod loading;
mod policy;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateRevocationListDer, UnixTime};

pub use list::RevocationList;
use loading::Unverified;
pub use policy::RevocationPolicy;

use super::error::{MEMORY, MaterialError};
use super::signed::Signed;
use super::trust_bundle::TrustBundle;
use super::warning::MaterialWarning;
use crate::certificate::Certificate;
use crate::der::{DerReader, SEQUENCE};
use crate::file::ReadFile;

/// Lists of revoked certificates of the other end, and the [policy](RevocationPolicy) by which they are asked.
///
/// Every list here was signed by the CA that it is of: a CA of the bundle, or an intermediate below one whose
/// certificate stands in one of the list files. Where it has a key usage, that must include cRLSign (RFC 5280 section
/// 4.2.1.3). A list counts for the certificates of that name **and** key, so that a CA that was made anew under its
/// name has a list of its own.
///
/// A list covers all certificates of its issuer. One that covers a part of them (issuing distribution point), that
/// tells only what changed (delta list) or that tells of other issuers (indirect list) is an error, and so are a second
/// list of the same issuer and one that does not say when the next is due (nextUpdate). An entry counts whatever its
/// reason: removeFromCRL has a meaning in delta lists only.
#[derive(Clone, Default)]
pub struct RevocationLists {
    lists: Arc<[RevocationList]>,
    policy: RevocationPolicy,
    /// CAs of the bundle that the lists were read with, by their subjects, and the issuers that revoke them.
    revoked_cas: Arc<[(String, String)]>,
}

impl RevocationLists {
    /// No list, and the default policy: nothing is looked up. Calico has no parameter for lists, so this is what its
    /// parameters give.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads files with the lists of the CAs in `issuers`; no file gives no list. `provider` verifies the signatures.
    ///
    /// A file is PEM or DER, whichever it is. PEM may hold several lists (`X509 CRL`), and the certificates
    /// (`CERTIFICATE`) of intermediate CAs that are not in the bundle but signed one of the lists.
    ///
    /// # Errors
    ///
    /// [`MaterialError`] if a file can not be read or holds no list, if any list is damaged or can not be attributed to
    /// a CA of the bundle, or if there are two of the same CA.
    pub fn from_files(
        paths: impl IntoIterator<Item = impl AsRef<Path>>,
        issuers: &TrustBundle,
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        let files = paths.into_iter().map(|path| ReadFile::new(path.as_ref()));
        Self::of_files(files, issuers, provider)
    }

    pub(super) fn of_files(
        files: impl IntoIterator<Item = ReadFile>,
        issuers: &TrustBundle,
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        let mut unverified = Unverified::default();
        files.into_iter().try_for_each(|file| unverified.add_file(file))?;
        Self::verified(unverified, issuers, provider)
    }

    /// Reads PEM lists, and certificates of intermediate CAs, from memory.
    ///
    /// # Errors
    ///
    /// As [`from_files`](Self::from_files).
    pub fn from_pem(
        pem: &[u8],
        issuers: &TrustBundle,
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        let mut unverified = Unverified::default();
        unverified.add_pem(pem, MEMORY)?;
        Self::verified(unverified, issuers, provider)
    }

    /// Takes DER lists, all of CAs of the bundle.
    ///
    /// # Errors
    ///
    /// As [`from_files`](Self::from_files); no list is an error, too.
    pub fn from_der<'a>(
        lists: impl IntoIterator<Item = CertificateRevocationListDer<'a>>,
        issuers: &TrustBundle,
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        let mut unverified = Unverified::default();
        lists.into_iter().for_each(|list| unverified.add_list(&list));
        if unverified.lists.is_empty() {
            return Err(MaterialError::NoRevocationList(MEMORY.to_owned()));
        }
        Self::verified(unverified, issuers, provider)
    }

    fn verified(
        unverified: Unverified,
        issuers: &TrustBundle,
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        let lists = unverified.verify(issuers, provider)?;
        let revoked_cas = revoked_cas(&lists, issuers, provider).collect();
        Ok(Self { lists: lists.into(), policy: RevocationPolicy::default(), revoked_cas })
    }

    /// The same lists under another policy.
    #[must_use]
    pub fn with_policy(self, policy: RevocationPolicy) -> Self {
        Self { policy, ..self }
    }

    /// The policy by which the lists are asked.
    pub fn policy(&self) -> RevocationPolicy {
        self.policy
    }

    /// The lists, in the order in which they were read.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &RevocationList> {
        self.lists.iter()
    }

    /// What is likely not meant: lists that should have been replaced or are of the future, revoked CAs that are
    /// trusted all the same since they stand in the bundle themselves, and a policy that refuses everybody for want of
    /// lists.
    pub fn warnings(&self, now: UnixTime) -> Vec<MaterialWarning> {
        let missing = self.lists.is_empty() && self.policy.refuse_unknown;
        let missing = missing.then_some(MaterialWarning::NoRevocationList);
        let of_lists = self.lists.iter().filter_map(|list| list.warning(self.policy, now));
        let revoked_cas = self.revoked_cas.iter().cloned();
        let revoked_cas =
            revoked_cas.map(|(subject, issuer)| MaterialWarning::RevokedCaInBundle { subject, issuer });
        missing.into_iter().chain(of_lists).chain(revoked_cas).collect()
    }

    /// What would take the place of a list of the same CA that was made later. One of the future does not count: it was
    /// made by a clock that was wrong.
    pub(crate) fn older_than(&self, in_force: &Self, now: UnixTime) -> Option<MaterialWarning> {
        self.iter().find_map(|list| {
            let known = in_force.list_of(list.issuer_name(), &list.issuer_key)?;
            let (this_update, in_force) = (list.this_update, known.this_update);
            let issuer = list.issuer.clone();
            (this_update < in_force && in_force <= now).then_some(MaterialWarning::RevocationListOlder {
                issuer,
                this_update,
                in_force,
            })
        })
    }

    /// Whether they answer alike.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let signatures = |lists: &'_ Self| {
            let signed = |list: &RevocationList| (list.issuer_key.clone(), list.signature.clone());
            lists.iter().map(signed).collect::<Vec<_>>()
        };
        self.policy == other.policy && signatures(self) == signatures(other)
    }

    /// The list of the issuer of this name and key, the contents of a Name and of a SubjectPublicKeyInfo.
    pub(crate) fn list_of(&self, name: &[u8], key: &[u8]) -> Option<&RevocationList> {
        self.lists.iter().find(|list| list.is_of(name, key))
    }
}

/// The CAs of the bundle that one of the lists revokes, with its issuer. A trusted CA is not looked up, so that
/// somebody has to say that.
fn revoked_cas(
    lists: &[RevocationList],
    bundle: &TrustBundle,
    provider: &CryptoProvider,
) -> impl Iterator<Item = (String, String)> {
    let algorithms = provider.signature_verification_algorithms.all;
    let cas = bundle.entries().iter().filter(|entry| entry.can_issue.is_ok());
    cas.filter_map(move |entry| {
        let (certificate, signed) = (Certificate::parse(&entry.der).ok()?, Signed::parse(&entry.der).ok()?);
        let name = DerReader::single(signed.issuer, SEQUENCE).ok()?;
        let list = lists.iter().find(|list| {
            list.issuer_name() == name
                && list.revokes(certificate.serial())
                && signed.verify_by(&list.issuer_key, algorithms).is_ok()
        })?;
        Some((entry.subject.clone(), list.issuer.clone()))
    })
}

impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationLists({})", self.lists.len())
    }
}

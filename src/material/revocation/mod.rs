//! Certificate revocation lists (RFC 5280 section 5).

mod history;
mod issuers;
mod list;
mod loading;
mod policy;
mod replacement;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, SignatureVerificationAlgorithm, UnixTime,
};

pub(crate) use history::ListHistory;
pub use list::RevocationList;
use loading::Unverified;
pub use policy::RevocationPolicy;

use super::error::{EMPTY, MEMORY, MaterialError};
use super::trust_bundle::{BundleEntry, TrustBundle};
use super::warning::MaterialWarning;
use crate::certificate::Certificate;
use crate::certificate::signed::Signed;
use crate::der::{DerReader, SEQUENCE};
use crate::file::ReadFile;

/// Lists of revoked certificates of the other end, and the [policy](RevocationPolicy) for their use.
///
/// Every list is signed by its issuer: a CA of the bundle, or an intermediate below one whose certificate is in one of
/// the list files. If the issuer has a key usage, that must include cRLSign (RFC 5280 section 4.2.1.3). A list counts
/// for certificates of the same issuer name **and** key. A CA that was re-created under its old name needs a list of
/// its own.
///
/// A list covers all certificates of its issuer. A list that covers only a part of them is an error: with an issuing
/// distribution point, with only the changes (delta list), or for other issuers (indirect list). So is a second list of
/// the same issuer, and a list without nextUpdate. An entry counts whatever its reason: removeFromCRL has a meaning in
/// delta lists only.
#[derive(Clone, Default)]
pub struct RevocationLists {
    lists: Arc<[RevocationList]>,
    policy: RevocationPolicy,
    /// Revoked CAs of the bundle that the lists were read with: subject and revoking issuer.
    revoked_cas: Arc<[(String, String)]>,
    /// If there are lists: the CAs of that bundle, and the intermediates in the files. They show whether a CA is still
    /// trusted when other lists and another bundle are to take their place.
    cas: Arc<[CertificateDer<'static>]>,
}

impl RevocationLists {
    /// No list, and the default policy: no certificate is looked up. Calico has no parameter for lists, so its
    /// parameters result in this.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads files with the lists of the CAs in `issuers`. Without a file there is no list. `provider` verifies the
    /// signatures.
    ///
    /// Each file is PEM or DER; the format is detected. A PEM file may hold several lists (`X509 CRL`). It may also
    /// hold certificates (`CERTIFICATE`) of intermediate CAs that are not in the bundle but signed one of the lists.
    ///
    /// # Errors
    ///
    /// [`MaterialError`] if a file can not be read or holds no list, if a list is damaged or not signed by a known CA,
    /// or if two lists are of the same CA.
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
            return Err(MaterialError::NoRevocationList {
                origin: MEMORY.to_owned(),
                found: EMPTY.to_owned(),
            });
        }
        Self::verified(unverified, issuers, provider)
    }

    fn verified(
        unverified: Unverified,
        issuers: &TrustBundle,
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        let (lists, cas) = unverified.verify(issuers, provider)?;
        let revoked_cas = revoked_cas(&lists, issuers, provider).collect();
        let policy = RevocationPolicy::default();
        Ok(Self { lists: lists.into(), policy, revoked_cas, cas: cas.into() })
    }

    /// Returns the same lists with another policy.
    #[must_use]
    pub fn with_policy(self, policy: RevocationPolicy) -> Self {
        Self { policy, ..self }
    }

    /// The policy for the use of the lists.
    pub fn policy(&self) -> RevocationPolicy {
        self.policy
    }

    /// The lists, in the order in which they were read.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &RevocationList> {
        self.lists.iter()
    }

    /// Reports probable mistakes: lists that are expired or dated in the future, and revoked CAs that are still trusted
    /// because they are in the bundle. Without lists, it reports a policy that then refuses every peer.
    pub fn warnings(&self, now: UnixTime) -> Vec<MaterialWarning> {
        let missing = self.lists.is_empty() && self.policy.refuse_unknown;
        let missing = missing.then_some(MaterialWarning::NoRevocationList);
        let of_lists = self.lists.iter().filter_map(|list| list.warning(self.policy, now));
        let revoked_cas = self.revoked_cas.iter().cloned();
        let revoked_cas =
            revoked_cas.map(|(subject, issuer)| MaterialWarning::RevokedCaInBundle { subject, issuer });
        missing.into_iter().chain(of_lists).chain(revoked_cas).collect()
    }

    /// Whether both give the same answers.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let signatures = |lists: &'_ Self| {
            let signed = |list: &RevocationList| (list.issuer_key.clone(), list.signature.clone());
            lists.iter().map(signed).collect::<Vec<_>>()
        };
        self.policy == other.policy && signatures(self) == signatures(other)
    }

    /// The list of the issuer with this name and key, given as the contents of a Name and of a SubjectPublicKeyInfo.
    pub(crate) fn list_of(&self, name: &[u8], key: &[u8]) -> Option<&RevocationList> {
        self.lists.iter().find(|list| list.is_of(name, key))
    }

    /// The list of the CA that signed a DER certificate with this serial number. If its signature is by an algorithm
    /// that is not supported, any list of that name that revokes the number, so that nobody escapes it.
    pub(crate) fn list_of_signer(
        &self,
        certificate: &[u8],
        serial: &[u8],
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Option<&RevocationList> {
        list_of_signer(&self.lists, certificate, serial, algorithms)
    }
}

/// The CAs of the bundle that one of the lists revokes, with its issuer. The verifier does not look up trusted CAs, so
/// a warning must report them.
fn revoked_cas(
    lists: &[RevocationList],
    bundle: &TrustBundle,
    provider: &CryptoProvider,
) -> impl Iterator<Item = (String, String)> {
    let algorithms = provider.signature_verification_algorithms.all;
    let cas = bundle.entries().iter().filter(|entry| entry.can_issue.is_ok());
    cas.filter_map(move |entry| {
        let list = revoking(lists, entry, algorithms)?;
        Some((entry.subject.clone(), list.issuer.clone()))
    })
}

/// The list that revokes an entry of the bundle.
fn revoking<'a>(
    lists: &'a [RevocationList],
    entry: &BundleEntry,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Option<&'a RevocationList> {
    let certificate = Certificate::parse(&entry.der).ok()?;
    let list = list_of_signer(lists, &entry.der, certificate.serial(), algorithms)?;
    list.revokes(certificate.serial()).then_some(list)
}

fn list_of_signer<'a>(
    lists: &'a [RevocationList],
    certificate: &[u8],
    serial: &[u8],
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Option<&'a RevocationList> {
    let signed = Signed::parse(certificate).ok()?;
    let name = DerReader::single(signed.issuer, SEQUENCE).ok()?;
    let is_supported = algorithms.iter().any(|known| known.signature_alg_id().as_ref() == signed.algorithm);
    let is_of_signer = |list: &RevocationList| match is_supported {
        true => signed.verify_by(&list.issuer_key, algorithms).is_ok(),
        false => list.revokes(serial),
    };
    lists.iter().find(|list| list.issuer_name() == name && is_of_signer(list))
}

impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationLists({})", self.lists.len())
    }
}

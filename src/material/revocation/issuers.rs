//! The CAs that may sign revocation lists: those of the bundle, and intermediates below them.

use std::cell::Cell;
use std::collections::HashSet;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::CertificateDer;

use crate::certificate::signed::{SignatureProblem, Signed};
use crate::certificate::{Certificate, name_text, signature_text};
use crate::der::{DerReader, SEQUENCE};
use crate::material::error::MaterialError;
use crate::material::trust_bundle::TrustBundle;

/// An item from a file, and its place there.
pub(super) struct Found<T> {
    pub(super) origin: String,
    /// Its position among the items of its kind, counted from 1.
    pub(super) position: usize,
    pub(super) der: T,
}

impl<T> Found<T> {
    pub(super) fn new(origin: &str, index: usize, der: T) -> Self {
        Self { origin: origin.to_owned(), position: index + 1, der }
    }

    pub(super) fn unusable_list(&self, problem: impl Into<String>) -> MaterialError {
        let (origin, position) = (self.origin.clone(), self.position);
        MaterialError::RevocationList { origin, position, problem: problem.into() }
    }

    pub(super) fn unusable_issuer(&self, problem: String) -> MaterialError {
        let (origin, position) = (self.origin.clone(), self.position);
        MaterialError::RevocationListIssuer { origin, position, problem }
    }
}

/// The CAs of a bundle, and the intermediate CAs below them.
///
/// The validity of the certificates does not matter here: a signature of an expired CA is still its signature. The
/// verifier decides whether a path may use the CA.
pub(super) struct Issuers<'a> {
    known: Vec<Certificate<'a>>,
    algorithms: &'a WebPkiSupportedAlgorithms,
    /// How many more signatures may be checked.
    checks_left: Cell<usize>,
}

/// The most signatures that are checked for all files together. It is more than the lists of any site need, and takes
/// less than two seconds. Each list and each intermediate costs one check for every CA of the same name.
const MAX_CHECKS: usize = 10_000;

const TOO_MANY_CHECKS: &str = "more than 10,000 signatures would have to be checked: leave out the lists and the \
                               certificates of intermediate CAs that are not needed";

impl<'a> Issuers<'a> {
    pub(super) fn of_bundle(bundle: &'a TrustBundle, algorithms: &'a WebPkiSupportedAlgorithms) -> Self {
        // A pinned leaf issues nothing, so it signs no lists either.
        let cas = bundle.entries().iter().filter(|entry| entry.can_issue.is_ok());
        let known = cas.filter_map(|entry| Certificate::parse(&entry.der).ok()).collect();
        Self { known, algorithms, checks_left: Cell::new(MAX_CHECKS) }
    }

    /// Adds intermediates, in any order. Each must be a known CA, or issued by a known CA.
    pub(super) fn add(
        &mut self,
        certificates: &'a [Found<CertificateDer<'static>>],
    ) -> Result<(), MaterialError> {
        let mut pending = Vec::new();
        for found in certificates {
            let unusable = |source| MaterialError::Certificate {
                origin: found.origin.clone(),
                position: found.position,
                source,
            };
            let certificate = Certificate::parse(&found.der).map_err(unusable)?;
            certificate.can_issue().map_err(|why| {
                found.unusable_issuer(format!("{} is no CA ({})", certificate.subject_text(), why))
            })?;
            pending.push((found, certificate));
        }
        self.add_issued(&mut pending);
        // A certificate with the name and key of a known CA does no harm, whoever issued it. It is not added.
        match pending.iter().find(|(_, certificate)| !self.is_known(certificate)) {
            None => Ok(()),
            Some((found, certificate)) if self.checks_left.get() == 0 => {
                Err(found.unusable_issuer(format!("{}: {TOO_MANY_CHECKS}", certificate.subject_text())))
            }
            Some((found, certificate)) => Err(found.unusable_issuer(format!(
                "{} is issued by {}, and not by a CA of the CA file; put the certificate of the CA that issued it \
                 into the CA file, or, if that is an intermediate too, into this file",
                certificate.subject_text(),
                certificate.issuer_text()
            ))),
        }
    }

    /// Adds those of the certificates that are issued by a known CA, in any order. Returns `false` if it can not know
    /// all of them, because [`MAX_CHECKS`] is reached.
    pub(super) fn add_if_issued(
        &mut self,
        certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
    ) -> bool {
        let mut seen = HashSet::new();
        let distinct = certificates.into_iter().filter(|der| seen.insert(*der));
        let parsed = distinct.filter_map(|der| Certificate::parse(der).ok());
        let mut pending: Vec<_> =
            parsed.filter(|ca| !self.is_known(ca)).map(|certificate| ((), certificate)).collect();
        self.add_issued(&mut pending);
        pending.is_empty() || self.checks_left.get() > 0
    }

    /// Moves those of the pending certificates that are issued by a known CA to the known ones.
    fn add_issued<T>(&mut self, pending: &mut Vec<(T, Certificate<'a>)>) {
        // Each intermediate is tried once with each CA, whatever their names.
        let mut tried = 0;
        while let Some(issuer) = self.known.get(tried) {
            let issued: Vec<_> = pending
                .extract_if(.., |(_, certificate)| self.has_issued(issuer, certificate.der()))
                .map(|(_, certificate)| certificate)
                .collect();
            self.known.extend(issued);
            tried += 1;
        }
    }

    /// The known CAs.
    pub(super) fn certificates(&self) -> impl Iterator<Item = CertificateDer<'static>> {
        self.known.iter().map(|known| known.der().to_vec().into())
    }

    /// Whether a CA with this name and key is known, given as the contents of a Name and of a SubjectPublicKeyInfo.
    pub(super) fn include(&self, name: &[u8], key: &[u8]) -> bool {
        let has = |der, contents| DerReader::single(der, SEQUENCE).is_ok_and(|found| found == contents);
        self.known.iter().any(|ca| has(ca.subject_der(), name) && has(ca.public_key_info(), key))
    }

    fn is_known(&self, certificate: &Certificate<'_>) -> bool {
        self.known.iter().any(|known| {
            known.subject_der() == certificate.subject_der()
                && known.public_key_info() == certificate.public_key_info()
        })
    }

    fn has_issued(&self, issuer: &Certificate<'_>, der: &[u8]) -> bool {
        Signed::parse(der).is_ok_and(|signed| {
            signed.issuer == issuer.subject_der() && self.is_signed_by(&signed, issuer).is_ok()
        })
    }

    /// Finds the CA that signed a list. The error says why no CA qualifies.
    pub(super) fn signer(&self, list: &Signed<'_>) -> Result<&Certificate<'a>, String> {
        let issuer = name_text(list.issuer);
        let mut problem = None;
        let mut may_not_sign = false;
        for named in self.named(list.issuer) {
            match self.is_signed_by(list, named) {
                // RFC 5280 sections 4.2.1.3 and 6.3.3 (f)
                Ok(()) if named.can_sign_lists() => return Ok(named),
                Ok(()) => may_not_sign = true,
                Err(SignatureProblem::Unsupported) if problem.is_some() => {}
                Err(other) => problem = Some(other),
            }
        }
        Err(match problem {
            _ if may_not_sign => format!(
                "its issuer {issuer} may not sign lists, since its key usage does not include cRLSign; issue that CA's \
                 certificate anew with it"
            ),
            None => format!(
                "its issuer {issuer} is no CA of the CA file; put the certificate of the CA that signed it into the CA \
                 file, or, if peers send it as an intermediate, into this file"
            ),
            Some(SignatureProblem::Unsupported) => format!(
                "its signature by {} is not supported with the key of its issuer {issuer}; have the CA sign its \
                 lists with SHA-256",
                signature_text(list.algorithm)
            ),
            Some(SignatureProblem::NotChecked) => TOO_MANY_CHECKS.to_owned(),
            Some(SignatureProblem::Invalid) => format!(
                "it is signed with another key than that of the CA {issuer} in the CA file, or was altered; if that CA \
                 was made anew under its name, put its other certificate into the CA file, too, otherwise leave this \
                 list out"
            ),
        })
    }

    fn named(&self, name: &[u8]) -> impl Iterator<Item = &Certificate<'a>> {
        self.known.iter().filter(move |known| known.subject_der() == name)
    }

    fn is_signed_by(&self, signed: &Signed<'_>, issuer: &Certificate<'_>) -> Result<(), SignatureProblem> {
        let left = self.checks_left.get().checked_sub(1).ok_or(SignatureProblem::NotChecked)?;
        self.checks_left.set(left);
        signed.verify(issuer.public_key_info(), self.algorithms.all)
    }
}

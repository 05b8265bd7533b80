//! The chain: webpki's check, and what it leaves out of what Go, and so Calico, checks.

use std::cell::{Cell, RefCell};

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext, VerifiedPath,
};

use super::cache::Validity;
use super::path::{Path, Trust, leaf_subject};
use super::{CaProblem, ChainPosition, PeerVerifier, Rejection};
use crate::certificate::{Certificate, KeyPurpose, MalformedCertificate, NotAnIssuer};
use crate::material::BundleEntry;
use crate::role::Role;

impl PeerVerifier {
    pub(super) fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
        trust: Trust,
    ) -> Result<Path, Rejection> {
        let sent = intermediates;
        let intermediates = &*distinct(sent);
        let refused = RefCell::new(None);
        let accepted = RefCell::new(None);
        let check_path = |path: &VerifiedPath<'_>| match self.check_path(path, sent, role, now, trust) {
            Ok(path) => {
                accepted.replace(Some(path));
                Ok(())
            }
            Err(rejection) => {
                // webpki goes on to look for another path; the first reason is the one for the shortest path. But what
                // time alone does, as to the old certificate of a renewed CA, must not hide what is wrong at any time.
                let mut refused = refused.borrow_mut();
                if refused.as_ref().is_none_or(|first: &Rejection| first.weight() < rejection.weight()) {
                    *refused = Some(rejection);
                }
                Err(webpki::Error::CertDistrusted)
            }
        };
        let outcome = EndEntityCert::try_from(leaf).and_then(|end_entity| {
            end_entity
                .verify_for_usage(
                    self.algorithms.all,
                    self.trust_bundle.anchors(),
                    intermediates,
                    now,
                    Purpose::new(role, intermediates),
                    // webpki takes the first list of a name, whatever key signed it; `check_path` knows better.
                    None,
                    Some(&check_path),
                )
                .map(drop)
        });
        match (outcome, accepted.take()) {
            (Ok(()), Some(path)) => Ok(path),
            (Ok(()), None) => Err(MalformedCertificate::new("its path was not checked").into()),
            (Err(error), _) => Err(match refused.take() {
                Some(rejection) => rejection,
                None => self.classify(error, leaf, intermediates, role, now),
            }),
        }
    }

    /// Checks what webpki does not know or check about a path whose signatures are good. `sent` are the certificates
    /// besides the leaf that the peer sent.
    fn check_path(
        &self,
        path: &VerifiedPath<'_>,
        sent: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
        trust: Trust,
    ) -> Result<Path, Rejection> {
        let mut validity = Validity::ALWAYS;
        let mut straight = sent.iter();
        let mut is_straight = true;
        for intermediate in path.intermediate_certificates() {
            let der = intermediate.der();
            let certificate = Certificate::parse(&der)?;
            certificate.can_issue().map_err(|why| unusable(certificate.subject_text(), why))?;
            validity =
                validity.intersection(Validity::new(certificate.not_before(), certificate.not_after()));
            is_straight &= straight.next() == Some(&der);
        }
        // `anchor` is one of the verifier's own, so that its place tells which entry it is made of.
        let bundle = &self.trust_bundle;
        let (_, entry) = std::iter::zip(bundle.anchors(), bundle.entries())
            .find(|(anchor, _)| std::ptr::eq(*anchor, path.anchor()))
            .ok_or_else(|| MalformedCertificate::new("its path ends in no CA of the bundle"))?;
        check_ca(entry, path, role, now, trust)?;
        validity = validity
            .intersection(Validity::new(entry.not_before, entry.not_after))
            .intersection(self.check_revocation(path, entry, trust.looked_at(now))?);
        // Many peers send the CA along, and where the bundle has an intermediate, too, the one above it.
        is_straight &= match straight.as_slice() {
            [] => true,
            [ca] => *ca == entry.der,
            [ca, above] => {
                let issues_ca =
                    |other: &BundleEntry| other.der == *above && other.is_named(&entry.issuer_der);
                *ca == entry.der && *ca != *above && bundle.entries().iter().any(issues_ca)
            }
            _ => false,
        };
        Ok(Path { ca: entry.label.clone(), validity, is_straight })
    }
}

/// webpki takes any configured certificate for a CA, whatever it says about itself.
fn check_ca(
    entry: &BundleEntry,
    path: &VerifiedPath<'_>,
    role: Role,
    now: UnixTime,
    trust: Trust,
) -> Result<(), Rejection> {
    let subject = || entry.subject.clone();
    let intermediates = path.intermediate_certificates().count();
    if let Err(why) = entry.can_issue {
        // A leaf that is configured itself is trusted as itself.
        let is_pinned_leaf = intermediates == 0 && path.end_entity().der() == entry.der;
        return if is_pinned_leaf { Ok(()) } else { Err(unusable(subject(), why)) };
    }
    let position = ChainPosition::Ca;
    // One that comes too late may be the successor of what the peer was trusted by; one that was dead is not.
    if now > entry.not_after {
        return Err(Rejection::Expired { position, subject: subject(), not_after: entry.not_after, now });
    }
    if now < entry.not_before && matches!(trust, Trust::InTime) {
        return Err(Rejection::NotYetValid {
            position,
            subject: subject(),
            not_before: entry.not_before,
            now,
        });
    }
    if entry.path_length.is_some_and(|limit| intermediates > limit as usize) {
        return Err(Rejection::PathTooLong { subject: leaf_subject(&path.end_entity().der()) });
    }
    if !entry.allows(role.key_purpose()) {
        let why = CaProblem::KeyPurpose(role.key_purpose_name());
        return Err(Rejection::CaUnusable { subject: subject(), why });
    }
    if let Some(extension) = &entry.unhandled_critical_extension {
        let why = CaProblem::UnhandledCriticalExtension(extension.clone());
        return Err(Rejection::CaUnusable { subject: subject(), why });
    }
    Ok(())
}

fn unusable(subject: String, why: NotAnIssuer) -> Rejection {
    let why = match why {
        NotAnIssuer::NoCaFlag => CaProblem::NotACa,
        NotAnIssuer::NoKeyCertSign => CaProblem::NoKeyCertSign,
    };
    Rejection::CaUnusable { subject, why }
}

/// The same certificate twice gives no other path, but would be tried again.
fn distinct<'a>(certificates: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
    let mut distinct: Vec<CertificateDer<'a>> = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        if !distinct.iter().any(|known| known == certificate) {
            distinct.push(CertificateDer::from(certificate.as_ref()));
        }
    }
    distinct
}

/// The extended key usage rule: absent, anyExtendedKeyUsage or the purpose of the role, as Go has it. And the bound on
/// webpki's search for a path.
///
/// At every step of its search webpki parses all intermediates again. Names alone drive it, so that a few certificates
/// that name each other, with no valid signature among them, would keep it busy for half a minute, in which nothing
/// else runs on the thread. It asks for the usage once in every step; its own error for a search that is too long ends
/// it.
struct Purpose {
    purpose: KeyPurpose,
    steps_left: Cell<usize>,
}

/// The bytes of certificates that a search may parse: 200 times a chain of 20 KiB. Takes webpki some 10 ms.
const MAX_PARSED_BYTES: usize = 4 * 1024 * 1024;

impl Purpose {
    fn new(role: Role, intermediates: &[CertificateDer<'_>]) -> Self {
        let bytes: usize = intermediates.iter().map(|der| der.len()).sum();
        Self { purpose: role.key_purpose(), steps_left: Cell::new(MAX_PARSED_BYTES / bytes.max(1)) }
    }
}

/// id-kp-serverAuth, id-kp-clientAuth and anyExtendedKeyUsage (RFC 5280 section 4.2.1.12).
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
const ANY: &[u8] = &[0x55, 0x1d, 37, 0];

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, identifiers: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let steps_left =
            self.steps_left.get().checked_sub(1).ok_or(webpki::Error::MaximumPathBuildCallsExceeded)?;
        self.steps_left.set(steps_left);
        let (oid, required) = match self.purpose {
            KeyPurpose::ClientAuth => (CLIENT_AUTH, KeyUsage::client_auth()),
            KeyPurpose::ServerAuth => (SERVER_AUTH, KeyUsage::server_auth()),
        };
        let mut absent = true;
        for identifier in identifiers {
            absent = false;
            let identifier = identifier?;
            if identifier == KeyPurposeId::new(oid) || identifier == KeyPurposeId::new(ANY) {
                return Ok(());
            }
        }
        if absent {
            return Ok(());
        }
        Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext {
            required,
            present: Vec::new(),
        }))
    }
}

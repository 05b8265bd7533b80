//! The chain: webpki's check, and what it leaves out of what Go, and so Calico, checks.

use std::cell::{Cell, RefCell};

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext, VerifiedPath,
};

use super::classify::classify;
use super::presented::PresentedChain;
use super::rejection::{ChainPosition, Rejection};
use super::verified::Validity;
use crate::certificate::{Certificate, KeyPurpose, MalformedCertificate, subject_text};
use crate::material::{BundleEntry, TrustBundle};
use crate::role::Role;

/// What is known of an accepted path.
pub(super) struct Path<'a> {
    /// The CA that it leads to.
    pub(super) ca: &'a BundleEntry,
    /// When its CA and its intermediates are valid, and the answers of the revocation lists hold.
    pub(super) validity: Validity,
    /// Whether what the peer sent is the path, in its order and nothing else, but for the CA and its issuer.
    pub(super) is_straight: bool,
}

/// Whether it counts for a path that the CA is valid already, and that the revocation lists are current.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum TrustPeriod {
    /// As in a handshake.
    Checked,
    Ignored,
}

/// Searches a path from the leaf to a CA of the bundle whose signatures, names, usages and validity at `now` are good,
/// and that passes `check`.
pub(super) fn find_path<'a>(
    presented: &PresentedChain<'_>,
    bundle: &TrustBundle,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: UnixTime,
    check: impl Fn(&VerifiedPath<'_>) -> Result<Path<'a>, Rejection>,
) -> Result<Path<'a>, Rejection> {
    let intermediates = &*distinct(presented.intermediates);
    let outcome = RefCell::new(None);
    let check_path = |proposed: &VerifiedPath<'_>| {
        let mut outcome = outcome.borrow_mut();
        match (check(proposed), &*outcome) {
            // webpki goes on to look for another path; the first reason is the one for the shortest path. But what
            // time alone does, as to the old certificate of a renewed CA, must not hide what is wrong at any time.
            (Err(rejection), Some(Err(first))) if Rejection::weight(first) >= rejection.weight() => {}
            (checked, _) => *outcome = Some(checked),
        }
        if matches!(*outcome, Some(Ok(_))) { Ok(()) } else { Err(webpki::Error::CertDistrusted) }
    };
    let searched = EndEntityCert::try_from(presented.leaf).and_then(|leaf| {
        let usage = Purpose::new(presented.role, intermediates);
        // webpki takes the first revocation list of a name, whatever key signed it; `check` knows better.
        leaf.verify_for_usage(
            algorithms,
            bundle.anchors(),
            intermediates,
            now,
            usage,
            None,
            Some(&check_path),
        )
        .map(drop)
    });
    match (searched, outcome.take()) {
        (Ok(()), Some(Ok(path))) => Ok(path),
        (Ok(()), _) => Err(MalformedCertificate::new("its path was not checked").into()),
        (Err(_), Some(Err(rejection))) => Err(rejection),
        (Err(error), _) => Err(classify(error, &PresentedChain { intermediates, ..*presented }, bundle, now)),
    }
}

/// Checks what webpki does not know or check about a path whose signatures are good.
pub(super) fn check_path<'a>(
    proposed: &VerifiedPath<'_>,
    presented: &PresentedChain<'_>,
    bundle: &'a TrustBundle,
    now: UnixTime,
    trust_period: TrustPeriod,
) -> Result<Path<'a>, Rejection> {
    let mut validity = Validity::ALWAYS;
    let mut sent = presented.intermediates.iter();
    let mut is_straight = true;
    for intermediate in proposed.intermediate_certificates() {
        let der = intermediate.der();
        let certificate = Certificate::parse(&der)?;
        if let Err(why) = certificate.can_issue() {
            return Err(Rejection::CaUnusable { subject: certificate.subject_text(), why: why.to_owned() });
        }
        validity.limit(certificate.not_before(), certificate.not_after());
        is_straight &= sent.next() == Some(&der);
    }
    // The anchor is one of the bundle's own, so that its address tells which entry it is made of.
    let (_, ca) = std::iter::zip(bundle.anchors(), bundle.entries())
        .find(|(anchor, _)| std::ptr::eq(*anchor, proposed.anchor()))
        .ok_or_else(|| MalformedCertificate::new("its path ends in no CA of the bundle"))?;
    check_ca(ca, proposed, presented.role, now, trust_period)?;
    validity.limit(ca.not_before, ca.not_after);
    // Many peers send the CA along, and where the bundle has an intermediate, too, the one above it.
    is_straight &= match sent.as_slice() {
        [] => true,
        [first] => *first == ca.der,
        [first, above] => {
            let issues_ca = |other: &BundleEntry| other.der == *above && other.is_named(&ca.issuer_der);
            *first == ca.der && *first != *above && bundle.entries().iter().any(issues_ca)
        }
        _ => false,
    };
    Ok(Path { ca, validity, is_straight })
}

/// webpki takes any configured certificate for a CA, whatever it says about itself.
fn check_ca(
    ca: &BundleEntry,
    path: &VerifiedPath<'_>,
    role: Role,
    now: UnixTime,
    trust_period: TrustPeriod,
) -> Result<(), Rejection> {
    let subject = || ca.subject.clone();
    let intermediates = path.intermediate_certificates().count();
    if let Err(why) = ca.can_issue {
        // A leaf that is configured itself is trusted as itself.
        let is_pinned_leaf = intermediates == 0 && path.end_entity().der() == ca.der;
        let unusable = || Rejection::CaUnusable { subject: subject(), why: why.to_owned() };
        return if is_pinned_leaf { Ok(()) } else { Err(unusable()) };
    }
    let position = ChainPosition::Ca;
    // One that comes too late may be the successor of what the peer was trusted by; one that was dead is not.
    if now > ca.not_after {
        return Err(Rejection::Expired { position, subject: subject(), not_after: ca.not_after, now });
    }
    if now < ca.not_before && trust_period == TrustPeriod::Checked {
        return Err(Rejection::NotYetValid { position, subject: subject(), not_before: ca.not_before, now });
    }
    if ca.path_length.is_some_and(|limit| intermediates > limit as usize) {
        return Err(Rejection::PathTooLong { subject: subject_text(&path.end_entity().der()) });
    }
    if !ca.allows(role.key_purpose()) {
        let why = format!("its extended key usage does not include {}", role.key_purpose_name());
        return Err(Rejection::CaUnusable { subject: subject(), why });
    }
    if let Some(extension) = &ca.unhandled_critical_extension {
        let why = format!("it has a critical extension ({extension}) that is not supported");
        return Err(Rejection::CaUnusable { subject: subject(), why });
    }
    Ok(())
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

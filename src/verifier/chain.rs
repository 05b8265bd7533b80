//! The checks of the chain: those of webpki, and those that Go, and so Calico, makes but webpki does not.

use std::cell::{Cell, RefCell};

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext, VerifiedPath,
};

use super::classify::{classify, path_length_text};
use super::presented::PresentedChain;
use super::rejection::{ChainPosition, Rejection};
use super::verified::Validity;
use crate::certificate::{Certificate, KeyPurpose, MalformedCertificate, subject_text};
use crate::material::{BundleEntry, TrustBundle};
use crate::role::Role;

/// The facts about an accepted path.
pub(super) struct Path<'a> {
    /// The CA that it leads to.
    pub(super) ca: &'a BundleEntry,
    /// When its CA and its intermediates are valid and the revocation lists are current.
    pub(super) validity: Validity,
    /// Whether the peer sent exactly the path, in its order; the CA and its issuer may follow.
    pub(super) is_straight: bool,
}

impl Path<'_> {
    /// The same path, valid at most until then.
    pub(super) fn until(mut self, until: UnixTime) -> Self {
        self.validity.not_after = self.validity.not_after.min(until);
        self
    }
}

/// Whether a path is checked for a CA that is not valid yet, and for revocation lists that are out of date.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum TrustPeriod {
    /// As in a handshake.
    Checked,
    Ignored,
}

/// Searches for a path from the leaf to a CA of the bundle. Its signatures, names, usages and validity at `now` must be
/// good, and it must pass `check`.
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
            // webpki continues with another path. The first reason is kept: it is that of the shortest path. But a
            // problem of time, as with the old certificate of a renewed CA, must not hide a lasting problem.
            (Err(rejection), Some(Err(first))) if Rejection::weight(first) >= rejection.weight() => {}
            (checked, _) => *outcome = Some(checked),
        }
        if matches!(*outcome, Some(Ok(_))) { Ok(()) } else { Err(webpki::Error::CertDistrusted) }
    };
    let searched = EndEntityCert::try_from(presented.leaf).and_then(|leaf| {
        let usage = Purpose::new(presented.role, intermediates);
        // webpki takes the first revocation list of a name without regard to the key that signed it. Therefore `check`
        // makes the revocation check.
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

/// Checks a leaf that is itself an entry of the bundle, as in Go: it is trusted as itself, whether it is marked as a CA
/// and whoever issued it. It needs no path.
pub(super) fn check_pinned<'a>(
    pin: &'a BundleEntry,
    presented: &PresentedChain<'_>,
    bundle: &TrustBundle,
    now: UnixTime,
) -> Result<Path<'a>, Rejection> {
    // The version and the critical extensions.
    EndEntityCert::try_from(presented.leaf).map_err(|error| classify(error, presented, bundle, now))?;
    let (position, subject) = (ChainPosition::Leaf, || pin.subject.clone());
    if now > pin.not_after {
        return Err(Rejection::Expired { position, subject: subject(), not_after: pin.not_after, now });
    }
    if now < pin.not_before {
        return Err(Rejection::NotYetValid { position, subject: subject(), not_before: pin.not_before, now });
    }
    let (role, purpose) = (presented.role, presented.role.key_purpose_name());
    if !pin.allows(role.key_purpose()) {
        return Err(Rejection::WrongKeyUsage { position, subject: subject(), role, purpose });
    }
    let validity = Validity { not_before: pin.not_before, not_after: pin.not_after };
    Ok(Path { ca: pin, validity, is_straight: presented.intermediates.is_empty() })
}

/// Makes the checks that webpki leaves out, for a path whose signatures are good.
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
        let certificate = Certificate::parse(&der).map_err(|malformed| {
            let sent = presented.certificates().position(|sent| *sent == der);
            malformed.in_chain(sent.map_or(0, |index| index + 1))
        })?;
        if let Err(why) = certificate.can_issue() {
            return Err(Rejection::CaUnusable { subject: certificate.subject_text(), why: why.to_owned() });
        }
        validity.limit(certificate.not_before(), certificate.not_after());
        is_straight &= sent.next() == Some(&der);
    }
    // The anchor is borrowed from the bundle: its address identifies its entry.
    let (_, ca) = std::iter::zip(bundle.anchors(), bundle.entries())
        .find(|(anchor, _)| std::ptr::eq(*anchor, proposed.anchor()))
        .ok_or_else(|| MalformedCertificate::new("its path ends in no CA of the bundle"))?;
    check_ca(ca, proposed, presented.role, now, trust_period)?;
    validity.limit(ca.not_before, ca.not_after);
    // Many peers also send the CA. If the bundle has an intermediate as CA, they also send the issuer of it.
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

/// Checks the CA itself: webpki accepts any configured certificate as a CA and ignores its extensions.
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
        return Err(Rejection::CaUnusable { subject: subject(), why: why.to_owned() });
    }
    let position = ChainPosition::Ca;
    // A CA that is not valid yet may be the successor of the CA that the peer was accepted with. An expired one is not.
    if now > ca.not_after {
        return Err(Rejection::Expired { position, subject: subject(), not_after: ca.not_after, now });
    }
    if now < ca.not_before && trust_period == TrustPeriod::Checked {
        return Err(Rejection::NotYetValid { position, subject: subject(), not_before: ca.not_before, now });
    }
    if let Some(permitted) = ca.path_length.filter(|permitted| intermediates > *permitted as usize) {
        let (leaf, limit) = (path.end_entity().der(), path_length_text(&ca.subject, permitted));
        return Err(Rejection::PathTooLong { subject: subject_text(&leaf), limit });
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

/// Removes duplicates: they give no other path, but webpki would try them again.
fn distinct<'a>(certificates: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
    let mut distinct: Vec<CertificateDer<'a>> = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        if !distinct.iter().any(|known| known == certificate) {
            distinct.push(CertificateDer::from(certificate.as_ref()));
        }
    }
    distinct
}

/// The extended key usage rule, as in Go: the extension is absent, or has anyExtendedKeyUsage or the purpose of the
/// role. It also limits webpki's search for a path.
///
/// webpki parses all intermediates again at every step of its search, which follows names alone. A few certificates
/// that name each other, without any valid signature, would block the thread for half a minute. webpki calls `validate`
/// once in every step. Its own error for a search that is too long ends the search.
struct Purpose {
    purpose: KeyPurpose,
    steps_left: Cell<usize>,
}

/// The bytes of certificates that a search may parse: 200 times a chain of 20 KiB. webpki takes about 10 ms for it.
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

//! Converts webpki's error to the [`Rejection`] that an operator can act on.

use rustls_pki_types::UnixTime;
use webpki::Error;

use super::key::{RSA_KEY_BITS, check_rsa_size};
use super::presented::PresentedChain;
use super::rejection::{ChainPosition, Rejection};
use crate::certificate::{
    Certificate, MalformedCertificate, NO_CA_FLAG, UNREADABLE, algorithm_text, subject_text,
};
use crate::identity::PeerIdentity;
use crate::material::TrustBundle;

pub(super) fn classify(
    error: Error,
    presented: &PresentedChain<'_>,
    bundle: &TrustBundle,
    now: UnixTime,
) -> Rejection {
    let subject = subject_text(presented.leaf);
    match error {
        Error::CaUsedAsEndEntity => Rejection::CaUsedAsLeaf { subject },
        Error::CertExpired { not_after, .. } => {
            let (position, subject) = find(presented, |c| c.not_after() == not_after);
            Rejection::Expired { position, subject, not_after, now }
        }
        Error::CertNotValidYet { not_before, .. } => {
            let (position, subject) = find(presented, |c| c.not_before() == not_before);
            Rejection::NotYetValid { position, subject, not_before, now }
        }
        Error::EndEntityUsedAsCa => Rejection::CaUnusable {
            subject: find_intermediate(presented, |c| !c.is_ca()),
            why: NO_CA_FLAG.to_owned(),
        },
        Error::InvalidSignatureForPublicKey => classify_signature(presented, bundle),
        Error::MaximumNameConstraintComparisonsExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumSignatureChecksExceeded => Rejection::TooComplex { subject },
        Error::MaximumPathDepthExceeded | Error::PathLenConstraintViolated => {
            Rejection::PathTooLong { subject }
        }
        Error::NameConstraintViolation => {
            let leaf_has_uri = PeerIdentity::from_certificate(presented.leaf)
                .is_ok_and(|identity| identity.uri_sans().len() > 0);
            let uris_constrained = bundle.entries().iter().any(|entry| entry.constrains_uris)
                || presented.parsed().skip(1).any(|certificate| certificate.constrains_uris());
            if leaf_has_uri && uris_constrained {
                Rejection::UriNameConstraint { subject }
            } else {
                Rejection::NameConstraintViolation { subject }
            }
        }
        Error::RequiredEkuNotFoundContext(_) => {
            let role = presented.role;
            Rejection::WrongKeyUsage { subject, role, purpose: role.key_purpose_name() }
        }
        Error::UnknownIssuer => classify_unknown_issuer(presented),
        Error::UnsupportedCertVersion => Rejection::UnsupportedVersion { subject },
        Error::UnsupportedCriticalExtension => {
            let extension = presented
                .parsed()
                .find_map(|certificate| certificate.unhandled_critical_extension(HANDLED_BY_WEBPKI))
                .unwrap_or_else(|| "unknown".to_owned());
            Rejection::UnhandledCriticalExtension { subject, extension }
        }
        Error::UnsupportedSignatureAlgorithmContext(context) => Rejection::UnsupportedAlgorithm {
            subject,
            algorithm: format!("signature {}", algorithm_text(&context.signature_algorithm_id)),
        },
        Error::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => Rejection::UnsupportedAlgorithm {
            subject,
            algorithm: format!(
                "signature {} with public key {}",
                algorithm_text(&context.signature_algorithm_id),
                algorithm_text(&context.public_key_algorithm_id)
            ),
        },
        other => {
            // The names of errors are short, but the values in some of them are not.
            let name: String = other.to_string().chars().take(80).collect();
            MalformedCertificate::new(format!("the chain of {subject} is not valid ({name})")).into()
        }
    }
}

/// The rejection for a signature that does not verify: for the size of the key, for another key of the CA, or for a bad
/// signature.
fn classify_signature(presented: &PresentedChain<'_>, bundle: &TrustBundle) -> Rejection {
    let chain: Vec<_> = presented.parsed().collect();
    let issued_by_ca = chain.iter().find_map(|certificate| {
        let ca = bundle.entries().iter().find(|entry| entry.is_named(certificate.issuer_der()))?;
        Some((certificate, ca))
    });
    if let Some((certificate, ca)) = issued_by_ca {
        if let Some(bits) = ca.rsa_key_bits.filter(|bits| !RSA_KEY_BITS.contains(bits)) {
            return Rejection::UnsupportedKeySize { subject: ca.subject.clone(), bits };
        }
        let (subject, issuer) = (certificate.subject_text(), certificate.issuer_text());
        // If the certificate has the identifier of the CA's own key, the CA has no other key: the signature is bad.
        let key = certificate.authority_key_identifier();
        return if key.is_some() && key == ca.subject_key_identifier.as_deref() {
            Rejection::InvalidSignature { subject, issuer }
        } else {
            Rejection::CaKeyMismatch { subject, issuer }
        };
    }
    if let Some(rejection) = chain.iter().find_map(|certificate| check_rsa_size(certificate).err()) {
        return rejection;
    }
    let (subject, issuer) = match chain.first() {
        Some(leaf) => (leaf.subject_text(), leaf.issuer_text()),
        None => (subject_text(presented.leaf), UNREADABLE.to_owned()),
    };
    Rejection::InvalidSignature { subject, issuer }
}

/// The rejection if no issuer was found. The missing issuer is that of the last certificate of the path that the peer
/// sent.
fn classify_unknown_issuer(presented: &PresentedChain<'_>) -> Rejection {
    let leaf = match Certificate::parse(presented.leaf) {
        Ok(leaf) => leaf,
        Err(malformed) => return malformed.into(),
    };
    let sent: Vec<_> = presented.parsed().skip(1).collect();
    let mut top = &leaf;
    // Bounded, since names can form a circle.
    for _ in 0..sent.len() {
        match sent.iter().find(|issuer| issuer.subject_der() == top.issuer_der()) {
            Some(issuer) => top = issuer,
            None => break,
        }
    }
    Rejection::UnknownCa { subject: leaf.subject_text(), issuer: top.issuer_text() }
}

/// Critical extensions that webpki processes.
const HANDLED_BY_WEBPKI: &[&[u8]] = &[
    &[0x55, 0x1d, 15], // key usage
    &[0x55, 0x1d, 17], // subject alternative name
    &[0x55, 0x1d, 19], // basic constraints
    &[0x55, 0x1d, 30], // name constraints
    &[0x55, 0x1d, 31], // CRL distribution points
    &[0x55, 0x1d, 37], // extended key usage
];

/// Finds the certificate of a chain that an error is about.
fn find(presented: &PresentedChain<'_>, is_it: impl Fn(&Certificate<'_>) -> bool) -> (ChainPosition, String) {
    match Certificate::parse(presented.leaf) {
        Ok(leaf) if is_it(&leaf) => (ChainPosition::Leaf, leaf.subject_text()),
        _ => (ChainPosition::Intermediate, find_intermediate(presented, is_it)),
    }
}

fn find_intermediate(presented: &PresentedChain<'_>, is_it: impl Fn(&Certificate<'_>) -> bool) -> String {
    let mut parsed = presented.intermediates.iter().filter_map(|der| Certificate::parse(der).ok());
    parsed.find(is_it).map_or_else(|| UNREADABLE.to_owned(), |certificate| certificate.subject_text())
}

//! From webpki's error to the cause that an operator acts on.

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::Error;

use super::path::leaf_subject;
use super::{CaProblem, ChainPosition, PeerVerifier, Rejection};
use crate::certificate::{Certificate, MalformedCertificate, algorithm_text};
use crate::role::Role;

/// RSA key sizes, in bits, that the signature algorithms of rustls accept.
const RSA_KEY_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

impl PeerVerifier {
    /// Whether the handshake could verify a signature by the leaf's key at all. Checked after the chain, so that the
    /// reason is this and not a puzzling handshake failure.
    pub(super) fn check_leaf_key(&self, leaf: &Certificate<'_>) -> Result<(), Rejection> {
        check_rsa_key(leaf)?;
        let algorithm = leaf.public_key_algorithm();
        if self.algorithms.all.iter().any(|known| Some(known.public_key_alg_id().as_ref()) == algorithm) {
            return Ok(());
        }
        Err(Rejection::UnsupportedAlgorithm {
            subject: leaf.subject_text(),
            algorithm: format!("public key {}", leaf.public_key_algorithm_text()),
        })
    }

    pub(super) fn classify(
        &self,
        error: Error,
        leaf_der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Rejection {
        let subject = leaf_subject(leaf_der);
        match error {
            Error::CaUsedAsEndEntity => Rejection::CaUsedAsLeaf { subject },
            Error::CertExpired { not_after, .. } => {
                let (position, subject) = find(leaf_der, intermediates, |c| c.not_after() == not_after);
                Rejection::Expired { position, subject, not_after, now }
            }
            Error::CertNotValidYet { not_before, .. } => {
                let (position, subject) = find(leaf_der, intermediates, |c| c.not_before() == not_before);
                Rejection::NotYetValid { position, subject, not_before, now }
            }
            Error::EndEntityUsedAsCa => {
                let (_, subject) = find(&CertificateDer::from(&[][..]), intermediates, |c| !c.is_ca());
                Rejection::CaUnusable { subject, why: CaProblem::NotACa }
            }
            Error::InvalidSignatureForPublicKey => self.classify_signature(leaf_der, intermediates),
            Error::MaximumNameConstraintComparisonsExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumSignatureChecksExceeded => Rejection::TooComplex { subject },
            Error::MaximumPathDepthExceeded | Error::PathLenConstraintViolated => {
                Rejection::PathTooLong { subject }
            }
            Error::NameConstraintViolation => self.classify_name_constraint(leaf_der, intermediates, subject),
            Error::RequiredEkuNotFoundContext(_) => {
                Rejection::WrongKeyUsage { subject, role, purpose: role.key_purpose_name() }
            }
            Error::UnknownIssuer => classify_unknown_issuer(leaf_der, intermediates),
            Error::UnsupportedCertVersion => Rejection::UnsupportedVersion { subject },
            Error::UnsupportedCriticalExtension => {
                let extension = std::iter::once(leaf_der)
                    .chain(intermediates)
                    .filter_map(|der| Certificate::parse(der).ok())
                    .find_map(|certificate| certificate.unhandled_critical_extension(HANDLED_BY_WEBPKI))
                    .unwrap_or_else(|| "unknown".to_owned());
                Rejection::UnhandledCriticalExtension { subject, extension }
            }
            Error::UnsupportedSignatureAlgorithmContext(context) => Rejection::UnsupportedAlgorithm {
                subject,
                algorithm: format!("signature {}", algorithm_text(&context.signature_algorithm_id)),
            },
            Error::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
                Rejection::UnsupportedAlgorithm {
                    subject,
                    algorithm: format!(
                        "signature {} with public key {}",
                        algorithm_text(&context.signature_algorithm_id),
                        algorithm_text(&context.public_key_algorithm_id)
                    ),
                }
            }
            other => {
                // The names of errors are short; what some of them carry is not.
                let name: String = other.to_string().chars().take(80).collect();
                MalformedCertificate::new(format!("the chain of {subject} is not valid ({name})")).into()
            }
        }
    }

    /// A signature does not verify: because of the key's size, because the CA has another key, or because it is bad.
    fn classify_signature(
        &self,
        leaf_der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Rejection {
        let chain: Vec<_> = std::iter::once(leaf_der)
            .chain(intermediates)
            .filter_map(|der| Certificate::parse(der).ok())
            .collect();
        for certificate in &chain {
            for entry in self.trust_bundle.entries() {
                if !entry.is_named(certificate.issuer_der()) {
                    continue;
                }
                if let Some(bits) = entry.rsa_key_bits.filter(|bits| !RSA_KEY_BITS.contains(bits)) {
                    return Rejection::UnsupportedKeySize { subject: entry.subject.clone(), bits };
                }
                // With the identifier of the CA's own key in the certificate, it is not another key but a bad
                // signature.
                let same_key = certificate
                    .authority_key_identifier()
                    .is_some_and(|key| entry.subject_key_identifier.as_deref() == Some(key));
                let (subject, issuer) = (certificate.subject_text(), certificate.issuer_text());
                return if same_key {
                    Rejection::InvalidSignature { subject, issuer }
                } else {
                    Rejection::CaKeyMismatch { subject, issuer }
                };
            }
        }
        if let Some(rejection) = chain.iter().find_map(|certificate| check_rsa_key(certificate).err()) {
            return rejection;
        }
        let (subject, issuer) = match chain.first() {
            Some(leaf) => (leaf.subject_text(), leaf.issuer_text()),
            None => (leaf_subject(leaf_der), "(unreadable)".to_owned()),
        };
        Rejection::InvalidSignature { subject, issuer }
    }

    fn classify_name_constraint(
        &self,
        leaf_der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        subject: String,
    ) -> Rejection {
        let leaf_has_uri =
            crate::identity::Leaf::parse(leaf_der).is_ok_and(|leaf| leaf.identity.uri_sans().len() > 0);
        let uris_constrained = self.trust_bundle.entries().iter().any(|entry| entry.constrains_uris)
            || intermediates.iter().any(|der| Certificate::parse(der).is_ok_and(|c| c.constrains_uris()));
        if leaf_has_uri && uris_constrained {
            Rejection::UriNameConstraint { subject }
        } else {
            Rejection::NameConstraintViolation { subject }
        }
    }
}

/// No issuer was found. The last certificate that the peer sent of its path is the one whose issuer is missing here.
fn classify_unknown_issuer(leaf_der: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Rejection {
    let leaf = match Certificate::parse(leaf_der) {
        Ok(leaf) => leaf,
        Err(malformed) => return malformed.into(),
    };
    let sent: Vec<_> = intermediates.iter().filter_map(|der| Certificate::parse(der).ok()).collect();
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

fn check_rsa_key(certificate: &Certificate<'_>) -> Result<(), Rejection> {
    match certificate.rsa_key_bits() {
        Some(bits) if !RSA_KEY_BITS.contains(&bits) => {
            Err(Rejection::UnsupportedKeySize { subject: certificate.subject_text(), bits })
        }
        _ => Ok(()),
    }
}

/// Which certificate of a chain an error is about.
fn find(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    is_it: impl Fn(&Certificate<'_>) -> bool,
) -> (ChainPosition, String) {
    let found = |der: &CertificateDer<'_>| {
        Certificate::parse(der).ok().filter(&is_it).map(|certificate| certificate.subject_text())
    };
    if let Some(subject) = found(leaf) {
        return (ChainPosition::Leaf, subject);
    }
    let subject = intermediates.iter().find_map(found).unwrap_or_else(|| "(unreadable)".to_owned());
    (ChainPosition::Intermediate, subject)
}

//! Converts webpki's error to the [`Rejection`] that an operator can act on.

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error};

use super::key::check_rsa_size;
use super::presented::PresentedChain;
use super::rejection::{ChainPosition, Rejection};
use crate::certificate::{
    Certificate, KeyPurpose, MalformedCertificate, NO_CA_FLAG, RSA_KEY_BITS, UNREADABLE, key_text,
    signature_text, subject_text,
};
use crate::material::{BundleEntry, TrustBundle};
use crate::text::identifier_text;

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
        Error::MaximumPathDepthExceeded => {
            Rejection::PathTooLong { subject, limit: "at most 6 are supported".to_owned() }
        }
        Error::PathLenConstraintViolated => {
            let exceeded = presented.parsed().skip(1).find_map(|ca| {
                let permitted = ca.path_length().filter(|permitted| *permitted < MAX_INTERMEDIATES)?;
                Some(path_length_text(&ca.subject_text(), permitted))
            });
            let limit = exceeded.unwrap_or_else(|| "a CA among them permits fewer (pathlen)".to_owned());
            Rejection::PathTooLong { subject, limit }
        }
        Error::NameConstraintViolation => classify_name_constraint(presented, bundle, subject),
        Error::RequiredEkuNotFoundContext(_) => {
            let role = presented.role;
            let (position, subject) = find(presented, |c| !c.allows(role.key_purpose()));
            Rejection::WrongKeyUsage { position, subject, role, purpose: role.key_purpose_name() }
        }
        Error::UnknownIssuer => classify_unknown_issuer(presented),
        Error::UnsupportedCertVersion => {
            let version =
                presented.parsed().map(|certificate| certificate.version()).find(|version| *version != 3);
            let (position, subject) = find(presented, |c| c.version() != 3);
            let version = version.unwrap_or_default();
            Rejection::UnsupportedVersion { position, subject, version, role: presented.role }
        }
        Error::UnsupportedCriticalExtension => {
            let unhandled = |c: &Certificate<'_>| c.unhandled_critical_extension(HANDLED_BY_WEBPKI);
            let extension = presented.parsed().find_map(|c| unhandled(&c));
            let (position, subject) = find(presented, |c| unhandled(c).is_some());
            let extension = extension.unwrap_or_else(|| "unknown".to_owned());
            Rejection::UnhandledCriticalExtension { position, subject, extension }
        }
        Error::UnsupportedSignatureAlgorithmContext(context) => {
            let algorithm = &*context.signature_algorithm_id;
            let (position, subject) = find(presented, |c| c.signature_algorithm() == Some(algorithm));
            let algorithm = format!("its signature by {}", signature_text(algorithm));
            Rejection::UnsupportedAlgorithm { position, subject, algorithm }
        }
        Error::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
            let algorithm = &*context.signature_algorithm_id;
            let (position, subject) = find(presented, |c| c.signature_algorithm() == Some(algorithm));
            let key = key_text(&context.public_key_algorithm_id);
            let algorithm =
                format!("its signature by {} and the {key} of its issuer", signature_text(algorithm));
            Rejection::UnsupportedAlgorithm { position, subject, algorithm }
        }
        other => classify_malformed(&other, presented).into(),
    }
}

fn classify_malformed(error: &Error, presented: &PresentedChain<'_>) -> MalformedCertificate {
    let problem_of = |der: &CertificateDer<'_>| {
        let certificate = match Certificate::parse(der) {
            Ok(certificate) => certificate,
            Err(problem) => return Some(problem),
        };
        let is_it = match error {
            Error::EmptyEkuExtension => {
                !certificate.allows(KeyPurpose::ClientAuth) && !certificate.allows(KeyPurpose::ServerAuth)
            }
            Error::InvalidCertValidity => certificate.not_before() > certificate.not_after(),
            _ => EndEntityCert::try_from(der).is_err(),
        };
        is_it.then(|| MalformedCertificate::new(malformed_text(error)))
    };
    let found = presented.certificates().zip(1..).find_map(|(der, at)| Some(problem_of(der)?.in_chain(at)));
    found.unwrap_or_else(|| {
        let subject = subject_text(presented.leaf);
        MalformedCertificate::new(format!("a certificate for {subject}: {}", malformed_text(error)))
    })
}

/// The errors of webpki in words.
fn malformed_text(error: &Error) -> &'static str {
    match error {
        Error::BadDer | Error::TrailingData(_) => "it is not valid DER",
        Error::BadDerTime => "a time in it is malformed",
        Error::EmptyEkuExtension => "its extended key usage is empty",
        Error::ExtensionValueInvalid | Error::MalformedExtensions => "an extension of it is malformed",
        Error::InvalidCertValidity => "its validity ends before it begins",
        Error::InvalidNetworkMaskConstraint | Error::MalformedNameConstraint => {
            "its name constraints are malformed"
        }
        Error::InvalidSerialNumber => "its serial number is malformed",
        Error::MalformedDnsIdentifier => "a DNS name in it is malformed",
        Error::SignatureAlgorithmMismatch => "it names two different signature algorithms",
        _ => "it has something that is not supported",
    }
}

/// The most CA certificates between the leaf and the trusted CA that webpki permits.
const MAX_INTERMEDIATES: u32 = 6;

/// The limit of a [`Rejection::PathTooLong`].
pub(super) fn path_length_text(ca: &str, permitted: u32) -> String {
    format!("the CA {ca} permits {permitted} below it (pathlen)")
}

/// The rejection for a name that the constraints of a CA of the path do not permit.
fn classify_name_constraint(
    presented: &PresentedChain<'_>,
    bundle: &TrustBundle,
    subject: String,
) -> Rejection {
    let chain: Vec<_> = presented.parsed().collect();
    let issues_one = |entry: &&BundleEntry| chain.iter().any(|below| entry.is_named(below.issuer_der()));
    let trusted =
        bundle.entries().iter().filter(issues_one).filter_map(|entry| Certificate::parse(&entry.der).ok());
    let cas: Vec<_> = presented.parsed().skip(1).chain(trusted).collect();
    let leaf_has_uri = chain.first().is_some_and(|leaf| leaf.sans().is_ok_and(|sans| !sans.uris.is_empty()));
    if let Some(ca) = cas.iter().find(|ca| leaf_has_uri && ca.constrains_uris()) {
        return Rejection::UriNameConstraint { subject, ca: ca.subject_text() };
    }
    let forbidden = cas.iter().find_map(|ca| {
        let below = chain.iter().filter(|below| below.subject_der() != ca.subject_der());
        Some((below.into_iter().find_map(|below| ca.forbidden_name(below))?, ca.subject_text()))
    });
    let (name, ca) = forbidden.unwrap_or_else(|| ("a name".to_owned(), "its CA".to_owned()));
    Rejection::NameConstraintViolation { subject, name, ca }
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
            Rejection::CaKeyMismatch {
                subject,
                issuer,
                signed_by: key.map(identifier_text),
                trusted: ca.subject_key_identifier.as_deref().map(identifier_text),
            }
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

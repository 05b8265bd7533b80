//! The reasons why a peer is not accepted.

use std::fmt;

use rustls::CertificateError;
use rustls_pki_types::UnixTime;
use thiserror::Error;

use crate::certificate::MalformedCertificate;
use crate::identity::{IdentityMismatch, PeerIdentity};
use crate::role::Role;
use crate::time::Timestamp;

/// The reason why a peer is not accepted. There is one variant for each cause that needs an action of its own.
///
/// The texts contain the problem and, where it is not obvious, the remedy. They are shorter than 1 KiB. Text that the
/// peer sent is escaped. Names of certificates have the form `O="example", CN="typha-client"`.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Rejection {
    /// The certificate's issuer has the name of a trusted CA, but that CA's key did not sign it.
    /// Label: `ca_key_mismatch`.
    #[error(
        "the certificate of {subject} names the trusted CA {issuer} as its issuer, but is signed with another key: if \
         that CA was created again under the same name, put both of its certificates, old and new, into the CA file"
    )]
    CaKeyMismatch {
        /// The certificate that does not verify.
        subject: String,
        /// The CA whose name it carries.
        issuer: String,
    },
    /// A CA of the chain can not be used for this peer, because of its own extensions or of Go's rules.
    /// Label: `ca_unusable`.
    #[error("the CA {subject} can not be used to verify this peer: {why}")]
    CaUnusable {
        /// The CA.
        subject: String,
        /// What is wrong with it, such as `it is not marked as a CA (basic constraints)`.
        why: String,
    },
    /// The peer presented a CA certificate as its own. Label: `ca_used_as_leaf`.
    #[error("{subject} is a CA certificate; a peer must present a leaf certificate (without the cA flag)")]
    CaUsedAsLeaf {
        /// The certificate.
        subject: String,
    },
    /// A certificate of the chain has expired. Label: `expired`.
    #[error("the {position} certificate {subject} expired at {}; it is {} now", Timestamp(*not_after), Timestamp(*now))]
    Expired {
        /// Its place in the chain.
        position: ChainPosition,
        /// The certificate.
        subject: String,
        /// The end of its validity.
        not_after: UnixTime,
        /// The time of the check.
        now: UnixTime,
    },
    /// The peer has none of the required names. Its chain is good. Label: `identity_mismatch`.
    #[error(transparent)]
    IdentityMismatch(Box<IdentityMismatch>),
    /// A certificate of the chain carries a signature that its issuer's key did not make. Label: `invalid_signature`.
    #[error("the certificate of {subject} has a bad signature: it was altered or is not issued by {issuer}")]
    InvalidSignature {
        /// The certificate.
        subject: String,
        /// The issuer it names.
        issuer: String,
    },
    /// The peer's certificate is good, but its signature over the handshake is not (RFC 8446 section 4.4.3): it has the
    /// certificate without the private key. Only a handshake returns this. Label: `key_not_proven`.
    #[error(
        "the peer presented a good certificate ({presented}), but did not prove that it holds the private key to it"
    )]
    KeyNotProven {
        /// What the certificate presents.
        presented: PeerIdentity,
    },
    /// A certificate is not strictly valid. Label: `malformed_certificate`.
    #[error(transparent)]
    MalformedCertificate(#[from] MalformedCertificate),
    /// A CA of the chain does not allow the names in a certificate below it. Label: `name_constraint_violation`.
    #[error("a name in the certificate of {subject} is outside what the name constraints of its CA permit")]
    NameConstraintViolation {
        /// The leaf.
        subject: String,
    },
    /// The peer presented no certificate at all. Label: `no_certificate`.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// A certificate of the chain is not valid yet. Label: `not_yet_valid`.
    #[error(
        "the {position} certificate {subject} is not valid before {}; it is {} now: check both clocks",
        Timestamp(*not_before),
        Timestamp(*now)
    )]
    NotYetValid {
        /// Its place in the chain.
        position: ChainPosition,
        /// The certificate.
        subject: String,
        /// The start of its validity.
        not_before: UnixTime,
        /// The time of the check.
        now: UnixTime,
    },
    /// There are more CA certificates between the leaf and a trusted CA than that CA or webpki allows; webpki allows 6.
    /// Label: `path_too_long`.
    #[error("too many CA certificates stand between the certificate of {subject} and a trusted CA")]
    PathTooLong {
        /// The leaf.
        subject: String,
    },
    /// A certificate of the chain has been revoked: it is on the list of its issuer. Label: `revoked`.
    #[error("the {position} certificate {subject} has been revoked by its issuer: give its owner a new one")]
    Revoked {
        /// Its place in the chain.
        position: ChainPosition,
        /// The certificate.
        subject: String,
    },
    /// The revocation list of an issuer is past its `nextUpdate`, and the policy requires a current one.
    /// Label: `revocation_list_unusable`.
    #[error(
        "the revocation list for the certificate of {subject} can not be used: {why}; install a current one"
    )]
    RevocationListUnusable {
        /// The certificate.
        subject: String,
        /// What is wrong with the list.
        why: String,
    },
    /// There is no revocation list of an issuer, and the policy requires one. Label: `revocation_status_unknown`.
    #[error(
        "the revocation status of the certificate of {subject} is unknown: there is no revocation list of its \
         issuer {issuer}; add it to the configured lists"
    )]
    RevocationStatusUnknown {
        /// The certificate.
        subject: String,
        /// Its issuer.
        issuer: String,
    },
    /// Finding a path to a trusted CA would take more work than an honest chain ever does. Label: `too_complex`.
    #[error("the chain of {subject} is too complex to verify: send the leaf and its issuers only")]
    TooComplex {
        /// The leaf.
        subject: String,
    },
    /// A critical extension is not understood, so the certificate must be refused (RFC 5280 section 4.2).
    /// Label: `unhandled_critical_extension`.
    #[error("the chain of {subject} has a critical extension ({extension}) that is not supported")]
    UnhandledCriticalExtension {
        /// The leaf.
        subject: String,
        /// Object identifier of the extension, or `unknown`.
        extension: String,
    },
    /// No trusted CA has the name of the certificate's issuer. Label: `unknown_ca`.
    #[error(
        "the certificate of {subject} is issued by {issuer}, which is not in the CA file: add its CA there, or have \
         the peer send its intermediate certificates"
    )]
    UnknownCa {
        /// The leaf.
        subject: String,
        /// The issuer it names.
        issuer: String,
    },
    /// A signature or key algorithm is not supported. Label: `unsupported_algorithm`.
    #[error("the chain of {subject} uses an algorithm ({algorithm}) that is not supported")]
    UnsupportedAlgorithm {
        /// The leaf.
        subject: String,
        /// Object identifier of the algorithm, or a description.
        algorithm: String,
    },
    /// An RSA key is shorter than 2048 or longer than 8192 bits. Label: `unsupported_key_size`.
    #[error("{subject} has an RSA key of {bits} bits; 2048 to 8192 are supported")]
    UnsupportedKeySize {
        /// The certificate.
        subject: String,
        /// Its key size.
        bits: usize,
    },
    /// A certificate is not X.509 version 3. Label: `unsupported_version`.
    #[error("the chain of {subject} has a certificate that is not X.509 version 3")]
    UnsupportedVersion {
        /// The leaf.
        subject: String,
    },
    /// A CA of the chain constrains URIs and the leaf has a URI SAN, or the leaf's CA constrains directory names.
    /// webpki supports neither, and refuses. Label: `uri_name_constraint`.
    #[error(
        "a CA of {subject} has name constraints on URIs, which are not supported: \
         no leaf with a URI SAN below that CA can be accepted, even one inside the constraint"
    )]
    UriNameConstraint {
        /// The leaf.
        subject: String,
    },
    /// The extended key usage of a certificate of the chain does not include the peer's role. Label: `wrong_key_usage`.
    #[error(
        "the chain of {subject} is not allowed for {purpose}, which a {role} needs in its extended key usage"
    )]
    WrongKeyUsage {
        /// The leaf.
        subject: String,
        /// The role of the peer.
        role: Role,
        /// `clientAuth` or `serverAuth`.
        purpose: &'static str,
    },
}

/// The position of a certificate in a peer's chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ChainPosition {
    /// The trusted CA, from our own CA file.
    Ca,
    /// A CA certificate that the peer sent.
    Intermediate,
    /// The peer's own certificate.
    Leaf,
}

impl fmt::Display for ChainPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "CA",
            Self::Intermediate => "intermediate",
            Self::Leaf => "leaf",
        })
    }
}

impl Rejection {
    /// A stable label for logs and metrics, such as `identity_mismatch`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::CaKeyMismatch { .. } => "ca_key_mismatch",
            Self::CaUnusable { .. } => "ca_unusable",
            Self::CaUsedAsLeaf { .. } => "ca_used_as_leaf",
            Self::Expired { .. } => "expired",
            Self::IdentityMismatch(_) => "identity_mismatch",
            Self::InvalidSignature { .. } => "invalid_signature",
            Self::KeyNotProven { .. } => "key_not_proven",
            Self::MalformedCertificate(_) => "malformed_certificate",
            Self::NameConstraintViolation { .. } => "name_constraint_violation",
            Self::NoCertificate => "no_certificate",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::PathTooLong { .. } => "path_too_long",
            Self::Revoked { .. } => "revoked",
            Self::RevocationListUnusable { .. } => "revocation_list_unusable",
            Self::RevocationStatusUnknown { .. } => "revocation_status_unknown",
            Self::TooComplex { .. } => "too_complex",
            Self::UnhandledCriticalExtension { .. } => "unhandled_critical_extension",
            Self::UnknownCa { .. } => "unknown_ca",
            Self::UnsupportedAlgorithm { .. } => "unsupported_algorithm",
            Self::UnsupportedKeySize { .. } => "unsupported_key_size",
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::UriNameConstraint { .. } => "uri_name_constraint",
            Self::WrongKeyUsage { .. } => "wrong_key_usage",
        }
    }

    /// The error that makes rustls send the alert that fits (RFC 8446 section 6.2).
    pub(super) fn to_rustls(&self) -> rustls::Error {
        let error = match self {
            // access_denied: "a valid certificate ... but when access control was applied, the sender decided not to
            // proceed".
            Self::IdentityMismatch(_) => CertificateError::ApplicationVerificationFailure,
            // unknown_ca; the peer's certificate is not at fault if a CA on our end has expired or is not valid yet
            Self::Expired { position: ChainPosition::Ca, .. }
            | Self::NotYetValid { position: ChainPosition::Ca, .. } => CertificateError::UnknownIssuer,
            Self::CaKeyMismatch { .. } | Self::CaUnusable { .. } | Self::UnknownCa { .. } => {
                CertificateError::UnknownIssuer
            }
            // certificate_expired, which RFC 8446 also uses for "not currently valid"
            Self::Expired { .. } => CertificateError::Expired,
            Self::NotYetValid { .. } => CertificateError::NotValidYet,
            // certificate_revoked
            Self::Revoked { .. } => CertificateError::Revoked,
            // unsupported_certificate
            Self::CaUsedAsLeaf { .. }
            | Self::UnsupportedAlgorithm { .. }
            | Self::UnsupportedKeySize { .. }
            | Self::UnsupportedVersion { .. }
            | Self::WrongKeyUsage { .. } => CertificateError::InvalidPurpose,
            // decrypt_error, which rustls has already sent
            Self::KeyNotProven { .. } => CertificateError::BadSignature,
            // certificate_required
            Self::NoCertificate => return rustls::Error::NoCertificatesPresented,
            // bad_certificate
            Self::InvalidSignature { .. } | Self::MalformedCertificate(_) => CertificateError::BadEncoding,
            // certificate_unknown
            Self::NameConstraintViolation { .. }
            | Self::PathTooLong { .. }
            | Self::RevocationListUnusable { .. }
            | Self::RevocationStatusUnknown { .. }
            | Self::TooComplex { .. }
            | Self::UnhandledCriticalExtension { .. }
            | Self::UriNameConstraint { .. } => {
                CertificateError::Other(rustls::OtherError(std::sync::Arc::new(self.clone())))
            }
        };
        rustls::Error::InvalidCertificate(error)
    }

    /// The weight of this reason. If several paths are refused, the reason with the most weight is reported. A
    /// revocation has the most, and a problem of time the least.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Self::Revoked { .. } => 2,
            _ if self.is_of_time() => 0,
            _ => 1,
        }
    }

    /// Whether it is a problem of time alone: something has expired, is not valid yet or is out of date.
    pub(crate) fn is_of_time(&self) -> bool {
        matches!(self, Self::Expired { .. } | Self::NotYetValid { .. } | Self::RevocationListUnusable { .. })
    }
}

impl From<IdentityMismatch> for Rejection {
    fn from(mismatch: IdentityMismatch) -> Self {
        Self::IdentityMismatch(Box::new(mismatch))
    }
}

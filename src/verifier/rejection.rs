//! The reasons why a peer is not accepted.

use std::fmt;

use rustls::CertificateError;
use rustls_pki_types::UnixTime;
use thiserror::Error;

use crate::certificate::MalformedCertificate;
use crate::identity::{HostCheckError, HostMismatch, IdentityMismatch, PeerIdentity};
use crate::role::Role;
use crate::time::Timestamp;

/// The reason why a peer is not accepted. There is one variant for each cause that needs an action of its own.
///
/// The texts contain the problem and, where it is not obvious, the remedy after a semicolon. They are shorter than 1
/// KiB. Text that the peer sent is escaped. Names of certificates have the form `O="example", CN="typha-client"`.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Rejection {
    /// The certificate's issuer has the name of a trusted CA, but that CA's key did not sign it.
    /// Label: `ca_key_mismatch`.
    #[error(
        "the certificate of {subject} names the trusted CA {issuer} as its issuer, but that CA's key did not sign it\
         {}; if you made that CA anew, put its old and its new certificate into the CA file; otherwise the certificate \
         is probably of another cluster whose CA has the same name: issue one by a CA of this cluster; never add a CA \
         that you did not make",
        keys(signed_by.as_deref(), trusted.as_deref())
    )]
    CaKeyMismatch {
        /// The certificate that does not verify.
        subject: String,
        /// The CA whose name it carries.
        issuer: String,
        /// The key that signed it, by its authority key identifier in hexadecimal; `None` if it has none.
        signed_by: Option<String>,
        /// The key of the trusted CA, by its subject key identifier in hexadecimal; `None` if it has none.
        trusted: Option<String>,
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
    #[error(
        "{subject} is marked as a CA, and a peer must present a leaf certificate; issue it again with basicConstraints \
         = CA:FALSE"
    )]
    CaUsedAsLeaf {
        /// The certificate.
        subject: String,
    },
    /// A certificate of the chain has expired. Label: `expired`.
    #[error(
        "the {position} certificate {subject} expired at {}, and it is {} now; renew it",
        Timestamp(*not_after),
        Timestamp(*now)
    )]
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
    /// The server is not valid for the host that was dialled. Its chain is good. Label: `host_mismatch`.
    #[error(transparent)]
    HostMismatch(Box<HostMismatch>),
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
    #[error(
        "{name} in the certificate of {subject} is outside what the name constraints of {ca} permit; issue it again \
         without that name, or by a CA that permits it"
    )]
    NameConstraintViolation {
        /// The leaf.
        subject: String,
        /// The name, such as `the DNS name "node.example"`; `a name` if it was not found.
        name: String,
        /// The CA; `its CA` if it was not found.
        ca: String,
    },
    /// The peer presented no certificate at all. Label: `no_certificate`.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// A certificate of the chain is not valid yet. Label: `not_yet_valid`.
    #[error(
        "the {position} certificate {subject} is not valid before {}, and it is {} now; check both clocks",
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
    #[error("too many CA certificates stand between the certificate of {subject} and a trusted CA: {limit}")]
    PathTooLong {
        /// The leaf.
        subject: String,
        /// Which limit is exceeded, such as `the CA CN="root" permits 0 below it (pathlen)`.
        limit: String,
    },
    /// A certificate of the chain has been revoked: it is on the list of its issuer. Label: `revoked`.
    #[error("the {position} certificate {subject} has been revoked by its issuer; give its owner a new one")]
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
    /// Finding a path to a trusted CA would take more work than an honest chain ever does: the peer sent more than 48
    /// certificates, or many that name each other. Or a Felix sent more than 32 KiB of certificates behind its leaf,
    /// which would stay in memory as long as its connection. Label: `too_complex`.
    #[error("the chain of {subject} is too long or too complex; send the leaf and its issuers only")]
    TooComplex {
        /// The leaf.
        subject: String,
    },
    /// A critical extension is not understood, so the certificate must be refused (RFC 5280 section 4.2).
    /// Label: `unhandled_critical_extension`.
    #[error(
        "the {position} certificate {subject} has a critical extension ({extension}) that is not supported; issue it \
         again without it, or with it not critical"
    )]
    UnhandledCriticalExtension {
        /// Its place in the chain.
        position: ChainPosition,
        /// The certificate.
        subject: String,
        /// The name of the extension, if it is a common one, and its object identifier; or `unknown`.
        extension: String,
    },
    /// No trusted CA has the name of the certificate's issuer. Label: `unknown_ca`.
    #[error(
        "the certificate of {subject} is issued by {issuer}, which is not in the CA file; if that is an intermediate \
         CA, append its certificate to the certificate file of the peer; otherwise add it to the CA file, if it is a \
         CA of this cluster"
    )]
    UnknownCa {
        /// The leaf.
        subject: String,
        /// The issuer it names.
        issuer: String,
    },
    /// A signature or key algorithm is not supported. Label: `unsupported_algorithm`.
    #[error("the {position} certificate {subject} can not be used: {algorithm} is not supported; {remedy}")]
    UnsupportedAlgorithm {
        /// Its place in the chain.
        position: ChainPosition,
        /// The certificate.
        subject: String,
        /// What is not supported, such as `its signature by SHA-1 with RSA` or `its DSA key`.
        algorithm: String,
        /// What to do.
        remedy: &'static str,
    },
    /// An RSA key is shorter than 2048 or longer than 8192 bits. Label: `unsupported_key_size`.
    #[error(
        "{subject} has an RSA key of {bits} bits, but 2048 to 8192 are supported; issue it again with such a key"
    )]
    UnsupportedKeySize {
        /// The certificate.
        subject: String,
        /// Its key size.
        bits: usize,
    },
    /// A certificate is not X.509 version 3. Label: `unsupported_version`.
    #[error(
        "the {position} certificate {subject} is X.509 version {version}, but only version 3 has the extensions that \
         are needed; issue it again with an extension: openssl x509 -req -in CSR -CA CA -CAkey KEY -CAcreateserial \
         -days DAYS -extfile EXT -out NEW (EXT is a file with the line {})",
        extension_line(*position, *role)
    )]
    UnsupportedVersion {
        /// Its place in the chain.
        position: ChainPosition,
        /// The certificate.
        subject: String,
        /// Its version.
        version: u32,
        /// The role of the peer.
        role: Role,
    },
    /// A CA of the chain constrains URIs and the leaf has a URI SAN, or the leaf's CA constrains directory names.
    /// webpki supports neither, and refuses. Label: `uri_name_constraint`.
    #[error(
        "{ca}, a CA of {subject}, has name constraints on URIs, which are not supported: \
         no leaf with a URI SAN below that CA can be accepted, even one inside the constraint; issue it by a CA \
         without such constraints, or without a URI SAN, and require its Common Name"
    )]
    UriNameConstraint {
        /// The leaf.
        subject: String,
        /// The CA.
        ca: String,
    },
    /// The extended key usage of a certificate of the chain does not include the peer's role. Label: `wrong_key_usage`.
    #[error(
        "the {position} certificate {subject} is not allowed for {purpose}, which a {role} needs; issue it again with \
         {purpose} in its extended key usage"
    )]
    WrongKeyUsage {
        /// Its place in the chain.
        position: ChainPosition,
        /// The certificate.
        subject: String,
        /// The role of the peer.
        role: Role,
        /// `clientAuth` or `serverAuth`.
        purpose: &'static str,
    },
}

/// The keys of a [`Rejection::CaKeyMismatch`] as a part of its sentence: their first octets, as in the names of CAs.
fn keys(signed_by: Option<&str>, trusted: Option<&str>) -> String {
    let key = |identifier: Option<&str>| {
        identifier.and_then(|digits| digits.get(..8).or(Some(digits)).map(str::to_owned))
    };
    match (key(signed_by), key(trusted)) {
        (Some(signed_by), Some(trusted)) => {
            format!(" (it names key {signed_by}, and the CA file has key {trusted})")
        }
        (Some(signed_by), None) => format!(" (it names key {signed_by})"),
        (None, Some(trusted)) => format!(" (the CA file has key {trusted})"),
        (None, None) => String::new(),
    }
}

/// An extension that makes OpenSSL write an X.509 version 3 certificate, and that fits its use.
fn extension_line(position: ChainPosition, role: Role) -> String {
    match position {
        ChainPosition::Leaf => format!(
            "extendedKeyUsage = {}, and with subjectAltName = URI:ID if a URI SAN is required",
            role.key_purpose_name()
        ),
        ChainPosition::Ca | ChainPosition::Intermediate => "basicConstraints = critical, CA:TRUE".to_owned(),
    }
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
            Self::HostMismatch(_) => "host_mismatch",
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
            // bad_certificate, as other libraries send it
            Self::HostMismatch(_) => CertificateError::NotValidForName,
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

impl From<HostCheckError> for Rejection {
    fn from(error: HostCheckError) -> Self {
        match error {
            HostCheckError::Mismatch(mismatch) => Self::HostMismatch(Box::new(mismatch)),
            HostCheckError::Unreadable(problem) => MalformedCertificate::new(problem).into(),
        }
    }
}

impl From<IdentityMismatch> for Rejection {
    fn from(mismatch: IdentityMismatch) -> Self {
        Self::IdentityMismatch(Box::new(mismatch))
    }
}

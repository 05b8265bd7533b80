//! Why a file, or what it holds, can not be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::certificate::MalformedCertificate;
use crate::text::Quoted;

/// The origin of what the program gave itself.
pub(super) const MEMORY: &str = "the given bytes";

/// Why a file, or what it holds, can not be used. The text says which file, what is wrong, and where it helps, what to
/// do.
///
/// An origin is the path of the file as text, or `the given bytes`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MaterialError {
    /// A PEM block is damaged. The whole file is refused, since skipping a block could drop a CA or a revocation.
    #[error("{origin}: {problem}")]
    BadPem {
        /// Where it stands.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate can not be used: malformed, or of a form that can never be verified.
    #[error("{origin}: certificate {position} is unusable")]
    Certificate {
        /// Where it stands.
        origin: String,
        /// Its place among the certificates there, counted from 1.
        position: usize,
        /// What is wrong with it.
        source: MalformedCertificate,
    },
    /// A certificate revocation list can not be used: damaged, of a form that is not supported, or not signed by a CA
    /// of the bundle.
    #[error("{origin}: revocation list {position} is unusable: {problem}")]
    RevocationList {
        /// Where it stands.
        origin: String,
        /// Its place among the lists there, counted from 1.
        position: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate among the revocation lists is not that of a CA below a trusted one.
    #[error("{origin}: certificate {position} can not vouch for a revocation list: {problem}")]
    RevocationListIssuer {
        /// Where it stands.
        origin: String,
        /// Its place among the certificates there, counted from 1.
        position: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The private key is protected by a passphrase, which an unattended daemon can not enter.
    #[error("{0}: the private key is encrypted; store it decrypted: openssl pkey -in KEY -out NEW")]
    EncryptedKey(String),
    /// The private key belongs to none of the certificates of the chain.
    #[error("{key}: the private key does not belong to the certificate in {chain}")]
    KeyMismatch {
        /// Where the chain stands.
        chain: String,
        /// Where the key stands.
        key: String,
    },
    /// The private key belongs to a certificate that is not the first one.
    #[error(
        "{chain}: the private key in {key} belongs to certificate {position}; \
         the leaf must come first, then its issuer, and so on"
    )]
    LeafNotFirst {
        /// Where the chain stands.
        chain: String,
        /// Where the key stands.
        key: String,
        /// The place of the leaf, counted from 1.
        position: usize,
    },
    /// There is no certificate in it.
    #[error("{0}: there is no certificate (a PEM block CERTIFICATE) in it")]
    NoCertificate(String),
    /// There is no private key in it.
    #[error(
        "{0}: there is no private key (a PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY) in it"
    )]
    NoPrivateKey(String),
    /// There is no revocation list in it.
    #[error("{0}: there is no revocation list (a PEM block X509 CRL, or DER) in it")]
    NoRevocationList(String),
    /// The file can not be read, is larger than 16 MiB, or is a directory, a pipe or a device.
    #[error("{}: it can not be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is more than one private key in it, so that it is open which one is meant.
    #[error("{origin}: there are {count} private keys in it; leave only the leaf's")]
    SeveralPrivateKeys {
        /// Where they stand.
        origin: String,
        /// How many.
        count: usize,
    },
    /// A PEM block of a kind that does not belong there, such as a private key in a certificate file.
    #[error("{origin}: found a PEM block {}, but {expected} here", Quoted(label))]
    UnexpectedBlock {
        /// Where it stands.
        origin: String,
        /// The label of the block.
        label: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// The private key is of a kind that the cryptography in use does not support, or damaged.
    #[error("{origin}: the private key can not be used")]
    UnusableKey {
        /// Where it stands.
        origin: String,
        /// What the provider says.
        source: rustls::Error,
    },
}

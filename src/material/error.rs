//! Why a file or its contents can not be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::certificate::MalformedCertificate;
use crate::text::Quoted;

/// The origin of material that the program passed in memory.
pub(super) const MEMORY: &str = "the given bytes";

/// What is found instead of DER that the program did not pass.
pub(super) const EMPTY: &str = "it is empty";

/// The most bytes of a Certificate message. rustls takes less than 64 KiB of messages at once, with the overhead of
/// their records. 4 KiB of that are for the messages before it, such as the names of our CAs.
pub(super) const MAX_MESSAGE: usize = 60 * 1024;

/// Why a file or its contents can not be used. The text names the file, the problem and, where possible, the remedy
/// after a semicolon.
///
/// An origin is the path of the file as text, or `the given bytes`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MaterialError {
    /// A PEM block is damaged. The whole file is refused, because skipping a block could drop a CA or a revocation.
    #[error("{origin}: {problem}")]
    BadPem {
        /// The origin of the block.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate can not be used: it is malformed, or has a form that can never be verified.
    #[error("{origin}: certificate {position} is unusable")]
    Certificate {
        /// The origin of the certificate.
        origin: String,
        /// Its position in the origin, counted from 1.
        position: usize,
        /// What is wrong with it.
        source: MalformedCertificate,
    },
    /// A certificate revocation list can not be used: it is damaged, has a form that is not supported, or is not signed
    /// by a CA of the bundle.
    #[error("{origin}: revocation list {position} is unusable: {problem}")]
    RevocationList {
        /// The origin of the list.
        origin: String,
        /// Its position in the origin, counted from 1.
        position: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate among the revocation lists is not an intermediate CA below a trusted CA.
    #[error("{origin}: certificate {position} can not vouch for a revocation list: {problem}")]
    RevocationListIssuer {
        /// The origin of the certificate.
        origin: String,
        /// Its position in the origin, counted from 1.
        position: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The chain does not fit into a TLS handshake message, so that no peer could receive it.
    #[error(
        "{origin}: the chain takes {bytes} bytes in a TLS handshake, and at most {MAX_MESSAGE} are sure to reach a \
         peer; leave only the leaf and the intermediate CAs that issued it"
    )]
    ChainTooLarge {
        /// The origin of the chain.
        origin: String,
        /// The size of its Certificate message.
        bytes: usize,
    },
    /// The private key is protected by a passphrase, which an unattended daemon can not enter.
    #[error("{0}: the private key is encrypted; store it decrypted: openssl pkey -in KEY -out NEW")]
    EncryptedKey(String),
    /// The private key belongs to none of the certificates of the chain.
    #[error("{key}: the private key does not belong to the certificate in {chain}")]
    KeyMismatch {
        /// The origin of the chain.
        chain: String,
        /// The origin of the key.
        key: String,
    },
    /// The private key belongs to a certificate that is not the first one.
    #[error(
        "{chain}: the private key in {key} belongs to certificate {position}; \
         the leaf must come first, then its issuer, and so on"
    )]
    LeafNotFirst {
        /// The origin of the chain.
        chain: String,
        /// The origin of the key.
        key: String,
        /// The position of the leaf in the chain, counted from 1.
        position: usize,
    },
    /// The origin holds no certificate.
    #[error("{origin}: there is no certificate (a PEM block CERTIFICATE) in it: {found}")]
    NoCertificate {
        /// The origin.
        origin: String,
        /// What it has instead, and what to do.
        found: String,
    },
    /// The origin holds no private key.
    #[error(
        "{origin}: there is no private key (a PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY) in it: {found}"
    )]
    NoPrivateKey {
        /// The origin.
        origin: String,
        /// What it has instead, and what to do.
        found: String,
    },
    /// The origin holds no revocation list.
    #[error("{origin}: there is no revocation list (a PEM block X509 CRL, or DER) in it: {found}")]
    NoRevocationList {
        /// The origin.
        origin: String,
        /// What it has instead, and what to do.
        found: String,
    },
    /// The file can not be read, is larger than 16 MiB, or is a directory, a pipe or a device.
    #[error("{}: it can not be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The origin holds several private keys, so that the leaf's key is ambiguous.
    #[error("{origin}: there are {count} private keys in it; leave only the leaf's")]
    SeveralPrivateKeys {
        /// The origin of the keys.
        origin: String,
        /// The number of keys.
        count: usize,
    },
    /// A PEM block of a kind that is not read in this file, but may have contents that matter, such as a revocation
    /// list in a CA file.
    #[error("{origin}: found a PEM block {}, but {expected} here; {remedy}", Quoted(label))]
    UnexpectedBlock {
        /// The origin of the block.
        origin: String,
        /// The label of the block.
        label: String,
        /// The kinds of blocks that are allowed.
        expected: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The private key is damaged, or of a kind or size that can not be used.
    #[error("{origin}: the private key can not be used: {problem}")]
    UnusableKey {
        /// The origin of the key.
        origin: String,
        /// The kind of key, what is wrong with it, and what to do.
        problem: String,
    },
    /// The file has another form than PEM, such as DER, PKCS#12 or UTF-16.
    #[error("{origin}: {form}; {remedy}")]
    WrongForm {
        /// The origin.
        origin: String,
        /// The form of the file.
        form: String,
        /// The command that makes PEM of it, or what to put there instead.
        remedy: String,
    },
}

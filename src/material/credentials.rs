//! Our own certificate chain and private key.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::diagnosis::FileKind;
use super::error::{EMPTY, MAX_MESSAGE, MEMORY, MaterialError};
use super::expiry::expires_soon;
use super::pem::{self, Blocks};
use super::private_key;
use super::trust_bundle::certificates;
use super::warning::MaterialWarning;
use crate::certificate::{Certificate, MalformedCertificate};
use crate::file::{Permissions, ReadFile};
use crate::identity::PeerIdentity;

/// Our own certificate chain, leaf first, and the private key that belongs to the leaf.
///
/// # Security
///
/// The key never leaves this value: it is in no `Debug` output, error or log, and no method returns it.
#[derive(Clone)]
pub struct Credentials {
    certified_key: Arc<CertifiedKey>,
    identity: PeerIdentity,
    subject: String,
    not_before: UnixTime,
    not_after: UnixTime,
    /// Of the key file.
    key_permissions: Option<Permissions>,
    /// Of the chain file, if it has a private key but is not the key file.
    chain_permissions: Option<Permissions>,
}

impl Credentials {
    /// Reads the chain (`ServerCertFile`, `TyphaCertFile`) and the key (`ServerKeyFile`, `TyphaKeyFile`).
    ///
    /// The key may be PKCS#8, SEC1 or PKCS#1. Both may be in one file: a private key in the chain file is skipped,
    /// and so are certificates in the key file.
    ///
    /// # Errors
    ///
    /// [`MaterialError`]:
    ///
    /// - A file can not be read or has other content.
    /// - The key is encrypted, is of an unsupported kind, or does not belong to the leaf.
    /// - The leaf does not come first, or the chain is too large for TLS.
    pub fn from_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        Self::of_files(ReadFile::new(chain.as_ref()), ReadFile::new(key.as_ref()), provider)
    }

    pub(super) fn of_files(
        chain: ReadFile,
        key: ReadFile,
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        let key_permissions = key.permissions();
        let chain_permissions = chain.permissions().filter(|_| !chain.is_same_file_as(&key));
        let ((chain, chain_origin), (key, key_origin)) = (pem::contents(chain)?, pem::contents(key)?);
        let (credentials, key_in_chain) =
            Self::parse_pem(&chain, &chain_origin, &key, &key_origin, provider)?;
        let chain_permissions = chain_permissions.filter(|_| key_in_chain);
        Ok(Self { key_permissions, chain_permissions, ..credentials })
    }

    /// Reads PEM chain and key from memory.
    ///
    /// # Errors
    ///
    /// As [`from_files`](Self::from_files).
    pub fn from_pem(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, MaterialError> {
        Self::parse_pem(chain, MEMORY, key, MEMORY, provider).map(|(credentials, _)| credentials)
    }

    /// Takes DER chain and key.
    ///
    /// # Errors
    ///
    /// As [`from_files`](Self::from_files).
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        Self::parse(chain, MEMORY, key, MEMORY, provider)
    }

    /// Also returns whether the chain file has a private key.
    fn parse_pem(
        chain: &[u8],
        chain_origin: &str,
        key: &[u8],
        key_origin: &str,
        provider: &CryptoProvider,
    ) -> Result<(Self, bool), MaterialError> {
        let Blocks { blocks, has_private_key } = pem::decode(chain, chain_origin, FileKind::Chain)?;
        let chain = certificates(blocks).collect();
        let keys = pem::decode(key, key_origin, FileKind::Key)?.blocks;
        let count = keys.len();
        let mut keys = keys.into_iter().filter_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der));
        match (keys.next(), keys.next()) {
            (Some(key), None) => {
                let credentials = Self::parse(chain, chain_origin, key, key_origin, provider)?;
                Ok((credentials, has_private_key))
            }
            _ => Err(MaterialError::SeveralPrivateKeys { origin: key_origin.to_owned(), count }),
        }
    }

    fn parse(
        chain: Vec<CertificateDer<'static>>,
        chain_origin: &str,
        key: PrivateKeyDer<'static>,
        key_origin: &str,
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        let malformed = |index: usize| {
            let origin = chain_origin.to_owned();
            move |source| MaterialError::Certificate { origin, position: index + 1, source }
        };
        let parsed =
            chain.iter().enumerate().map(|(index, der)| Certificate::parse(der).map_err(malformed(index)));
        let certificates = parsed.collect::<Result<Vec<_>, _>>()?;
        let leaf = certificates.first().ok_or_else(|| MaterialError::NoCertificate {
            origin: chain_origin.to_owned(),
            found: EMPTY.to_owned(),
        })?;
        let identity = PeerIdentity::read(leaf).map_err(malformed(0))?;
        let (subject, not_before, not_after) = (leaf.subject_text(), leaf.not_before(), leaf.not_after());
        let bytes = certificate_message(&chain);
        if bytes > MAX_MESSAGE {
            return Err(MaterialError::ChainTooLarge { origin: chain_origin.to_owned(), bytes });
        }
        let unusable = |problem| MaterialError::UnusableKey { origin: key_origin.to_owned(), problem };
        // The error of the provider does not say what is wrong.
        let key = provider
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|_| unusable(private_key::problem(&key)))?;
        // All providers of this crate can give the public key.
        if let Some(public_key) = key.public_key() {
            let (chain, key) = (chain_origin.to_owned(), key_origin.to_owned());
            match certificates.iter().position(|known| *known.public_key_info() == *public_key) {
                Some(0) => {}
                Some(index) => return Err(MaterialError::LeafNotFirst { chain, key, position: index + 1 }),
                None if private_key::is_explicit_curve_of(leaf.public_key_info(), &public_key) => {
                    let problem = "it writes the curve of its key as explicit parameters, which is not supported; have \
                                   it issued again for the same key, with a new request: openssl req -new -key KEY \
                                   -out CSR";
                    return Err(malformed(0)(MalformedCertificate::new(problem)));
                }
                None => return Err(MaterialError::KeyMismatch { chain, key }),
            }
        }
        let certified_key = Arc::new(CertifiedKey::new(chain, key));
        Ok(Self {
            certified_key,
            identity,
            subject,
            not_before,
            not_after,
            key_permissions: None,
            chain_permissions: None,
        })
    }

    /// The chain, leaf first, as it is sent to peers.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified_key.cert
    }

    /// The names in our leaf. The other end must require one of them.
    pub fn identity(&self) -> &PeerIdentity {
        &self.identity
    }

    /// When our leaf expires.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// Reports probable mistakes at the time `now`: a leaf that expires soon, and private keys that others can access.
    /// [`TlsConfig::warnings`](crate::TlsConfig::warnings) reports everything about our own chain.
    pub fn warnings(&self, now: UnixTime) -> Vec<MaterialWarning> {
        let mut warnings = Vec::new();
        if expires_soon(self.not_before, self.not_after, now) {
            let (subject, not_after) = (self.subject.clone(), self.not_after);
            warnings.push(MaterialWarning::LeafExpiresSoon { subject, not_after });
        }
        if let Some(Permissions { path, mode, on_kubernetes_volume }) = self.key_permissions.clone()
            && mode & 0o006 != 0
        {
            warnings.push(MaterialWarning::KeyAccessibleByOthers { path, mode, on_kubernetes_volume });
        }
        warnings
            .extend(self.chain_permissions.as_ref().and_then(MaterialWarning::of_key_in_certificate_file));
        warnings
    }

    /// The subject of our leaf, as text for people.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    pub(crate) fn not_before(&self) -> UnixTime {
        self.not_before
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        self.certified_key.clone()
    }
}

/// The size of the message with this chain in TLS 1.3, without its header (RFC 8446 section 4.4.2). In TLS 1.2 it is
/// smaller.
fn certificate_message(chain: &[CertificateDer<'_>]) -> usize {
    // The lengths of the context and of the list, and for each certificate its length and that of its extensions.
    1 + 3 + chain.iter().map(|der| 3 + der.len() + 2).sum::<usize>()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("identity", &self.identity).finish_non_exhaustive()
    }
}

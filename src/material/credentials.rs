//! Our own certificate chain and private key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::error::{MEMORY, MaterialError};
use super::pem::{self, Expected};
use super::trust_bundle::certificates;
use super::warning::MaterialWarning;
use crate::certificate::Certificate;
use crate::file::ReadFile;
use crate::identity::PeerIdentity;
use crate::role::Role;

/// Our own certificate chain, leaf first, and the private key that belongs to the leaf.
///
/// # Security
///
/// The key never leaves this value: it is in no `Debug` output, error or log, and no method returns it.
#[derive(Clone)]
pub struct Credentials {
    certified_key: Arc<CertifiedKey>,
    identity: PeerIdentity,
    not_before: UnixTime,
    not_after: UnixTime,
    key_permissions: Option<(PathBuf, u32)>,
}

const EXPECTED_IN_CHAIN: Expected = Expected {
    labels: &["CERTIFICATE"],
    description: "only CERTIFICATE blocks (the chain, leaf first) are allowed",
};

const EXPECTED_IN_KEY_FILE: Expected = Expected {
    // `openssl ecparam -genkey` writes the parameters in front of the key.
    labels: &["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "EC PARAMETERS"],
    description: "only one private key is allowed",
};

impl Credentials {
    /// Reads the chain (`ServerCertFile`, `TyphaCertFile`) and the key (`ServerKeyFile`, `TyphaKeyFile`).
    ///
    /// The key may be PKCS#8, SEC1 or PKCS#1.
    ///
    /// # Errors
    ///
    /// [`MaterialError`] if a file can not be read or has other content, if the key is encrypted or does not belong to
    /// the leaf, or if the leaf does not come first.
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
        let mode = key.metadata.as_ref().and_then(permissions);
        let key_permissions = mode.map(|mode| (key.path.clone(), mode));
        let ((chain, chain_origin), (key, key_origin)) = (pem::contents(chain)?, pem::contents(key)?);
        let credentials = Self::parse_pem(&chain, &chain_origin, &key, &key_origin, provider)?;
        Ok(Self { key_permissions, ..credentials })
    }

    /// Reads PEM chain and key from memory.
    ///
    /// # Errors
    ///
    /// As [`from_files`](Self::from_files).
    pub fn from_pem(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, MaterialError> {
        Self::parse_pem(chain, MEMORY, key, MEMORY, provider)
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

    fn parse_pem(
        chain: &[u8],
        chain_origin: &str,
        key: &[u8],
        key_origin: &str,
        provider: &CryptoProvider,
    ) -> Result<Self, MaterialError> {
        let chain = certificates(pem::decode(chain, chain_origin, &EXPECTED_IN_CHAIN)?).collect();
        let mut keys: Vec<_> = pem::decode(key, key_origin, &EXPECTED_IN_KEY_FILE)?
            .into_iter()
            .filter_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der))
            .collect();
        match (keys.pop(), keys.len()) {
            (Some(key), 0) => Self::parse(chain, chain_origin, key, key_origin, provider),
            (Some(_), others) => {
                Err(MaterialError::SeveralPrivateKeys { origin: key_origin.to_owned(), count: others + 1 })
            }
            (None, _) => Err(MaterialError::NoPrivateKey(key_origin.to_owned())),
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
        let leaf =
            certificates.first().ok_or_else(|| MaterialError::NoCertificate(chain_origin.to_owned()))?;
        let identity = PeerIdentity::read(leaf).map_err(malformed(0))?;
        let (not_before, not_after) = (leaf.not_before(), leaf.not_after());
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|source| MaterialError::UnusableKey { origin: key_origin.to_owned(), source })?;
        // All providers of this crate can give the public key.
        if let Some(public_key) = key.public_key() {
            let (chain, key) = (chain_origin.to_owned(), key_origin.to_owned());
            match certificates.iter().position(|known| *known.public_key_info() == *public_key) {
                Some(0) => {}
                Some(index) => return Err(MaterialError::LeafNotFirst { chain, key, position: index + 1 }),
                None => return Err(MaterialError::KeyMismatch { chain, key }),
            }
        }
        let certified_key = Arc::new(CertifiedKey::new(chain, key));
        Ok(Self { certified_key, identity, not_before, not_after, key_permissions: None })
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

    /// Problems at the time `now` for this end in the role `local`: reasons why peers would refuse us, and exposed
    /// keys.
    pub fn warnings(&self, local: Role, now: UnixTime) -> Vec<MaterialWarning> {
        let mut warnings = Vec::new();
        if let Some(Ok(leaf)) = self.chain().first().map(|leaf| Certificate::parse(leaf)) {
            let subject = leaf.subject_text();
            let (not_before, not_after) = (leaf.not_before(), leaf.not_after());
            if now > not_after {
                warnings.push(MaterialWarning::LeafExpired { subject: subject.clone(), not_after });
            }
            if now < not_before {
                warnings.push(MaterialWarning::LeafNotYetValid { subject: subject.clone(), not_before });
            }
            if !leaf.allows(local.key_purpose()) {
                let purpose = local.key_purpose_name();
                warnings.push(MaterialWarning::LeafLacksPurpose { subject: subject.clone(), purpose });
            }
            if leaf.is_ca() {
                warnings.push(MaterialWarning::LeafIsCa { subject });
            }
        }
        if let Some((path, mode)) = &self.key_permissions
            && mode & 0o006 != 0
        {
            warnings.push(MaterialWarning::KeyAccessibleByOthers { path: path.clone(), mode: *mode });
        }
        warnings
    }

    pub(crate) fn not_before(&self) -> UnixTime {
        self.not_before
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        self.certified_key.clone()
    }
}

#[cfg(unix)]
fn permissions(metadata: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(metadata.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
fn permissions(_: &std::fs::Metadata) -> Option<u32> {
    None
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("identity", &self.identity).finish_non_exhaustive()
    }
}

//! The contents of the files: the CAs we trust, our own certificate chain and key, and revocation lists.
//!
//! Everything is checked when it is read: a value of one of these types is usable. If any part of a file is wrong, the
//! error names the file. A [`MaterialWarning`] reports material that is usable but probably not intended.

mod credentials;
mod diagnosis;
mod error;
mod expiry;
mod pem;
mod private_key;
mod revocation;
mod trust_bundle;
mod warning;

use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;

pub use credentials::Credentials;
pub use error::MaterialError;
pub(crate) use expiry::thresholds;
pub(crate) use revocation::ListHistory;
pub use revocation::{RevocationList, RevocationLists, RevocationPolicy};
pub(crate) use trust_bundle::BundleEntry;
pub use trust_bundle::TrustBundle;
pub use warning::MaterialWarning;

use crate::file::ReadFile;
use diagnosis::FileKind;

/// The files that each end of the connection needs.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// PEM bundle of the CAs trusted for the **other** end: `CAFile` on Typha, `TyphaCAFile` on Felix.
    pub ca_file: PathBuf,
    /// PEM chain of **this** end, leaf first: `ServerCertFile` on Typha, `TyphaCertFile` on Felix.
    pub cert_file: PathBuf,
    /// PEM private key of the leaf: `ServerKeyFile` on Typha, `TyphaKeyFile` on Felix.
    pub key_file: PathBuf,
    /// Revocation lists of the CAs of the **other** end, each PEM or DER; see [`RevocationLists::from_files`]. The
    /// default is none, because Calico has no parameter for them.
    pub crl_files: Vec<PathBuf>,
    /// How the lists are used. The default is that of [`RevocationPolicy`]; without lists it refuses no peer.
    pub revocation: RevocationPolicy,
}

/// The files' contents for one end of the connection. The required identity of the peer is not part of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Material {
    /// The CAs trusted for the other end.
    pub trust_bundle: TrustBundle,
    /// This end's chain and key.
    pub credentials: Credentials,
    /// Revoked certificates of the other end; [`RevocationLists::none`] if none are configured, as in Calico.
    pub revocation_lists: RevocationLists,
}

impl Material {
    /// Makes material of CAs, chain and key, without revocation lists. Set [`revocation_lists`](Self::revocation_lists)
    /// to add some.
    pub fn new(trust_bundle: TrustBundle, credentials: Credentials) -> Self {
        Self { trust_bundle, credentials, revocation_lists: RevocationLists::none() }
    }
}

impl TlsFiles {
    /// Names these three files, without revocation lists. Set [`crl_files`](Self::crl_files) to add some.
    pub fn new(
        ca_file: impl Into<PathBuf>,
        cert_file: impl Into<PathBuf>,
        key_file: impl Into<PathBuf>,
    ) -> Self {
        Self {
            ca_file: ca_file.into(),
            cert_file: cert_file.into(),
            key_file: key_file.into(),
            crl_files: Vec::new(),
            revocation: RevocationPolicy::default(),
        }
    }

    /// Reads and checks the files, the bundle first. It blocks on file I/O; the files are expected to be small and
    /// local.
    ///
    /// `provider` loads the private key and verifies the signatures of the revocation lists.
    /// [`TlsPolicy::provider`](crate::policy::TlsPolicy::provider) returns it.
    ///
    /// # Errors
    ///
    /// [`MaterialError`], with the file and its problem.
    pub fn load(&self, provider: &CryptoProvider) -> Result<Material, MaterialError> {
        self.read().parse(self.revocation, provider)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca_file, &self.cert_file, &self.key_file].into_iter().chain(&self.crl_files)
    }

    pub(crate) fn read(&self) -> ReadFiles {
        ReadFiles {
            ca: ReadFile::new(&self.ca_file),
            cert: ReadFile::new(&self.cert_file),
            key: ReadFile::new(&self.key_file),
            lists: self.crl_files.iter().map(|path| ReadFile::new(path)).collect(),
        }
    }
}

/// Reads a chain as a peer sends it, leaf first. The file is read as strictly as [`Credentials::from_files`] reads our
/// own chain. The certificates are not parsed or verified; a [`PeerVerifier`](crate::verifier::PeerVerifier) does that.
///
/// # Errors
///
/// [`MaterialError`] if the file can not be read or has no chain, or if a block in it is damaged. If the file has no
/// certificate at all, it is [`MaterialError::NoCertificate`].
pub fn read_chain(path: impl AsRef<Path>) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let (bytes, origin) = pem::contents(ReadFile::new(path.as_ref()))?;
    let blocks = pem::decode(&bytes, &origin, FileKind::Chain)?.blocks;
    Ok(trust_bundle::certificates(blocks).collect())
}

/// The contents of [`TlsFiles`] at the moment of reading.
pub(crate) struct ReadFiles {
    ca: ReadFile,
    cert: ReadFile,
    key: ReadFile,
    lists: Vec<ReadFile>,
}

impl ReadFiles {
    pub(crate) fn all(&self) -> impl Iterator<Item = &ReadFile> {
        [&self.ca, &self.cert, &self.key].into_iter().chain(&self.lists)
    }

    /// Parses the bundle first. If several files are wrong, the first file's error is returned.
    pub(crate) fn parse(
        self,
        revocation: RevocationPolicy,
        provider: &CryptoProvider,
    ) -> Result<Material, MaterialError> {
        let is_key_file = self.ca.is_same_file_as(&self.key);
        let mut trust_bundle = TrustBundle::of_file(self.ca)?;
        if is_key_file {
            trust_bundle.expect_private_key();
        }
        let credentials = Credentials::of_files(self.cert, self.key, provider)?;
        let revocation_lists =
            RevocationLists::of_files(self.lists, &trust_bundle, provider)?.with_policy(revocation);
        Ok(Material { trust_bundle, credentials, revocation_lists })
    }
}

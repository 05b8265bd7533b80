//! What the files hold: the CAs we trust, our own certificate chain and key, revocation lists.
//!
//! Everything is checked when it is read: a value of one of these types is usable. A file that is wrong in any part is
//! an error that names it; what is usable but will not do what its owner expects is a [`MaterialWarning`].

mod credentials;
mod error;
mod pem;
mod revocation;
mod signed;
mod trust_bundle;
mod warning;

use std::path::PathBuf;

use rustls::crypto::CryptoProvider;

pub use credentials::Credentials;
pub use error::MaterialError;
pub use revocation::{RevocationList, RevocationLists, RevocationPolicy};
pub(crate) use trust_bundle::BundleEntry;
pub use trust_bundle::TrustBundle;
pub use warning::MaterialWarning;

use crate::file::ReadFile;

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
    /// Revocation lists of the CAs of the **other** end, each PEM or DER; see [`RevocationLists::from_files`]. None by
    /// default, since Calico has no parameter for them.
    pub crl_files: Vec<PathBuf>,
    /// How the lists are asked. The default is that of [`RevocationPolicy`]; without lists it refuses nobody.
    pub revocation: RevocationPolicy,
}

/// What one end of the connection needs beside the rule for its peer.
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
    /// CAs, chain and key, without revocation lists; set [`revocation_lists`](Self::revocation_lists) to add some.
    pub fn new(trust_bundle: TrustBundle, credentials: Credentials) -> Self {
        Self { trust_bundle, credentials, revocation_lists: RevocationLists::none() }
    }
}

impl TlsFiles {
    /// These three files, without revocation lists; set [`crl_files`](Self::crl_files) to add some.
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

    /// Reads and checks the files, the bundle first. Blocks on file I/O; the files of a node are small and local.
    ///
    /// `provider` loads the private key and verifies the signatures of the revocation lists;
    /// [`TlsPolicy::provider`](crate::policy::TlsPolicy::provider) gives it.
    ///
    /// # Errors
    ///
    /// [`MaterialError`], with the file and what is wrong in it.
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

/// What stood in [`TlsFiles`] when they were read.
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

    /// The bundle first: of several errors, that of the first file counts.
    pub(crate) fn parse(
        self,
        revocation: RevocationPolicy,
        provider: &CryptoProvider,
    ) -> Result<Material, MaterialError> {
        let trust_bundle = TrustBundle::of_file(self.ca)?;
        let credentials = Credentials::of_files(self.cert, self.key, provider)?;
        let revocation_lists =
            RevocationLists::of_files(self.lists, &trust_bundle, provider)?.with_policy(revocation);
        Ok(Material { trust_bundle, credentials, revocation_lists })
    }
}

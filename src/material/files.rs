//! The files of one end, and their contents at one moment.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use super::credentials::Credentials;
use super::error::MaterialError;
use super::revocation::{RevocationLists, RevocationPolicy};
use super::trust_bundle::TrustBundle;
use super::{HostMaterial, Material};
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
    /// Revocation lists of the CAs of the **other** end, each PEM or DER; see [`RevocationLists::from_files`]. The
    /// default is none, because Calico has no parameter for them.
    pub crl_files: Vec<PathBuf>,
    /// How the lists are used. The default is that of [`RevocationPolicy`]; without lists it refuses no peer.
    pub revocation: RevocationPolicy,
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
        let (trust_bundle, credentials, revocation_lists) = self.read().parse(self.revocation, provider)?;
        Ok(Material { trust_bundle, credentials, revocation_lists })
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca_file, &self.cert_file, &self.key_file].into_iter().chain(&self.crl_files)
    }

    pub(crate) fn read(&self) -> ReadFiles<OwnFiles> {
        let own = OwnFiles { cert: ReadFile::new(&self.cert_file), key: ReadFile::new(&self.key_file) };
        let lists = self.crl_files.iter().map(|path| ReadFile::new(path)).collect();
        ReadFiles { ca: ReadFile::new(&self.ca_file), own, lists }
    }
}

/// The files that a client needs for a server that is verified for its host, such as etcd.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HostTlsFiles {
    /// PEM bundle of the CAs trusted for the server.
    pub ca_file: PathBuf,
    /// PEM chain of our certificate, leaf first, and PEM private key of the leaf; `None` if we authenticate by other
    /// means, such as a token.
    pub own_files: Option<(PathBuf, PathBuf)>,
    /// Revocation lists of the CAs of the server, each PEM or DER; see [`RevocationLists::from_files`].
    pub crl_files: Vec<PathBuf>,
    /// How the lists are used. The default is that of [`RevocationPolicy`]; without lists it refuses no server.
    pub revocation: RevocationPolicy,
    given: Vec<(PathBuf, Contents)>,
}

/// Given contents. They may be those of a private key.
#[derive(Clone, Eq, PartialEq)]
struct Contents(Arc<[u8]>);

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl HostTlsFiles {
    /// Names the file of the server's CAs. There is no certificate of our own and no revocation list.
    pub fn new(ca_file: impl Into<PathBuf>) -> Self {
        let (own_files, crl_files, revocation, given) = Default::default();
        Self { ca_file: ca_file.into(), own_files, crl_files, revocation, given }
    }

    /// Names the files of our certificate chain and of its private key.
    #[must_use]
    pub fn with_own_files(mut self, cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        self.own_files = Some((cert_file.into(), key_file.into()));
        self
    }

    /// Gives the contents of the file with this path, which is then never read: the path is only its name in errors. It
    /// is for configurations that have a certificate or a key either as a file or as data, such as a kubeconfig. The
    /// last contents for a path count.
    ///
    /// ```
    /// use typha_tls::material::HostTlsFiles;
    ///
    /// # fn example(ca: Vec<u8>) {
    /// let files = HostTlsFiles::new("certificate-authority-data")
    ///     .with_contents("certificate-authority-data", ca)
    ///     .with_own_files("/var/lib/client.pem", "/var/lib/client.pem"); // these are read, and can be followed
    /// # }
    /// ```
    #[must_use]
    pub fn with_contents(mut self, path: impl Into<PathBuf>, contents: impl Into<Vec<u8>>) -> Self {
        let path = path.into();
        self.given.retain(|(given, _)| *given != path);
        self.given.push((path, Contents(contents.into().into())));
        self
    }

    /// Reads and checks the files, as [`TlsFiles::load`] does.
    ///
    /// # Errors
    ///
    /// [`MaterialError`], with the file and its problem.
    pub fn load(&self, provider: &CryptoProvider) -> Result<HostMaterial, MaterialError> {
        let (trust_bundle, credentials, revocation_lists) = self.read().parse(self.revocation, provider)?;
        Ok(HostMaterial { trust_bundle, credentials, revocation_lists })
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.own_files.iter().flat_map(|(cert, key)| [cert, key]);
        std::iter::once(&self.ca_file)
            .chain(own)
            .chain(&self.crl_files)
            .filter(|path| self.given(path).is_none())
    }

    pub(crate) fn read(&self) -> ReadFiles<Option<OwnFiles>> {
        let read = |path: &PathBuf| match self.given(path) {
            Some(contents) => ReadFile::given(path, contents),
            None => ReadFile::new(path),
        };
        let own = self.own_files.as_ref();
        let own = own.map(|(cert, key)| OwnFiles { cert: read(cert), key: read(key) });
        ReadFiles { ca: read(&self.ca_file), own, lists: self.crl_files.iter().map(read).collect() }
    }

    fn given(&self, path: &Path) -> Option<&[u8]> {
        self.given.iter().find(|(given, _)| given == path).map(|(_, contents)| &*contents.0)
    }
}

/// The contents of all files at the moment of reading.
pub(crate) struct ReadFiles<Own> {
    ca: ReadFile,
    own: Own,
    lists: Vec<ReadFile>,
}

/// The contents of the files with our own chain and key.
pub(crate) struct OwnFiles {
    cert: ReadFile,
    key: ReadFile,
}

/// Our own files, or our own files if there are any.
pub(crate) trait ReadOwnFiles {
    type Credentials;

    fn files(&self) -> Option<&OwnFiles>;

    fn parse(self, provider: &CryptoProvider) -> Result<Self::Credentials, MaterialError>;
}

impl ReadOwnFiles for OwnFiles {
    type Credentials = Credentials;

    fn files(&self) -> Option<&OwnFiles> {
        Some(self)
    }

    fn parse(self, provider: &CryptoProvider) -> Result<Credentials, MaterialError> {
        Credentials::of_files(self.cert, self.key, provider)
    }
}

impl ReadOwnFiles for Option<OwnFiles> {
    type Credentials = Option<Credentials>;

    fn files(&self) -> Option<&OwnFiles> {
        self.as_ref()
    }

    fn parse(self, provider: &CryptoProvider) -> Result<Option<Credentials>, MaterialError> {
        self.map(|own| own.parse(provider)).transpose()
    }
}

impl<Own: ReadOwnFiles> ReadFiles<Own> {
    pub(crate) fn all(&self) -> impl Iterator<Item = &ReadFile> {
        let own = self.own.files().into_iter().flat_map(|own| [&own.cert, &own.key]);
        std::iter::once(&self.ca).chain(own).chain(&self.lists)
    }

    /// Parses the bundle first. If several files are wrong, the first file's error is returned.
    pub(crate) fn parse(
        self,
        revocation: RevocationPolicy,
        provider: &CryptoProvider,
    ) -> Result<(TrustBundle, Own::Credentials, RevocationLists), MaterialError> {
        let is_key_file = self.own.files().is_some_and(|own| self.ca.is_same_file_as(&own.key));
        let mut trust_bundle = TrustBundle::of_file(self.ca)?;
        if is_key_file {
            trust_bundle.expect_private_key();
        }
        let credentials = self.own.parse(provider)?;
        let revocation_lists =
            RevocationLists::of_files(self.lists, &trust_bundle, provider)?.with_policy(revocation);
        Ok((trust_bundle, credentials, revocation_lists))
    }
}

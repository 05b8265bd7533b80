//! What the files hold: the CAs we trust, our own certificate chain and key, revocation lists.
//!
//! Everything is checked when it is read: a value of one of these types is usable. A file that is wrong in any part is an
//! error that names it; what is usable but will not do what its owner expects is a [`MaterialWarning`].

mod credentials;
mod error;
mod pem;
mod revocation;
mod trust_bundle;
mod warning;

use std::path::PathBuf;

use rustls::crypto::CryptoProvider;

pub use credentials::Credentials;
pub use error::{MaterialError, Origin};
pub use revocation::RevocationLists;
pub(crate) use trust_bundle::BundleEntry;
pub use trust_bundle::TrustBundle;
pub use warning::MaterialWarning;

/// The three files that each end of the connection needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFiles {
    /// PEM bundle of the CAs trusted for the **other** end: `CAFile` on Typha, `TyphaCAFile` on Felix.
    pub ca_file: PathBuf,
    /// PEM chain of **this** end, leaf first: `ServerCertFile` on Typha, `TyphaCertFile` on Felix.
    pub cert_file: PathBuf,
    /// PEM private key of the leaf: `ServerKeyFile` on Typha, `TyphaKeyFile` on Felix.
    pub key_file: PathBuf,
}

/// What one end of the connection needs beside the rule for its peer.
#[derive(Clone, Debug)]
pub struct Material {
    /// The CAs trusted for the other end.
    pub trust_bundle: TrustBundle,
    /// This end's chain and key.
    pub credentials: Credentials,
    /// Revoked certificates of the other end; [`RevocationLists::none`] if none are configured, as in Calico.
    pub revocation_lists: RevocationLists,
}

impl TlsFiles {
    /// Reads and checks the three files. Blocks on file I/O; the files of a node are small and local.
    ///
    /// `provider` loads the private key; [`TlsPolicy::provider`](crate::policy::TlsPolicy::provider) gives it.
    ///
    /// # Errors
    ///
    /// [`MaterialError`], with the file and what is wrong in it.
    pub fn load(&self, provider: &CryptoProvider) -> Result<Material, MaterialError> {
        Ok(Material {
            trust_bundle: TrustBundle::from_pem_file(&self.ca_file)?,
            credentials: Credentials::from_pem_files(&self.cert_file, &self.key_file, provider)?,
            revocation_lists: RevocationLists::none(),
        })
    }
}

//! The contents of the files: the CAs we trust, our own certificate chain and key, and revocation lists.
//!
//! Everything is checked when it is read: a value of one of these types is usable. If any part of a file is wrong, the
//! error names the file. A [`MaterialWarning`] reports material that is usable but probably not intended.

mod credentials;
mod diagnosis;
mod error;
mod expiry;
mod files;
mod pem;
mod private_key;
mod revocation;
mod trust_bundle;
mod warning;

use std::path::Path;

use rustls_pki_types::CertificateDer;

pub use credentials::Credentials;
pub use error::MaterialError;
pub(crate) use expiry::thresholds;
pub use files::{HostTlsFiles, TlsFiles};
pub(crate) use files::{OwnFiles, ReadFiles, ReadOwnFiles};
pub(crate) use revocation::ListHistory;
pub use revocation::{RevocationList, RevocationLists, RevocationPolicy};
pub(crate) use trust_bundle::BundleEntry;
pub use trust_bundle::TrustBundle;
pub use warning::MaterialWarning;

use crate::file::ReadFile;
use diagnosis::FileKind;

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

/// What the client's end of a connection needs to a server that is verified for its host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostMaterial {
    /// The CAs trusted for the server.
    pub trust_bundle: TrustBundle,
    /// Our own chain and key; `None` if we authenticate by other means, such as a token.
    pub credentials: Option<Credentials>,
    /// Revoked certificates of servers; [`RevocationLists::none`] if none are configured.
    pub revocation_lists: RevocationLists,
}

impl HostMaterial {
    /// Makes material of CAs and, if we have one, our own chain and key, without revocation lists. Set
    /// [`revocation_lists`](Self::revocation_lists) to add some.
    pub fn new(trust_bundle: TrustBundle, credentials: Option<Credentials>) -> Self {
        Self { trust_bundle, credentials, revocation_lists: RevocationLists::none() }
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

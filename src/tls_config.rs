//! The configuration of one end of the connection.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::config_parts::{ConfigParts, EndConfig};
use crate::identity::RequiredIdentity;
use crate::material::{Material, MaterialError, MaterialWarning, TlsFiles};
use crate::policy::TlsPolicy;
use crate::role::Role;

/// The configuration of one end of the connection: CAs, chain and key, the identity that the peer must have, and the
/// TLS policy. It is cheap to clone.
///
/// A [`TyphaAcceptor`](crate::TyphaAcceptor) and a [`FelixConnector`](crate::FelixConnector) are built from one. A
/// [`TlsConfigSource`](crate::reload::TlsConfigSource) returns the next one. It takes effect as a whole: no peer is
/// verified with the CAs of one configuration and the required identity of another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsConfig {
    /// CAs, chain, key and revocation lists.
    pub material: Arc<Material>,
    /// The identity that the peer must have.
    pub required_peer: RequiredIdentity,
    /// TLS versions, cipher suites, key-exchange groups and the cryptography behind them.
    pub policy: TlsPolicy,
}

impl TlsConfig {
    /// A configuration of material, the identity that the peer must have, and a policy.
    pub fn new(
        material: impl Into<Arc<Material>>,
        required_peer: RequiredIdentity,
        policy: TlsPolicy,
    ) -> Self {
        Self { material: material.into(), required_peer, policy }
    }

    /// Reads the files of one end.
    ///
    /// ```no_run
    /// use typha_tls::material::TlsFiles;
    /// use typha_tls::policy::TlsPolicy;
    /// use typha_tls::{RequiredIdentity, TlsConfig, TyphaAcceptor};
    ///
    /// let files = TlsFiles::new("ca.pem", "typha.pem", "typha.key");
    /// let required_felix = RequiredIdentity::common_name("typha-client")?;
    /// let config = TlsConfig::from_files(&files, required_felix, TlsPolicy::builder().build()?)?;
    /// let acceptor = TyphaAcceptor::new(config);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MaterialError`], with the file and what is wrong in it.
    pub fn from_files(
        files: &TlsFiles,
        required_peer: RequiredIdentity,
        policy: TlsPolicy,
    ) -> Result<Self, MaterialError> {
        Ok(Self::new(files.load(policy.provider())?, required_peer, policy))
    }

    /// Whether an end with `self` accepts the same peers as one with `other` and presents the same chain.
    ///
    /// A [`TlsConfigSource`](crate::reload::TlsConfigSource) can use it to ignore a configuration that has not changed.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.parts().is_same_as(other.parts())
    }

    /// Reports everything in this configuration that is usable but probably not intended. `local` is the role of this
    /// end. The warnings are about:
    ///
    /// - reasons why every peer would refuse us at the time `now`
    /// - certificates and lists that are out of date, or soon will be
    /// - private keys that others can access
    /// - the required identity, if it is doubtful
    pub fn warnings(&self, local: Role, now: UnixTime) -> Vec<MaterialWarning> {
        self.parts().warnings(local, now)
    }
}

impl EndConfig for TlsConfig {
    fn parts(&self) -> ConfigParts<'_> {
        let Material { trust_bundle, credentials, revocation_lists } = &*self.material;
        ConfigParts {
            trust_bundle,
            credentials: Some(credentials),
            revocation_lists,
            required_peer: Some(&self.required_peer),
            policy: &self.policy,
        }
    }
}

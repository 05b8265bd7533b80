//! The configuration of the client's end of a connection to a server that is verified for its host.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::config_parts::{ConfigParts, EndConfig};
use crate::material::{HostMaterial, HostTlsFiles, MaterialError, MaterialWarning};
use crate::policy::TlsPolicy;
use crate::role::Role;

/// The configuration of a [`HostConnector`](super::HostConnector): CAs, our chain and key if we have them, and the TLS
/// policy. It is cheap to clone. It does not contain the host of the server: each call to connect names that host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostTlsConfig {
    /// CAs, chain, key and revocation lists.
    pub material: Arc<HostMaterial>,
    /// TLS versions, cipher suites, key-exchange groups, application protocols and the cryptography behind them.
    pub policy: TlsPolicy,
}

impl HostTlsConfig {
    /// A configuration of material and a policy.
    pub fn new(material: impl Into<Arc<HostMaterial>>, policy: TlsPolicy) -> Self {
        Self { material: material.into(), policy }
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`MaterialError`], with the file and what is wrong in it.
    pub fn from_files(files: &HostTlsFiles, policy: TlsPolicy) -> Result<Self, MaterialError> {
        Ok(Self::new(files.load(policy.provider())?, policy))
    }

    /// Whether an end with `self` accepts the same servers as one with `other` and presents the same chain.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.parts().is_same_as(other.parts())
    }

    /// Reports everything in this configuration that is usable but probably not intended, as
    /// [`TlsConfig::warnings`](crate::TlsConfig::warnings) does.
    pub fn warnings(&self, now: UnixTime) -> Vec<MaterialWarning> {
        self.parts().warnings(Role::Client, now)
    }
}

impl EndConfig for HostTlsConfig {
    fn parts(&self) -> ConfigParts<'_> {
        let HostMaterial { trust_bundle, credentials, revocation_lists } = &*self.material;
        ConfigParts {
            trust_bundle,
            credentials: credentials.as_ref(),
            revocation_lists,
            required_peer: None,
            policy: &self.policy,
        }
    }
}

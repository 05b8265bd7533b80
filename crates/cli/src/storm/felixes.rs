//! The two Felixes of a storm: one that Typha must accept, and one that it must refuse.

use std::error::Error;

use rustls::crypto::CryptoProvider;
use typha_tls::config::FelixConfig;
use typha_tls::material::{Credentials, Material};
use typha_tls::testing::{CertificateSpec, PkiError, Purpose, TestCa};
use typha_tls::{FelixConnector, TlsConfig};

use super::plan::Plan;

pub(super) struct Felixes {
    pub(super) good: FelixConnector,
    /// The good Felix again if the storm has no bad ones.
    pub(super) bad: FelixConnector,
}

impl Felixes {
    pub(super) fn new(felix: &FelixConfig, plan: &Plan) -> Result<Self, Box<dyn Error>> {
        let Some(tls) = &felix.tls else {
            return Err("TLS is not configured: set the five TLS parameters (see --help)".into());
        };
        let mut config = tls.load()?;
        let connector =
            |config: &TlsConfig| FelixConnector::new(config.clone()).with_handshake_timeout(plan.timeout);
        let good = connector(&config);
        if !plan.has_bad() {
            return Ok(Self { bad: good.clone(), good });
        }
        let provider = tls.policy.provider();
        let mut material = Material::clone(&config.material);
        material.credentials = match (&plan.bad_cert_file, &plan.bad_key_file) {
            (Some(chain), Some(key)) => Credentials::from_files(chain, key, provider)?,
            _ => of_another_ca(&material.credentials, provider)?,
        };
        config.material = material.into();
        Ok(Self { good, bad: connector(&config) })
    }
}

/// A leaf that is correct except for its CA.
fn of_another_ca(good: &Credentials, provider: &CryptoProvider) -> Result<Credentials, PkiError> {
    let ca = TestCa::new(CertificateSpec::ca("typha-tls storm: a CA that nobody trusts"))?;
    let mut leaf = CertificateSpec::unnamed().purpose(Purpose::ClientAuth);
    if let Some(common_name) = good.identity().common_name() {
        leaf = leaf.common_name(common_name);
    }
    for uri in good.identity().uri_sans() {
        leaf = leaf.uri_san(uri);
    }
    ca.issue(leaf)?.credentials(provider)
}

//! Material that never changes, so that an input means the same on every run. `examples/generate.rs` makes it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::identity::RequiredIdentity;
use typha_tls::material::{Credentials, Material, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{FELIX_COMMON_NAME, FELIX_SPIFFE_ID, TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID};

pub const CA: &[u8] = include_bytes!("../fixtures/ca.pem");
pub const FELIX: &[u8] = include_bytes!("../fixtures/felix.pem");
pub const FELIX_KEY: &[u8] = include_bytes!("../fixtures/felix.key");
pub const REVOCATION_LIST: &[u8] = include_bytes!("../fixtures/revocation-list.pem");
pub const SIGNER: &[u8] = include_bytes!("../fixtures/signer.pem");
pub const SIGNER_KEY: &[u8] = include_bytes!("../fixtures/signer.key");
pub const STRANGER: &[u8] = include_bytes!("../fixtures/stranger.pem");
pub const STRANGER_KEY: &[u8] = include_bytes!("../fixtures/stranger.key");
pub const TYPHA: &[u8] = include_bytes!("../fixtures/typha.pem");
pub const TYPHA_KEY: &[u8] = include_bytes!("../fixtures/typha.key");
pub const UNTRUSTED: &[u8] = include_bytes!("../fixtures/untrusted.pem");
pub const UNTRUSTED_KEY: &[u8] = include_bytes!("../fixtures/untrusted.key");

/// 2026-01-01, within the validity of everything but what is meant to be outside of its own.
pub const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));

/// All certificates among the fixtures: leaves, then the intermediate, then the CAs.
pub static CERTIFICATES: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
    let mut certificates: Vec<CertificateDer<'static>> = Vec::new();
    for file in [FELIX, TYPHA, STRANGER, UNTRUSTED, CA, SIGNER] {
        for block in pem::parse_many(file).expect("the fixtures are PEM") {
            let certificate = block.into_contents().into();
            if !certificates.contains(&certificate) {
                certificates.push(certificate);
            }
        }
    }
    certificates
});

pub static POLICY: LazyLock<TlsPolicy> =
    LazyLock::new(|| TlsPolicy::builder().build().expect("the defaults can be built"));

/// The policy of a peer that speaks TLS 1.2 only.
pub static TLS12: LazyLock<TlsPolicy> = LazyLock::new(|| {
    let mut provider = CryptoProvider::clone(POLICY.provider());
    provider.cipher_suites.retain(|suite| suite.tls13().is_none());
    TlsPolicy::builder().provider(Arc::new(provider)).build().expect("TLS 1.2 is supported")
});

/// The CA of the peers, and the signer of the certificates that targets make.
pub fn trust_bundle() -> TrustBundle {
    TrustBundle::from_pem(&[CA, SIGNER].concat()).expect("the fixtures are usable")
}

pub fn material(chain: &[u8], key: &[u8]) -> Material {
    let credentials = Credentials::from_pem(chain, key, POLICY.provider()).expect("the fixtures are usable");
    Material::new(trust_bundle(), credentials)
}

pub fn required_felix() -> RequiredIdentity {
    RequiredIdentity::either(FELIX_COMMON_NAME, FELIX_SPIFFE_ID).expect("it requires something")
}

pub fn required_typha() -> RequiredIdentity {
    RequiredIdentity::either(TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID).expect("it requires something")
}

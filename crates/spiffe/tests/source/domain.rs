//! A trust domain: a CA, and the SVIDs it issues.

use std::collections::HashMap;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use typha_tls::TlsConfig;
use typha_tls::error::WithCauses;
use typha_tls::reload::TlsConfigSource as _;
use typha_tls::testing::{CertificateSpec, TestCa, TestLeaf};
use typha_tls_spiffe::{SpiffeError, SpiffeSource};

use crate::agent::SOON;
use crate::messages::{X509Svid, X509SvidResponse};

pub(crate) const FELIX: &str = "spiffe://td.example/felix";
pub(crate) const TYPHA: &str = "spiffe://td.example/typha";

pub(crate) struct Domain {
    name: String,
    pub(crate) ca: TestCa,
}

/// An SVID as its trust domain issued it.
pub(crate) struct Issued {
    pub(crate) leaf: TestLeaf,
    pub(crate) message: X509Svid,
}

impl Domain {
    /// Its CA has this Common Name.
    pub(crate) fn new(name: &str, ca: &str) -> Self {
        let ca = TestCa::new(CertificateSpec::ca(ca).uri_san(&format!("spiffe://{name}"))).unwrap();
        Self { name: name.to_owned(), ca }
    }

    /// `td.example`, with a CA of this Common Name.
    pub(crate) fn example(ca: &str) -> Self {
        Self::new("td.example", ca)
    }

    /// An SVID of the SPIFFE ID `id`, with the bundle of this domain.
    pub(crate) fn svid(&self, id: &str) -> Issued {
        self.issue(id, CertificateSpec::unnamed().uri_san(id))
    }

    /// The same from a leaf of another shape.
    pub(crate) fn issue(&self, id: &str, spec: CertificateSpec) -> Issued {
        // Basic constraints: no CA. SPIRE always writes them, and the client insists.
        let leaf = self.ca.issue(spec.extension(&[2, 5, 29, 19], true, &[0x30, 0x00])).unwrap();
        let message = X509Svid {
            spiffe_id: id.to_owned(),
            x509_svid: leaf.chain().concat(),
            x509_svid_key: leaf.key().secret_der().to_vec(),
            bundle: self.bundle(),
            hint: String::new(),
        };
        Issued { leaf, message }
    }

    pub(crate) fn bundle(&self) -> Vec<u8> {
        self.ca.root().to_vec()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

trait Concat {
    fn concat(&self) -> Vec<u8>;
}

impl Concat for [CertificateDer<'_>] {
    fn concat(&self) -> Vec<u8> {
        self.iter().flat_map(|certificate| certificate.iter().copied()).collect()
    }
}

impl Issued {
    pub(crate) fn hinted(mut self, hint: &str) -> Self {
        self.message.hint = hint.to_owned();
        self
    }

    /// As the only SVID, together with the bundle of another trust domain.
    pub(crate) fn federated_with(&self, others: &[&Domain]) -> X509SvidResponse {
        let bundle = |other: &&Domain| (format!("spiffe://{}", other.name()), other.bundle());
        X509SvidResponse { federated_bundles: others.iter().map(bundle).collect(), ..self.into() }
    }
}

impl From<&Issued> for X509SvidResponse {
    fn from(issued: &Issued) -> Self {
        issued.message.clone().into()
    }
}

impl From<X509Svid> for X509SvidResponse {
    fn from(svid: X509Svid) -> Self {
        Self { svids: vec![svid], federated_bundles: HashMap::new() }
    }
}

/// Asserts that the source gives this SVID, with a bundle of CAs of these names.
#[track_caller]
pub(crate) fn assert_gives(config: &TlsConfig, issued: &Issued, cas: &[&str]) {
    assert_eq!(config.material.credentials.chain(), issued.leaf.chain());
    let subjects: Vec<_> = config.material.trust_bundle.subjects().collect();
    let expected: Vec<_> = cas.iter().map(|ca| format!("CN={ca:?}")).collect();
    assert_eq!(subjects, expected);
    // None is needed, and none was installed on the way.
    assert!(CryptoProvider::get_default().is_none());
}

/// Waits for a change, and loads.
pub(crate) async fn changed(source: &SpiffeSource) -> TlsConfig {
    until_changed(source).await;
    source.load().await.unwrap()
}

pub(crate) async fn until_changed(source: &SpiffeSource) {
    tokio::time::timeout(SOON, source.changed()).await.unwrap();
}

/// Waits until what is wrong with the agent is so.
pub(crate) async fn until(source: &SpiffeSource, is_so: impl Fn(Option<SpiffeError>) -> bool) {
    let wait = async {
        while !is_so(source.problem()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap();
}

/// The error of `load` with its causes.
pub(crate) async fn load_error(source: &SpiffeSource) -> String {
    WithCauses(&source.load().await.unwrap_err()).to_string()
}

//! Revocation: who is refused by which list and under which policy, and how both ends and the command say so.

mod handshakes;
mod lookups;
mod policies;

use rustls::crypto::CryptoProvider;
use typha_tls::RequiredIdentity;
use typha_tls::material::{RevocationLists, RevocationPolicy, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, TestCa, TestLeaf};
use typha_tls::verifier::PeerVerifier;

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn ca(name: &str) -> TestCa {
    TestCa::new(CertificateSpec::ca(name)).unwrap()
}

fn peer(ca: &TestCa) -> TestLeaf {
    ca.issue(CertificateSpec::leaf("peer")).unwrap()
}

fn bundle(cas: &[&TestCa]) -> TrustBundle {
    TrustBundle::from_der(cas.iter().map(|ca| ca.root().clone())).unwrap()
}

/// The lists in this PEM text; none if it is empty.
fn lists(text: &str, bundle: &TrustBundle, policy: RevocationPolicy) -> RevocationLists {
    let lists = match text {
        "" => RevocationLists::none(),
        text => RevocationLists::from_pem(text.as_bytes(), bundle, &provider()).unwrap(),
    };
    lists.with_policy(policy)
}

fn verifier(text: &str, bundle: &TrustBundle, policy: RevocationPolicy) -> PeerVerifier {
    let required = RequiredIdentity::common_name("peer").unwrap();
    let tls = TlsPolicy::builder().build().unwrap();
    PeerVerifier::new(bundle.clone(), lists(text, bundle, policy), required, &tls)
}

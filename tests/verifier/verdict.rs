//! One verdict, however it is come by.

use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::Role;
use typha_tls::identity::{MatchedBy, PeerIdentity, RequiredIdentity};
use typha_tls::material::RevocationLists;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa};
use typha_tls::verifier::{PeerVerifier, Rejection, VerifiedChain};

/// Judges a chain without a cache, with one that does not know it and with one that may; all must say the same.
pub(crate) fn verdict(
    verifier: &PeerVerifier,
    chain: &[CertificateDer<'_>],
    role: Role,
    now: UnixTime,
) -> Result<VerifiedChain, Rejection> {
    let uncached = verifier.clone().with_chain_cache_capacity(0);
    let verdict = uncached.verify(chain, role, now);
    let first = verifier.verify(chain, role, now);
    let again = verifier.verify(chain, role, now);
    assert_eq!(said(&verdict), said(&first), "unknown chain");
    assert_eq!(said(&verdict), said(&again), "known chain");
    verdict
}

/// All but until when the path holds: of several paths, another one may be known than the first that is found.
fn said(
    verdict: &Result<VerifiedChain, Rejection>,
) -> Result<(&PeerIdentity, MatchedBy, Option<&str>, Role, UnixTime), &Rejection> {
    verdict.as_ref().map(|peer| {
        (peer.identity(), peer.matched_by(), peer.matched_uri_san(), peer.role(), peer.not_after())
    })
}

#[test]
fn an_accepted_peer_with_many_names_has_a_short_text() {
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let leaf = CertificateSpec::leaf(&"\u{1}".repeat(10_000)).purpose(Purpose::ClientAuth);
    let leaf = (0..300).fold(leaf, |leaf, number| leaf.uri_san(&format!("urn:{number:0100}")));
    let leaf = ca.issue(leaf.uri_san("urn:required").serial_number(&[7; 10_000])).unwrap();
    let required = RequiredIdentity::uri_san("urn:required").unwrap();
    let bundle = ca.trust_bundle().unwrap();
    let policy = TlsPolicy::builder().build().unwrap();
    let verifier = PeerVerifier::new(bundle, RevocationLists::none(), required, &policy);
    let peer = verdict(&verifier, leaf.chain(), Role::Felix, UnixTime::now()).unwrap();
    assert_eq!((peer.matched_by(), peer.matched_uri_san()), (MatchedBy::UriSan, Some("urn:required")));
    for text in [peer.to_string(), format!("{:?}", peer.identity()), format!("{peer:?}")] {
        assert!(text.contains("298 more") && text.len() < 1500, "{} bytes: {text}", text.len());
    }
}

//! A leaf that is itself in the CA file is accepted as itself, as in Go.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, UnixTime, alg_id};
use typha_tls::identity::RequiredIdentity;
use typha_tls::material::{Material, RevocationLists, RevocationPolicy, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, KeyType, Purpose, TestCa, TestLeaf};
use typha_tls::verifier::{PeerVerifier, Rejection, VerifiedChain};
use typha_tls::{Role, TlsConfig, TyphaAcceptor};
use x509_parser::prelude::FromDer as _;

use crate::chain_cache::TrustsAnyone;
use crate::verdict::verdict;

fn leaf() -> CertificateSpec {
    CertificateSpec::leaf("typha-client").purpose(Purpose::ClientAuth)
}

fn bundle(entries: &[&CertificateDer<'static>]) -> TrustBundle {
    TrustBundle::from_der(entries.iter().map(|&entry| entry.clone())).unwrap()
}

fn judge_with(
    bundle: TrustBundle,
    lists: RevocationLists,
    chain: &[CertificateDer<'_>],
) -> Result<VerifiedChain, Rejection> {
    let required = RequiredIdentity::common_name("typha-client").unwrap();
    let verifier = PeerVerifier::new(bundle, lists, required, &TlsPolicy::builder().build().unwrap());
    verdict(&verifier, chain, Role::Felix, UnixTime::now())
}

fn judge(
    entries: &[&CertificateDer<'static>],
    chain: &[CertificateDer<'_>],
) -> Result<VerifiedChain, Rejection> {
    judge_with(bundle(entries), RevocationLists::none(), chain)
}

#[track_caller]
fn assert_refused(outcome: Result<VerifiedChain, Rejection>, label: &str) {
    assert_eq!(outcome.unwrap_err().label(), label);
}

#[test]
fn whoever_issued_it_and_whether_or_not_it_is_marked_as_a_ca() {
    let (ca, other) =
        (TestCa::new(CertificateSpec::ca("ca")).unwrap(), TestCa::new(CertificateSpec::ca("o")).unwrap());
    let intermediate = other.intermediate(CertificateSpec::ca("i")).unwrap();
    let as_ca = || CertificateSpec::ca("typha-client").purpose(Purpose::ClientAuth);
    for pin in [
        TestLeaf::self_signed(leaf()).unwrap(),
        TestLeaf::self_signed(as_ca()).unwrap(),
        other.issue(leaf()).unwrap(),
        other.issue(as_ca()).unwrap(),
        intermediate.issue(leaf()).unwrap(),
    ] {
        // Alone, with a CA, and whatever it sends with it.
        for entries in [&[&pin.chain()[0]][..], &[ca.root(), &pin.chain()[0]], &[&pin.chain()[0], ca.root()]]
        {
            for sent in [&pin.chain()[..1], pin.chain(), &[pin.chain()[0].clone(), ca.root().clone()]] {
                let accepted = judge(entries, sent).unwrap();
                assert!(accepted.ca().starts_with("CN=\"typha-client\" ("), "{}", accepted.ca());
            }
        }
        // Not in the bundle, none of them is accepted.
        judge(&[ca.root()], pin.chain()).unwrap_err();
    }
}

#[test]
fn its_twin_with_the_same_name_and_key_is_not_the_same_certificate() {
    let other = TestCa::new(CertificateSpec::ca("other")).unwrap();
    let (pin, twin) = (other.issue(leaf()).unwrap(), other.issue(leaf()).unwrap());
    assert_refused(judge(&[&pin.chain()[0]], twin.chain()), "unknown_ca");
    let altered = |at: usize| {
        let mut der = pin.chain()[0].to_vec();
        der[at] ^= 1;
        CertificateDer::from(der)
    };
    let last = pin.chain()[0].len() - 1;
    judge(&[&pin.chain()[0]], &[altered(last)]).unwrap_err();
}

#[test]
fn it_issues_nothing_unless_it_is_a_ca() {
    let root = TestCa::new(CertificateSpec::ca("root")).unwrap();
    let no_ca = TestCa::new(CertificateSpec::ca("no-ca").without_ca_flag()).unwrap();
    let below = no_ca.issue(leaf()).unwrap();
    assert_refused(judge(&[root.root(), no_ca.root()], below.chain()), "ca_unusable");
}

#[test]
fn validity_role_key_and_names_still_count() {
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let other = TestCa::new(CertificateSpec::ca("other")).unwrap();
    for (spec, label) in [
        (leaf().valid(now - 9 * hour, now - hour), "expired"),
        (leaf().valid(now + hour, now + 9 * hour), "not_yet_valid"),
        (CertificateSpec::leaf("typha-client").purpose(Purpose::ServerAuth), "wrong_key_usage"),
        (CertificateSpec::leaf("typha-server").purpose(Purpose::ClientAuth), "identity_mismatch"),
        (leaf().uri_san("not a uri"), "malformed_certificate"),
        (leaf().extension(&[1, 3, 6, 1, 4, 1, 99999, 1], true, &[5, 0]), "unhandled_critical_extension"),
    ] {
        for pin in [other.issue(spec.clone()).unwrap(), TestLeaf::self_signed(spec.clone()).unwrap()] {
            assert_refused(judge(&[&pin.chain()[0]], pin.chain()), label);
        }
    }
}

#[test]
fn the_list_of_its_issuer_counts() {
    let (ca, of_same_name) =
        (TestCa::new(CertificateSpec::ca("ca")).unwrap(), TestCa::new(CertificateSpec::ca("ca")).unwrap());
    let policy = TlsPolicy::builder().build().unwrap();
    let (good, revoked) =
        (ca.issue(leaf().serial_number(&[1])).unwrap(), ca.issue(leaf().serial_number(&[2])).unwrap());
    let foreign = of_same_name.issue(leaf().serial_number(&[2])).unwrap();
    let unknown = TestCa::new(CertificateSpec::ca("unknown")).unwrap().issue(leaf()).unwrap();
    let alone = TestLeaf::self_signed(leaf()).unwrap();
    let entries = [
        ca.root(),
        &good.chain()[0],
        &revoked.chain()[0],
        &foreign.chain()[0],
        &unknown.chain()[0],
        &alone.chain()[0],
    ];
    let list = ca.revocation_list(&[&revoked], SystemTime::now() + Duration::from_secs(3600)).unwrap();
    let lists = RevocationLists::from_der([list], &bundle(&entries), policy.provider()).unwrap();
    for strict in [false, true] {
        let policy = if strict { RevocationPolicy::strict() } else { RevocationPolicy::default() };
        let judge =
            |leaf: &TestLeaf| judge_with(bundle(&entries), lists.clone().with_policy(policy), leaf.chain());
        judge(&good).unwrap();
        judge(&alone).unwrap();
        assert_refused(judge(&revoked), "revoked");
        // The key decides, not the name of the issuer.
        for without_list in [&foreign, &unknown] {
            match strict {
                true => assert_refused(judge(without_list), "revocation_status_unknown"),
                false => drop(judge(without_list).unwrap()),
            }
        }
    }
}

/// Nobody escapes a revocation by a signature that can not be verified.
#[test]
fn it_is_revoked_whatever_its_signature_is() {
    let ca = TestCa::new(CertificateSpec::ca("ca").key_type(KeyType::Ed25519)).unwrap();
    let issue = |serial: u8| ca.issue(leaf().serial_number(&[serial])).unwrap();
    let (good, revoked) = (issue(1), issue(2));
    let entries = [ca.root(), &good.chain()[0], &revoked.chain()[0]];
    let list = ca.revocation_list(&[&revoked], SystemTime::now() + Duration::from_secs(3600)).unwrap();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let lists = RevocationLists::from_der([list], &bundle(&entries), &provider).unwrap();
    let all = provider.signature_verification_algorithms.all.iter().copied();
    let others: Vec<_> = all.filter(|known| known.signature_alg_id() != alg_id::ED25519).collect();
    provider.signature_verification_algorithms.all = others.leak();
    let policy = TlsPolicy::builder().provider(Arc::new(provider)).build().unwrap();
    let required = RequiredIdentity::common_name("typha-client").unwrap();
    let verifier = PeerVerifier::new(bundle(&entries), lists, required, &policy);
    let judge = |leaf: &TestLeaf| verdict(&verifier, leaf.chain(), Role::Felix, UnixTime::now());
    judge(&good).unwrap();
    assert_refused(judge(&revoked), "revoked");
}

/// Go's client sends only a certificate whose issuer is among the names that the server sends.
#[tokio::test]
async fn the_name_of_its_issuer_is_sent() {
    #[derive(Debug, Default)]
    struct Hints(Mutex<Vec<Vec<u8>>>);
    impl ResolvesClientCert for Hints {
        fn resolve(&self, names: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            *self.0.lock().unwrap() = names.iter().map(|name| name.to_vec()).collect();
            None
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    let (ca, other) =
        (TestCa::new(CertificateSpec::ca("ca")).unwrap(), TestCa::new(CertificateSpec::ca("other")).unwrap());
    let pin = other.issue(leaf()).unwrap();
    let policy = TlsPolicy::builder().build().unwrap();
    let server = ca.issue(CertificateSpec::leaf("typha").purpose(Purpose::ServerAuth)).unwrap();
    let material =
        Material::new(bundle(&[ca.root(), &pin.chain()[0]]), server.credentials(policy.provider()).unwrap());
    let required = RequiredIdentity::common_name("typha-client").unwrap();
    let acceptor = TyphaAcceptor::new(TlsConfig::new(material, required, policy.clone()));
    let hints = Arc::new(Hints::default());
    let client = rustls::ClientConfig::builder_with_provider(policy.provider().clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAnyone(policy.provider().clone())))
        .with_client_cert_resolver(hints.clone());
    let (typha, felix) = tokio::io::duplex(64 * 1024);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let (typha, _) =
        tokio::join!(acceptor.accept(typha), connector.connect("typha".try_into().unwrap(), felix));
    assert_eq!(typha.unwrap_err().label(), "no_certificate");
    let names = hints.0.lock().unwrap().clone();
    let parsed: Vec<_> =
        names.iter().map(|name| x509_parser::x509::X509Name::from_der(name).unwrap().1.to_string()).collect();
    assert_eq!(parsed, ["CN=ca", "CN=typha-client", "CN=other"]);
}

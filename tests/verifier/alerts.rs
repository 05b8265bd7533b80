//! Each cause of a refusal as both ends of a real handshake see it: the typed reason on one end, the alert on the
//! other.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::AlertDescription;
use typha_tls::error::HandshakeError;
use typha_tls::identity::RequiredIdentity;
use typha_tls::material::{Material, RevocationLists, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, HandshakeResult, Purpose, TestCa, TestLeaf, TestPki, handshake};
use typha_tls::{FelixConnector, Role, TlsConfig, TyphaAcceptor};

/// A peer to be refused: its leaf, what the other end trusts, the reason and the alert.
struct Case {
    leaf: TestLeaf,
    trusted: TestCa,
    lists: RevocationLists,
    reason: &'static str,
    alert: AlertDescription,
}

/// The cases of a peer in `role`, whose Common Name must be "good".
fn cases(role: Role) -> Vec<Case> {
    let (right, wrong) = match role {
        Role::Client | Role::Felix => (Purpose::ClientAuth, Purpose::ServerAuth),
        Role::Server | Role::Typha => (Purpose::ServerAuth, Purpose::ClientAuth),
    };
    let good = || CertificateSpec::leaf("good").purpose(right);
    let ca = || TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    let case = |spec: CertificateSpec, reason, alert| {
        let trusted = ca();
        let leaf = trusted.issue(spec).unwrap();
        Case { leaf, trusted, lists: RevocationLists::none(), reason, alert }
    };
    let foreign = |trusted: TestCa, issuer: TestCa, reason| Case {
        leaf: issuer.issue(good()).unwrap(),
        trusted,
        lists: RevocationLists::none(),
        reason,
        alert: AlertDescription::UnknownCA,
    };
    let revoked = {
        let trusted = ca();
        let leaf = trusted.issue(good()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let list = trusted.revocation_list(&[&leaf], now + hour).unwrap();
        let lists = RevocationLists::from_der([list], &trusted.trust_bundle().unwrap(), &provider).unwrap();
        Case { leaf, trusted, lists, reason: "revoked", alert: AlertDescription::CertificateRevoked }
    };
    vec![
        case(
            CertificateSpec::leaf("bad").purpose(right),
            "identity_mismatch",
            AlertDescription::AccessDenied,
        ),
        case(good().valid(now - 2 * hour, now - hour), "expired", AlertDescription::CertificateExpired),
        case(good().valid(now + hour, now + 2 * hour), "not_yet_valid", AlertDescription::CertificateExpired),
        case(
            CertificateSpec::leaf("good").purpose(wrong),
            "wrong_key_usage",
            AlertDescription::UnsupportedCertificate,
        ),
        case(
            good().extension(&[1, 3, 6, 1, 4, 1, 99_999, 1], true, &[5, 0]),
            "unhandled_critical_extension",
            AlertDescription::CertificateUnknown,
        ),
        foreign(ca(), ca(), "ca_key_mismatch"),
        foreign(ca(), TestCa::new(CertificateSpec::ca("other")).unwrap(), "unknown_ca"),
        revoked,
    ]
}

fn policies() -> [TlsPolicy; 2] {
    [true, false].map(|tls13| {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() == tls13);
        TlsPolicy::builder().provider(Arc::new(provider)).build().unwrap()
    })
}

fn material(
    trust_bundle: TrustBundle,
    leaf: &TestLeaf,
    lists: RevocationLists,
    policy: &TlsPolicy,
) -> Material {
    let credentials = leaf.credentials(policy.provider()).unwrap();
    let mut material = Material::new(trust_bundle, credentials);
    material.revocation_lists = lists;
    material
}

fn acceptor(material: &Material, required: &str, policy: &TlsPolicy) -> TyphaAcceptor {
    let required = RequiredIdentity::common_name(required).unwrap();
    TyphaAcceptor::new(TlsConfig::new(material.clone(), required, policy.clone()))
}

fn connector(material: &Material, required: &str, policy: &TlsPolicy) -> FelixConnector {
    let required = RequiredIdentity::common_name(required).unwrap();
    FelixConnector::new(TlsConfig::new(material.clone(), required, policy.clone()))
}

fn check(judge: HandshakeResult, judged: HandshakeResult, case: &Case) {
    match judge.unwrap_err() {
        HandshakeError::Rejected(rejection) => assert_eq!(rejection.label(), case.reason, "{rejection}"),
        other => panic!("{}: {other}", case.reason),
    }
    match judged.unwrap_err() {
        HandshakeError::RefusedByPeer { alert } => assert_eq!(alert, case.alert, "{}", case.reason),
        other => panic!("{}: {other}", case.reason),
    }
}

#[tokio::test]
async fn typha_refuses_felix() {
    let pki = TestPki::new().unwrap();
    for policy in policies() {
        for case in cases(Role::Felix) {
            let bundle = case.trusted.trust_bundle().unwrap();
            let typha = material(bundle, &pki.typha, case.lists.clone(), &policy);
            let felix =
                material(pki.ca.trust_bundle().unwrap(), &case.leaf, RevocationLists::none(), &policy);
            let (typha, felix) =
                handshake(&acceptor(&typha, "good", &policy), &connector(&felix, "typha-server", &policy))
                    .await;
            check(typha, felix, &case);
        }
    }
}

#[tokio::test]
async fn felix_refuses_typha() {
    let pki = TestPki::new().unwrap();
    for policy in policies() {
        for case in cases(Role::Typha) {
            let bundle = case.trusted.trust_bundle().unwrap();
            let felix = material(bundle, &pki.felix, case.lists.clone(), &policy);
            let typha =
                material(pki.ca.trust_bundle().unwrap(), &case.leaf, RevocationLists::none(), &policy);
            let (typha, felix) =
                handshake(&acceptor(&typha, "typha-client", &policy), &connector(&felix, "good", &policy))
                    .await;
            check(felix, typha, &case);
        }
    }
}

/// That our copy of the CA has expired is no fault of the peer's certificate, and no reason to renew it.
#[tokio::test]
async fn an_expired_ca_is_an_unknown_one_to_the_peer() {
    let pki = TestPki::new().unwrap();
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    let expired = TestCa::new(CertificateSpec::ca("ca").valid(now - 2 * hour, now - hour)).unwrap();
    let leaf = expired.issue(CertificateSpec::leaf("good")).unwrap();
    for policy in policies() {
        let none = RevocationLists::none;
        let typha = material(expired.trust_bundle().unwrap(), &pki.typha, none(), &policy);
        let felix = material(pki.ca.trust_bundle().unwrap(), &leaf, none(), &policy);
        let (typha, felix) =
            handshake(&acceptor(&typha, "good", &policy), &connector(&felix, "typha-server", &policy)).await;
        assert_eq!(typha.unwrap_err().label(), "expired");
        assert_eq!(felix.unwrap_err().alert(), Some(AlertDescription::UnknownCA));
    }
}

/// TLS has no room for the names of so many CAs, which a server hints to its clients.
#[tokio::test]
async fn a_bundle_too_large_to_be_hinted() {
    let pki = TestPki::new().unwrap();
    let name = "n".repeat(60);
    let many =
        (0..700).map(|i| TestCa::new(CertificateSpec::ca(&format!("{name}{i}"))).unwrap().root().clone());
    let bundle = TrustBundle::from_der(many.chain([pki.ca.root().clone()])).unwrap();
    for policy in policies() {
        let none = RevocationLists::none;
        let typha = material(bundle.clone(), &pki.typha, none(), &policy);
        let felix = material(pki.ca.trust_bundle().unwrap(), &pki.felix, none(), &policy);
        let (typha, felix) = handshake(
            &acceptor(&typha, "typha-client", &policy),
            &connector(&felix, "typha-server", &policy),
        )
        .await;
        typha.unwrap();
        felix.unwrap();
    }
}

#[tokio::test]
async fn nothing_in_common() {
    let pki = TestPki::new().unwrap();
    let [tls13, tls12] = policies();
    let none = RevocationLists::none;
    let typha = material(pki.ca.trust_bundle().unwrap(), &pki.typha, none(), &tls13);
    let felix = material(pki.ca.trust_bundle().unwrap(), &pki.felix, none(), &tls12);
    let (typha, felix) =
        handshake(&acceptor(&typha, "typha-client", &tls13), &connector(&felix, "typha-server", &tls12))
            .await;
    match typha.unwrap_err() {
        HandshakeError::Tls(rustls::Error::PeerIncompatible(_)) => {}
        other => panic!("{other}"),
    }
    assert_eq!(felix.unwrap_err().alert(), Some(AlertDescription::ProtocolVersion));
}

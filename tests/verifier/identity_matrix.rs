//! Calico's own test of its identity rule, as a matrix: certificates {of CA 1, of CA 2, of an untrusted CA} × Common
//! Name {none, good, bad} × URI SAN {none, good, bad} against bundles {CA 1, CA 2, both} × required Common Name
//! {unset, set} × required URI SAN {unset, set}, less what can not be built: the empty bundle, and no requirement.

use std::sync::Arc;

use crate::verdict::verdict;
use rustls::AlertDescription;
use rustls_pki_types::UnixTime;
use typha_tls::error::HandshakeError;
use typha_tls::identity::{MatchedBy, RequiredIdentity};
use typha_tls::material::{Material, MaterialError, RevocationLists, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, HandshakeResult, Purpose, TestCa, TestLeaf, TestPki, handshake};
use typha_tls::verifier::{PeerVerifier, Rejection};
use typha_tls::{FelixConnector, Role, TlsConfig, TyphaAcceptor};

const COMMON_NAME: &str = "typha-client";
const URI_SAN: &str = "spiffe://cluster.local/good";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Name {
    None,
    Good,
    Bad,
}

const NAMES: [Name; 3] = [Name::None, Name::Good, Name::Bad];

/// A row of the matrix: one certificate.
struct Presented {
    /// Which of the CAs 0, 1 (trusted by some bundle) and 2 (by none) issued it.
    ca: usize,
    common_name: Name,
    uri_san: Name,
    leaf: TestLeaf,
}

/// A column of the matrix: one configuration.
struct Configured {
    trusted: &'static [usize],
    common_name: bool,
    uri_san: bool,
    bundle: TrustBundle,
    required: RequiredIdentity,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Accepted(MatchedBy),
    IdentityMismatch,
    UnknownCa,
}

fn expected(presented: &Presented, configured: &Configured) -> Expected {
    let common_name = configured.common_name && presented.common_name == Name::Good;
    let uri_san = configured.uri_san && presented.uri_san == Name::Good;
    match (configured.trusted.contains(&presented.ca), common_name, uri_san) {
        (false, _, _) => Expected::UnknownCa,
        (true, true, true) => Expected::Accepted(MatchedBy::Both),
        (true, true, false) => Expected::Accepted(MatchedBy::CommonName),
        (true, false, true) => Expected::Accepted(MatchedBy::UriSan),
        (true, false, false) => Expected::IdentityMismatch,
    }
}

fn cas() -> [TestCa; 3] {
    ["CA 1", "CA 2", "untrusted CA"].map(|name| TestCa::new(CertificateSpec::ca(name)).unwrap())
}

fn presented(cas: &[TestCa; 3], purpose: Purpose) -> Vec<Presented> {
    let mut rows = Vec::new();
    for (ca, issuer) in cas.iter().enumerate() {
        for common_name in NAMES {
            for uri_san in NAMES {
                let spec = CertificateSpec::unnamed().purpose(purpose);
                let spec = match common_name {
                    Name::None => spec,
                    Name::Good => spec.common_name(COMMON_NAME),
                    Name::Bad => spec.common_name("bad"),
                };
                let spec = match uri_san {
                    Name::None => spec,
                    Name::Good => spec.uri_san("spiffe://cluster.local/other").uri_san(URI_SAN),
                    Name::Bad => spec.uri_san("spiffe://cluster.local/bad"),
                };
                rows.push(Presented { ca, common_name, uri_san, leaf: issuer.issue(spec).unwrap() });
            }
        }
    }
    assert_eq!(rows.len(), 27);
    rows
}

fn configured(cas: &[TestCa; 3]) -> Vec<Configured> {
    let mut columns = Vec::new();
    for trusted in [&[0][..], &[1], &[0, 1]] {
        for (common_name, uri_san) in [(true, false), (false, true), (true, true)] {
            let bundle = TrustBundle::from_der(trusted.iter().map(|&ca| cas[ca].root().clone())).unwrap();
            let required =
                RequiredIdentity::new(common_name.then_some(COMMON_NAME), uri_san.then_some(URI_SAN))
                    .unwrap();
            columns.push(Configured { trusted, common_name, uri_san, bundle, required });
        }
    }
    columns
}

#[test]
fn what_the_matrix_leaves_out_can_not_be_built() {
    assert!(matches!(TrustBundle::from_der([]), Err(MaterialError::NoCertificate { .. })));
    RequiredIdentity::new(None, None).unwrap_err();
}

#[test]
fn at_the_verifier() {
    let policy = TlsPolicy::builder().build().unwrap();
    for (role, purpose) in [(Role::Felix, Purpose::ClientAuth), (Role::Typha, Purpose::ServerAuth)] {
        let cas = cas();
        let rows = presented(&cas, purpose);
        for column in configured(&cas) {
            let verifier = PeerVerifier::new(
                column.bundle.clone(),
                RevocationLists::none(),
                column.required.clone(),
                &policy,
            );
            for row in &rows {
                let outcome = match verdict(&verifier, row.leaf.chain(), role, UnixTime::now()) {
                    Ok(peer) => {
                        assert_eq!(peer.role(), role);
                        Expected::Accepted(peer.matched_by())
                    }
                    Err(rejection) => refusal(&rejection),
                };
                assert_eq!(outcome, expected(row, &column), "{}", describe(row, &column));
            }
        }
    }
}

#[tokio::test]
async fn typha_judges_felix_in_tls_1_3() {
    typha_judges_felix(&policy("1.3")).await;
}

#[tokio::test]
async fn typha_judges_felix_in_tls_1_2() {
    typha_judges_felix(&policy("1.2")).await;
}

#[tokio::test]
async fn felix_judges_typha_in_tls_1_3() {
    felix_judges_typha(&policy("1.3")).await;
}

#[tokio::test]
async fn felix_judges_typha_in_tls_1_2() {
    felix_judges_typha(&policy("1.2")).await;
}

async fn typha_judges_felix(policy: &TlsPolicy) {
    let pki = TestPki::new().unwrap();
    let cas = cas();
    let rows = presented(&cas, Purpose::ClientAuth);
    let typha_required = RequiredIdentity::common_name(typha_tls::testing::TYPHA_COMMON_NAME).unwrap();
    for column in configured(&cas) {
        let material = material(column.bundle.clone(), &pki.typha, policy);
        let acceptor = TyphaAcceptor::new(TlsConfig::new(material, column.required.clone(), policy.clone()));
        for row in &rows {
            let material = material_of(&pki.ca, &row.leaf, policy);
            let connector =
                FelixConnector::new(TlsConfig::new(material, typha_required.clone(), policy.clone()));
            let (typha, felix) = handshake(&acceptor, &connector).await;
            check(typha, felix, row, &column);
        }
    }
}

async fn felix_judges_typha(policy: &TlsPolicy) {
    let pki = TestPki::new().unwrap();
    let cas = cas();
    let rows = presented(&cas, Purpose::ServerAuth);
    let felix_required = RequiredIdentity::common_name(typha_tls::testing::FELIX_COMMON_NAME).unwrap();
    for column in configured(&cas) {
        let material = material(column.bundle.clone(), &pki.felix, policy);
        let connector =
            FelixConnector::new(TlsConfig::new(material, column.required.clone(), policy.clone()));
        for row in &rows {
            let material = material_of(&pki.ca, &row.leaf, policy);
            let acceptor =
                TyphaAcceptor::new(TlsConfig::new(material, felix_required.clone(), policy.clone()));
            let (typha, felix) = handshake(&acceptor, &connector).await;
            check(felix, typha, row, &column);
        }
    }
}

/// `judge` is the end under test, `judged` the one that presents the certificate.
fn check(judge: HandshakeResult, judged: HandshakeResult, row: &Presented, column: &Configured) {
    let outcome = match judge {
        Ok(stream) => Expected::Accepted(stream.peer().matched_by()),
        Err(HandshakeError::Rejected(rejection)) => refusal(&rejection),
        Err(other) => panic!("{other}: {}", describe(row, column)),
    };
    let expected = expected(row, column);
    assert_eq!(outcome, expected, "{}", describe(row, column));
    let alert = match judged {
        Ok(_) => None,
        Err(HandshakeError::RefusedByPeer { alert }) => Some(alert),
        Err(other) => panic!("{other}: {}", describe(row, column)),
    };
    let expected_alert = match expected {
        Expected::Accepted(_) => None,
        Expected::IdentityMismatch => Some(AlertDescription::AccessDenied),
        Expected::UnknownCa => Some(AlertDescription::UnknownCA),
    };
    assert_eq!(alert, expected_alert, "{}", describe(row, column));
}

fn refusal(rejection: &Rejection) -> Expected {
    match rejection {
        Rejection::IdentityMismatch(_) => Expected::IdentityMismatch,
        Rejection::UnknownCa { .. } => Expected::UnknownCa,
        other => panic!("{other}"),
    }
}

fn describe(row: &Presented, column: &Configured) -> String {
    format!(
        "a certificate of CA {} with CN {:?} and URI SAN {:?}, against CAs {:?} and {}",
        row.ca, row.common_name, row.uri_san, column.trusted, column.required
    )
}

fn policy(version: &str) -> TlsPolicy {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some() == (version == "1.3"));
    TlsPolicy::builder().provider(Arc::new(provider)).build().unwrap()
}

fn material(trust_bundle: TrustBundle, leaf: &TestLeaf, policy: &TlsPolicy) -> Material {
    let credentials = leaf.credentials(policy.provider()).unwrap();
    Material::new(trust_bundle, credentials)
}

fn material_of(ca: &TestCa, leaf: &TestLeaf, policy: &TlsPolicy) -> Material {
    material(ca.trust_bundle().unwrap(), leaf, policy)
}

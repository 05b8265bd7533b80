//! What both ends of a handshake see.

use rustls::AlertDescription;
use typha_tls::error::HandshakeError;
use typha_tls::material::Material;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{HandshakeResult, TestPki, handshake};
use typha_tls::{FelixConnector, TlsConfig, TyphaAcceptor};

use super::*;
use crate::lists::{List, list_pem};
use crate::material::secret::Log;

const CA: &str = "calico-typha-ca";

fn material(pki: &TestPki, leaf: &TestLeaf, lists: RevocationLists) -> Material {
    let trust_bundle = pki.ca.trust_bundle().unwrap();
    let mut material = Material::new(trust_bundle, leaf.credentials(&provider()).unwrap());
    material.revocation_lists = lists;
    material
}

fn refused(judge: HandshakeResult, judged: HandshakeResult) -> (&'static str, AlertDescription) {
    let reason = match judge.unwrap_err() {
        HandshakeError::Rejected(rejection) => rejection.label(),
        other => panic!("{other}"),
    };
    match judged.unwrap_err() {
        HandshakeError::RefusedByPeer { alert } => (reason, alert),
        other => panic!("{other}"),
    }
}

/// What the owner of a daemon is told when it starts.
#[test]
fn an_acceptor_logs_the_warnings() {
    let pki = TestPki::new().unwrap();
    let bundle = pki.ca.trust_bundle().unwrap();
    let list = list_pem(&List::expired().signed_by(&pki.ca, CA));
    let policy = TlsPolicy::builder().build().unwrap();
    for (text, revocation, label) in [
        (&*list, RevocationPolicy::default(), Some("revocation_list_expired")),
        ("", RevocationPolicy::strict(), Some("no_revocation_list")),
        ("", RevocationPolicy::default(), None),
    ] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let material = material(&pki, &pki.typha, lists(text, &bundle, revocation));
        crate::subscribers::let_all_be_asked();
        tracing::subscriber::with_default(subscriber, || {
            let required = RequiredIdentity::common_name("x").unwrap();
            TyphaAcceptor::new(TlsConfig::new(material, required, policy.clone()))
        });
        let text = log.text();
        let expected = label.map(|label| format!("finding=\"{label}\""));
        assert!(expected.map_or(text.is_empty(), |expected| text.contains(&expected)), "{label:?}: {text}");
    }
}

#[tokio::test]
async fn each_end_refuses_and_the_other_is_told() {
    let pki = TestPki::new().unwrap();
    let bundle = pki.ca.trust_bundle().unwrap();
    let policy = TlsPolicy::builder().build().unwrap();
    let strict = RevocationPolicy::strict();
    let default = RevocationPolicy::default();
    let list = |list: List| list_pem(&list.signed_by(&pki.ca, CA));
    let both = List::new().revoking(&pki.felix.chain()[0]).revoking(&pki.typha.chain()[0]);
    for (text, revocation, reason, alert) in [
        (list(both), default, "revoked", AlertDescription::CertificateRevoked),
        (list(List::expired()), strict, "revocation_list_unusable", AlertDescription::CertificateUnknown),
        (String::new(), strict, "revocation_status_unknown", AlertDescription::CertificateUnknown),
    ] {
        let lists = lists(&text, &bundle, revocation);
        let required = RequiredIdentity::common_name("typha-client").unwrap();
        let typha = material(&pki, &pki.typha, lists.clone());
        let typha = TyphaAcceptor::new(TlsConfig::new(typha, required, policy.clone()));
        let (typha, felix) = handshake(&typha, &pki.connector().unwrap()).await;
        assert_eq!(refused(typha, felix), (reason, alert), "Typha refuses");

        let required = RequiredIdentity::common_name("typha-server").unwrap();
        let felix = material(&pki, &pki.felix, lists);
        let felix = FelixConnector::new(TlsConfig::new(felix, required, policy.clone()));
        let (typha, felix) = handshake(&pki.acceptor().unwrap(), &felix).await;
        assert_eq!(refused(felix, typha), (reason, alert), "Felix refuses");
    }
}

//! Revocation lists and CA certificates that end the trust in connected peers.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use typha_tls::lifetime::LostTrust;
use typha_tls::lifetime::{ClosePolicy, ConnectionLifetime};
use typha_tls::material::{RevocationLists, RevocationPolicy, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{self, FELIX_COMMON_NAME, TestPki};
use typha_tls::{RequiredIdentity, TlsConfig, TyphaAcceptor, TyphaListener};

use crate::lists::{List, list_pem, renewed};

const CA: &str = "calico-typha-ca";

/// The rules by which Typha judges Felix.
struct Rules<'a> {
    cas: &'a [&'a CertificateDer<'static>],
    lists: String,
    policy: RevocationPolicy,
}

impl Rules<'_> {
    fn config(&self, pki: &TestPki) -> TlsConfig {
        let policy = TlsPolicy::builder().build().unwrap();
        let mut material = testing::material(&pki.ca, &pki.typha, policy.provider()).unwrap();
        let bundle = TrustBundle::from_der(self.cas.iter().map(|&ca| ca.clone())).unwrap();
        if !self.lists.is_empty() {
            material.revocation_lists =
                RevocationLists::from_pem(self.lists.as_bytes(), &bundle, policy.provider())
                    .unwrap()
                    .with_policy(self.policy);
        }
        material.trust_bundle = bundle;
        TlsConfig::new(material, RequiredIdentity::common_name(FELIX_COMMON_NAME).unwrap(), policy)
    }
}

fn rules<'a>(cas: &'a [&'a CertificateDer<'static>], lists: &str) -> Rules<'a> {
    Rules { cas, lists: lists.to_owned(), policy: RevocationPolicy::default() }
}

/// The loss that is reported for a Felix that connected under the first rules when the second come into force.
async fn lost(pki: &TestPki, before: &Rules<'_>, after: &Rules<'_>) -> LostTrust {
    let acceptor = TyphaAcceptor::new(before.config(pki));
    let (sender, mut lost) = mpsc::unbounded_channel();
    let mut lifetime = ConnectionLifetime::default();
    lifetime.on_lost_trust = ClosePolicy::CloseWithin(Duration::ZERO);
    let mut listener = TyphaListener::builder(acceptor.clone())
        .lifetime(lifetime)
        .on_lost_trust(move |loss| sender.send(loss).unwrap())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let felix = pki.connector().unwrap();
    let tcp = TcpStream::connect(listener.local_addr()).await.unwrap();
    let (typha, stream) = tokio::join!(listener.accept(), felix.connect_tcp(tcp));
    let _connected = (typha.unwrap(), stream.unwrap());
    acceptor.replace(after.config(pki));
    timeout(Duration::from_secs(60), lost.recv()).await.expect("it takes too long").unwrap()
}

#[tokio::test]
async fn who_is_revoked_is_closed_whatever_of_its_ca_has_expired() {
    let pki = TestPki::new().unwrap();
    let (ca, expired) = (pki.ca.root(), renewed(&pki.ca, CA, -2, -1));
    let list = list_pem(&List::new().revoking(&pki.felix.chain()[0]).signed_by(&pki.ca, CA));
    for cas in [[&expired, ca], [ca, &expired]] {
        let told = lost(&pki, &rules(&cas, ""), &rules(&cas, &list)).await;
        assert_eq!((told.rejection.label(), told.closes), ("revoked", true));
    }
}

/// It had expired before the Felix connected, and did not matter then. So the loss is not a matter of time.
#[tokio::test]
async fn who_is_left_with_what_had_expired_before_is_closed() {
    let pki = TestPki::new().unwrap();
    let (ca, expired) = (pki.ca.root(), renewed(&pki.ca, CA, -2, -1));
    let told = lost(&pki, &rules(&[&expired, ca], ""), &rules(&[&expired], "")).await;
    assert_eq!((told.rejection.label(), told.closes), ("expired", true));

    let list = list_pem(&List::expired().signed_by(&pki.ca, CA));
    let cas = [ca];
    let warning = rules(&cas, &list);
    let mut refusing = rules(&cas, &list);
    refusing.policy.refuse_expired = true;
    let told = lost(&pki, &warning, &refusing).await;
    assert_eq!((told.rejection.label(), told.closes), ("revocation_list_unusable", true));
}

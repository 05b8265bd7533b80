//! A Felix that was forgotten when the old CA goes.

use typha_tls::Role;
use typha_tls::testing::TestCa;

use super::names::{By, ca, issue};
use super::problems::ca_key_mismatch;
use super::site::{Site, at_once, replaced};

/// All but the last Felix have new leaves; then the old CA goes on Typha. Returns what Typha and the log say of the
/// last Felix.
async fn forget_one(old: &TestCa, new: &TestCa) -> (Site, String, Vec<String>) {
    let mut site = Site::start_with(old, 1, 3, &at_once()).await;
    site.cas(&[new, old]).await;
    site.new_typha_leaf(0, issue(new, Role::Typha, By::Name)).await;
    for index in 0..2 {
        site.new_felix_leaf(index, issue(new, Role::Felix, By::Name)).await;
    }
    site.remake(2).await;
    site.nothing_happened();

    site.typhas[0].files.cas(&[new]);
    replaced(site.typhas[0].reload().await);
    let refusal = site.felixes[2].links[0].trouble().await;
    let warnings = site.log.warnings();
    (site, refusal, warnings)
}

/// It is the only one that anything happens to, and a new leaf is all that it needs.
async fn mend(mut site: Site, new: &TestCa, reason: &str, expected: &str) {
    let lost = site.typhas[0].lost();
    assert_eq!(lost, [("CN \"typha-client\", no URI SAN".to_owned(), expected.to_owned(), true)]);
    assert_eq!(site.typhas[0].failed().await, [expected]);
    let stats = site.typhas[0].stats();
    assert_eq!((stats.lost_trust[reason], stats.dropped["lost_trust"]), (1, 1));
    assert_eq!(stats.refused.keys().collect::<Vec<_>>(), [&reason]);
    for felix in &site.felixes[..2] {
        assert_eq!(felix.links[0].ask().await.nth, 2);
    }
    site.new_felix_leaf(2, issue(new, Role::Felix, By::Name)).await;
    assert_eq!(site.felixes[2].links[0].ask().await.nth, 3);
    site.all_can_connect().await;
}

const REFUSAL: &str = "could not connect to any Typha: TYPHA: the peer refused us: unknown_ca (the peer does not \
trust the CA of our certificate. If an intermediate CA issued it, append that CA's certificate to our certificate \
file. Otherwise our certificate may be of another cluster, or the CA file of the peer may lack our CA: run typha-tls \
check on our end, and see the peer's log. Never add a CA that you did not make)";

#[tokio::test]
async fn a_forgotten_felix_is_named_ended_and_told_why() {
    let (old, new) = (ca("old-ca"), ca("new-ca"));
    let (site, refusal, warnings) = forget_one(&old, &new).await;
    let problem = "the certificate of CN=\"typha-client\" is issued by CN=\"old-ca\", which is not in the CA file; \
    if that is an intermediate CA, append its certificate to the certificate file of the peer; otherwise add it to \
    the CA file, if it is a CA of this cluster";
    assert_eq!(refusal, REFUSAL);
    let warning = format!(
        "WARN live connections are no longer trusted: they are closed at once; if this is not intended, restore what \
         was trusted before generation=4 connections=1 reason=unknown_ca example={problem}"
    );
    assert_eq!(warnings, [warning]);
    mend(site, &new, "unknown_ca", problem).await;
}

#[tokio::test]
async fn so_it_is_where_the_cas_have_the_same_name() {
    let (old, new) = (ca("calico-typha-ca"), ca("calico-typha-ca"));
    let (site, refusal, _) = forget_one(&old, &new).await;
    assert_eq!(refusal, REFUSAL);
    let problem = ca_key_mismatch("typha-client", &old, &new);
    mend(site, &new, "ca_key_mismatch", &problem).await;
}

//! To another CA: nobody is lost, nobody is refused, at any step.

use typha_tls::Role;
use typha_tls::testing::TestCa;

use super::names::{By, ca, issue};
use super::site::{Site, at_once, replaced};

/// The steps of `docs/operation.md`. All is tried after each change of each end.
pub(crate) async fn migrate(old: &TestCa, new: &TestCa, both: &[&TestCa]) {
    let mut site = Site::start(old, 2, 2).await;
    site.all_can_connect().await;

    // 1. Every end trusts both.
    for index in 0..2 {
        site.typhas[index].files.cas(both);
        replaced(site.typhas[index].reload().await);
        still_works(&site, 1).await;
    }
    for index in 0..2 {
        site.felixes[index].files.cas(both);
        replaced(site.felixes[index].reload().await);
        still_works(&site, 1).await;
    }
    // 2. and 3. New leaves for all.
    for index in 0..2 {
        site.new_typha_leaf(index, issue(new, Role::Typha, By::Name)).await;
        still_works(&site, 1).await;
    }
    for index in 0..2 {
        site.new_felix_leaf(index, issue(new, Role::Felix, By::Name)).await;
        still_works(&site, 1).await;
    }
    // 4. Connections live on by the leaves that they began with, until they are made again.
    site.remake(2).await;
    // 5. Nobody trusts the old CA, and nobody needs it.
    for index in 0..2 {
        site.typhas[index].files.cas(&[new]);
        replaced(site.typhas[index].reload().await);
        still_works(&site, 2).await;
    }
    for index in 0..2 {
        site.felixes[index].files.cas(&[new]);
        replaced(site.felixes[index].reload().await);
        still_works(&site, 2).await;
    }
    for typha in &site.typhas {
        assert_eq!(typha.stats().dropped.keys().collect::<Vec<_>>(), [&"requested"]);
    }
}

async fn still_works(site: &Site, nth: u32) {
    site.are_all(nth).await;
    site.all_can_connect().await;
    site.nothing_happened();
}

#[tokio::test]
async fn nobody_is_lost_on_the_way_to_another_ca() {
    let (old, new) = (ca("old-ca"), ca("new-ca"));
    migrate(&old, &new, &[&old, &new]).await;
}

#[tokio::test]
async fn each_step_is_seen_in_the_log() {
    let (old, new) = (ca("old-ca"), ca("new-ca"));
    let mut site = Site::start(&old, 1, 1).await;
    assert_eq!(site.log.take(), [""; 0]);
    site.cas(&[&old, &new]).await;
    assert_eq!(site.log.changes(), ["CA added: CN=\"new-ca\""; 2]);
    site.new_typha_leaf(0, issue(&new, Role::Typha, By::Name)).await;
    site.new_felix_leaf(0, issue(&new, Role::Felix, By::Name)).await;
    let renewed = site.log.changes();
    assert_eq!(renewed.len(), 2);
    for (line, name) in std::iter::zip(renewed, ["typha-server", "typha-client"]) {
        let expected = format!("own certificate renewed: CN \"{name}\", no URI SAN, valid until 2");
        assert!(line.starts_with(&expected), "{line}");
    }
    site.remake(2).await;
    assert_eq!(site.log.take(), [""; 0]);
    site.cas(&[&new]).await;
    assert_eq!(site.log.changes(), ["CA removed: CN=\"old-ca\""; 2]);
    let certificates = &site.typhas[0].reloader.state().borrow().certificates.clone();
    let subjects: Vec<_> = certificates.iter().map(|known| &*known.subject).collect();
    assert_eq!(subjects, ["CN=\"typha-server\"", "CN=\"new-ca\""]);
}

/// Who does not make the connections again before: they are ended by those who trust the old CA no longer, and come
/// back by the new one.
#[tokio::test]
async fn connections_of_before_come_back_by_the_new_ca() {
    let (old, new) = (ca("old-ca"), ca("new-ca"));
    let mut site = Site::start_with(&old, 1, 3, &at_once()).await;
    site.cas(&[&old, &new]).await;
    site.new_typha_leaf(0, issue(&new, Role::Typha, By::Name)).await;
    for index in 0..3 {
        site.new_felix_leaf(index, issue(&new, Role::Felix, By::Name)).await;
    }
    site.log.take();
    let typha = &site.typhas[0];
    typha.files.cas(&[&new]);
    replaced(typha.reload().await);
    site.are_all(2).await;
    let stats = typha.stats();
    assert_eq!((stats.lost_trust["unknown_ca"], stats.dropped["lost_trust"]), (3, 3));
    assert_eq!(stats.not_accepted(), 0);
    // The Felixes have nothing left to end.
    for felix in &site.felixes {
        felix.files.cas(&[&new]);
        replaced(felix.reload().await);
    }
    site.are_all(2).await;
    site.all_can_connect().await;
}

//! From Common Names to SPIFFE IDs, by files and configuration.

use typha_tls::Role;
use typha_tls::identity::MatchedBy;
use typha_tls::testing::{FELIX_SPIFFE_ID, TYPHA_SPIFFE_ID};

use super::names::{By, ca, issue};
use super::site::{Site, at_once, replaced};

/// Has all ends require this of each other, one after the other.
async fn require(site: &Site, by: By) {
    for typha in &site.typhas {
        typha.files.require(by);
        replaced(typha.reload().await);
    }
    for felix in &site.felixes {
        felix.files.require(by);
        replaced(felix.reload().await);
    }
}

/// Makes all connections again. Returns by what they match: how many on Typha's end, and on Felix's.
async fn remake(site: &Site, nth: u32) -> ([u64; 3], Vec<MatchedBy>) {
    let before = site.typhas[0].matched();
    site.remake(nth).await;
    let after = site.typhas[0].matched();
    let mut on_felix = Vec::new();
    for felix in &site.felixes {
        on_felix.push(felix.links[0].ask().await.matched_by);
    }
    (std::array::from_fn(|by| after[by] - before[by]), on_felix)
}

#[tokio::test]
async fn the_counts_say_when_it_is_finished() {
    let ca = ca("calico-typha-ca");
    let mut site = Site::start(&ca, 1, 3).await;
    assert_eq!(site.typhas[0].matched(), [3, 0, 0]);

    // Either name will do. Nobody has the new one.
    require(&site, By::Both).await;
    let line =
        |name, uri| format!("required identity: from CN \"{name}\" to CN \"{name}\" or URI SAN \"{uri}\"");
    let [to_typha, to_felix] = [line("typha-client", FELIX_SPIFFE_ID), line("typha-server", TYPHA_SPIFFE_ID)];
    assert_eq!(site.log.changes(), [to_typha, to_felix.clone(), to_felix.clone(), to_felix]);
    assert_eq!(remake(&site, 2).await, ([3, 0, 0], vec![MatchedBy::CommonName; 3]));

    // Leaves with both names, one end after the other.
    site.new_typha_leaf(0, issue(&ca, Role::Typha, By::Both)).await;
    assert_eq!(remake(&site, 3).await, ([3, 0, 0], vec![MatchedBy::Both; 3]));
    for felix in 0..3_u32 {
        site.new_felix_leaf(felix as usize, issue(&ca, Role::Felix, By::Both)).await;
        let moved = u64::from(felix) + 1;
        assert_eq!(remake(&site, 4 + felix).await, ([3 - moved, moved, 0], vec![MatchedBy::Both; 3]));
    }

    // The SPIFFE ID alone is required; what has both names does.
    site.log.take();
    require(&site, By::Uri).await;
    let line = |name, uri| {
        format!("required identity: from CN \"{name}\" or URI SAN \"{uri}\" to URI SAN \"{uri}\"")
    };
    let [to_typha, to_felix] = [line("typha-client", FELIX_SPIFFE_ID), line("typha-server", TYPHA_SPIFFE_ID)];
    assert_eq!(site.log.changes(), [to_typha, to_felix.clone(), to_felix.clone(), to_felix]);
    assert_eq!(remake(&site, 7).await, ([0, 0, 3], vec![MatchedBy::UriSan; 3]));

    // Leaves without the old name.
    site.new_typha_leaf(0, issue(&ca, Role::Typha, By::Uri)).await;
    for felix in 0..3 {
        site.new_felix_leaf(felix, issue(&ca, Role::Felix, By::Uri)).await;
    }
    assert_eq!(remake(&site, 8).await, ([0, 0, 3], vec![MatchedBy::UriSan; 3]));
    site.all_can_connect().await;
    site.nothing_happened();
    assert_eq!(site.typhas[0].stats().dropped.keys().collect::<Vec<_>>(), [&"requested"]);
}

/// While both are required, leaves without the old name may come before the old name is given up.
#[tokio::test]
async fn the_old_name_may_go_first_from_the_leaves() {
    let ca = ca("calico-typha-ca");
    let mut site = Site::start(&ca, 1, 2).await;
    require(&site, By::Both).await;
    site.new_typha_leaf(0, issue(&ca, Role::Typha, By::Uri)).await;
    site.new_felix_leaf(0, issue(&ca, Role::Felix, By::Uri)).await;
    assert_eq!(remake(&site, 2).await, ([1, 0, 1], vec![MatchedBy::UriSan; 2]));
    site.new_felix_leaf(1, issue(&ca, Role::Felix, By::Uri)).await;
    assert_eq!(remake(&site, 3).await, ([0, 0, 2], vec![MatchedBy::UriSan; 2]));
    require(&site, By::Uri).await;
    site.are_all(3).await;
    site.all_can_connect().await;
    site.log.take();
    site.nothing_happened();
}

/// The count of `common_name` was not looked at.
#[tokio::test]
async fn a_felix_that_was_not_moved_is_told_what_it_lacks() {
    let ca = ca("calico-typha-ca");
    let mut site = Site::start_with(&ca, 1, 2, &at_once()).await;
    require(&site, By::Both).await;
    site.new_typha_leaf(0, issue(&ca, Role::Typha, By::Both)).await;
    site.new_felix_leaf(0, issue(&ca, Role::Felix, By::Both)).await;
    assert_eq!(remake(&site, 2).await.0, [1, 1, 0]);
    site.log.take();
    let typha = &site.typhas[0];
    typha.files.require(By::Uri);
    replaced(typha.reload().await);

    let problem = format!(
        "peer certificate does not have required URI SAN: required URI SAN \"{FELIX_SPIFFE_ID}\", but presented CN \
         \"typha-client\", no URI SAN"
    );
    let refusal = "could not connect to any Typha: TYPHA: the peer refused us: access_denied (our certificate is \
                   good, but has neither the Common Name nor the URI SAN that the peer requires)";
    assert_eq!(site.felixes[1].links[0].trouble().await, refusal);
    assert_eq!(typha.lost(), [("CN \"typha-client\", no URI SAN".to_owned(), problem.clone(), true)]);
    assert_eq!(typha.failed().await, [&*problem]);
    let warning = format!(
        "WARN live connections are no longer trusted: they are closed at once; if this is not intended, restore what \
         was trusted before generation=4 connections=1 reason=identity_mismatch example={problem}"
    );
    assert_eq!(site.log.warnings(), [warning]);
    // Put back, it is as it was.
    typha.files.require(By::Both);
    replaced(typha.reload().await);
    assert_eq!(site.felixes[1].links[0].is_nth(3).await.matched_by, MatchedBy::Both);
    assert_eq!(site.felixes[0].links[0].ask().await.nth, 2);
}

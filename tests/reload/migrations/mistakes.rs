//! What is done wrong is told on both ends, and putting back what was there heals it.

use std::time::Duration;

use typha_tls::Role;
use typha_tls::lifetime::ClosePolicy;
use typha_tls::reload::Reloaded;
use typha_tls::testing::TestCa;

use super::names::{By, ca, issue};
use super::problems::ca_key_mismatch;
use super::site::{Manner, Site, at_once, replaced};

const REFUSED: &str = "the peer refused us: unknown_ca (the peer does not trust the CA of our certificate. If an \
intermediate CA issued it, append that CA's certificate to our certificate file. Otherwise our certificate may be of \
another cluster, or the CA file of the peer may lack our CA: run typha-tls check on our end, and see the peer's log. \
Never add a CA that you did not make)";

fn unknown_ca(leaf: &str, ca: &str) -> String {
    format!(
        "the certificate of CN=\"{leaf}\" is issued by CN=\"{ca}\", which is not in the CA file; if that is an \
         intermediate CA, append its certificate to the certificate file of the peer; otherwise add it to the CA \
         file, if it is a CA of this cluster"
    )
}

fn undialled(why: &str) -> String {
    format!("could not connect to any Typha: TYPHA: {why}")
}

fn cas() -> (TestCa, TestCa) {
    (ca("old-ca"), ca("new-ca"))
}

/// By default: the first connection is closed at once, the others over a minute, so that they are there when it is put
/// back.
#[tokio::test]
async fn the_old_ca_is_removed_too_early_on_typha() {
    let (old, new) = cas();
    let site = Site::start(&old, 1, 4).await;
    let typha = &site.typhas[0];
    typha.files.cas(&[&new]);
    replaced(typha.reload().await);

    let problem = unknown_ca("typha-client", "old-ca");
    assert_eq!(typha.failed().await, [&*problem]);
    assert_eq!(typha.lost(), vec![("CN \"typha-client\", no URI SAN".to_owned(), problem.clone(), true); 4]);
    let warnings = [
        "WARN the CA file no longer holds CN=\"old-ca\", the issuer of our own certificate: peers with the same \
         CA file will refuse us; have a remaining CA issue our certificate, or put that CA back until then \
         generation=2"
            .to_owned(),
        format!(
            "WARN live connections are no longer trusted: they are closed within 60s; if this is not intended, \
             restore what was trusted before generation=2 connections=4 reason=unknown_ca example={problem}"
        ),
    ];
    assert_eq!(site.log.warnings(), warnings);
    let mut closed = Vec::new();
    for (index, felix) in site.felixes.iter().enumerate() {
        if !felix.links[0].is_connected() {
            closed.push(index);
        }
    }
    assert_eq!((closed.len(), typha.stats().dropped["lost_trust"]), (1, 1));
    assert_eq!(site.felixes[closed[0]].links[0].trouble().await, undialled(REFUSED));

    typha.files.cas(&[&old]);
    replaced(typha.reload().await);
    for (index, felix) in site.felixes.iter().enumerate() {
        let nth = if index == closed[0] { 2 } else { 1 };
        assert_eq!(felix.links[0].ask().await.nth, nth);
    }
    site.all_can_connect().await;
    assert_eq!(typha.stats().dropped["lost_trust"], 1);
    assert_eq!(site.log.warnings(), [""; 0]);
}

/// Its connections wait for a moment at random, so far away here that it does not come.
#[tokio::test]
async fn the_old_ca_is_removed_too_early_on_felix() {
    let (old, new) = cas();
    let year = Duration::from_secs(365 * 24 * 3600);
    let manner = Manner::on_request().closing(ClosePolicy::CloseWithin(year));
    let site = Site::start_with(&old, 2, 1, &manner).await;
    let felix = &site.felixes[0];
    felix.files.cas(&[&new]);
    replaced(felix.reload().await);

    let problem = unknown_ca("typha-server", "old-ca");
    for (link, typha) in std::iter::zip(&felix.links, &site.typhas) {
        let answer = link.ask().await;
        assert_eq!((answer.nth, answer.lost.as_ref()), (1, Some(&problem)));
        assert_eq!(link.new_connection().await, Err(undialled(&problem)));
        assert_eq!(typha.failed().await, [REFUSED]);
    }
    let lost = format!(
        "WARN live connections are no longer trusted: they are closed within {year:?}; if this is not intended, \
         restore what was trusted before generation=2 connections=1 reason=unknown_ca example={problem}"
    );
    let own = "WARN the CA file no longer holds CN=\"old-ca\", the issuer of our own certificate: peers with the same \
               CA file will refuse us; have a remaining CA issue our certificate, or put that CA back until then \
               generation=2";
    assert_eq!(site.log.warnings(), [own, &lost, &lost]);

    felix.files.cas(&[&old]);
    replaced(felix.reload().await);
    site.are_all(1).await;
    site.all_can_connect().await;
}

/// The same, with what would take a minute.
#[tokio::test]
async fn a_felix_that_has_left_its_typha_comes_back() {
    let (old, new) = cas();
    let site = Site::start_with(&old, 1, 1, &at_once()).await;
    let (typha, felix) = (&site.typhas[0], &site.felixes[0]);
    felix.files.cas(&[&new]);
    replaced(felix.reload().await);
    assert_eq!(felix.links[0].trouble().await, undialled(&unknown_ca("typha-server", "old-ca")));
    assert_eq!(typha.failed().await, [REFUSED]);
    felix.files.cas(&[&new, &old]);
    replaced(felix.reload().await);
    assert_eq!(felix.links[0].ask().await.nth, 2);
    // Typha has never lost it.
    assert!(typha.lost().is_empty() && typha.stats().dropped.is_empty());
}

/// Who is connected stays; nobody new is.
#[tokio::test]
async fn typhas_leaf_is_renewed_before_felix_has_its_ca() {
    let (old, new) = cas();
    let mut site = Site::start(&old, 1, 2).await;
    let before = issue(&old, Role::Typha, By::Name);
    site.new_typha_leaf(0, issue(&new, Role::Typha, By::Name)).await;
    assert_eq!(site.log.warnings(), [own_issuer_is("CN=\"new-ca\"", "ServerCertFile", 2)]);
    for felix in &site.felixes {
        let problem = undialled(&unknown_ca("typha-server", "new-ca"));
        assert_eq!(felix.links[0].new_connection().await, Err(problem));
    }
    assert_eq!(site.typhas[0].failed().await, [REFUSED]);
    site.are_all(1).await;

    site.new_typha_leaf(0, before).await;
    site.are_all(1).await;
    site.all_can_connect().await;
    assert_eq!(site.log.warnings(), [""; 0]);
}

/// The wrong order: the leaves of the Felixes before the bundles of the Typhas. The bundle heals it, too.
#[tokio::test]
async fn felixs_leaf_is_renewed_before_typha_has_its_ca() {
    let (old, new) = cas();
    let mut site = Site::start(&old, 1, 2).await;
    site.new_felix_leaf(1, issue(&new, Role::Felix, By::Name)).await;
    assert_eq!(site.log.warnings(), [own_issuer_is("CN=\"new-ca\"", "TyphaCertFile", 2)]);
    assert_eq!(site.felixes[1].links[0].new_connection().await, Err(undialled(REFUSED)));
    assert_eq!(site.typhas[0].failed().await, [unknown_ca("typha-client", "new-ca")]);
    assert!(site.felixes[0].links[0].new_connection().await.is_ok());
    site.are_all(1).await;

    site.typhas[0].files.cas(&[&old, &new]);
    replaced(site.typhas[0].reload().await);
    site.are_all(1).await;
    site.all_can_connect().await;
}

fn own_issuer_is(ca: &str, cert_file: &str, generation: u64) -> String {
    format!(
        "WARN our own certificate is now issued by {ca}, which the CA file does not hold: peers with the same CA file \
         will refuse us; if it is an intermediate CA, append its certificate to {cert_file}; otherwise add it to the \
         CA file of every end, or put the previous certificate back until then generation={generation}"
    )
}

/// Nothing of it comes into force, whichever file is wrong.
#[tokio::test]
async fn files_that_do_not_belong_together_change_nothing() {
    let (old, new) = cas();
    let site = Site::start(&old, 1, 1).await;
    let (typha, felix) = (&site.typhas[0], &site.felixes[0]);
    let renewed = issue(&old, Role::Typha, By::Name);
    let mismatch = "key.pem: the private key does not belong to the certificate in chain.pem";

    // The key alone, on Typha; the chain alone, on Felix.
    typha.files.key(&renewed);
    assert_eq!(typha.reload().await, Err(mismatch.to_owned()));
    felix.files.chain(&issue(&old, Role::Felix, By::Name));
    assert_eq!(felix.reload().await, Err(mismatch.to_owned()));
    // A chain in the wrong order, and a damaged CA file.
    let ca_pem = old.root_pem();
    typha.files.write("chain.pem", &format!("{ca_pem}{}", renewed.chain_pem()));
    let order = "chain.pem: the private key in key.pem belongs to certificate 2; the leaf must come first, then its \
                 issuer, and so on";
    assert_eq!(typha.reload().await, Err(order.to_owned()));
    typha.files.leaf(&site.typha_leaves[0]);
    typha.files.write("ca.pem", &new.root_pem().replace("-----END", "----END"));
    let damaged = typha.reload().await.unwrap_err();
    assert!(damaged.starts_with("ca.pem: "), "{damaged}");
    assert_eq!(site.log.warnings().len(), 4);

    let state = typha.reloader.state().borrow().clone();
    assert_eq!((state.generation, state.failures, state.last_error.is_some()), (1, 3, true));
    site.are_all(1).await;
    site.all_can_connect().await;
    assert_eq!(typha.stats().not_accepted(), 0);

    typha.files.cas(&[&old]);
    felix.files.leaf(&site.felix_leaves[0]);
    assert_eq!(typha.reload().await, Ok(Reloaded::Unchanged));
    assert_eq!(felix.reload().await, Ok(Reloaded::Unchanged));
    let state = typha.reloader.state().borrow().clone();
    assert_eq!((state.generation, state.failures, state.last_error.is_none()), (1, 3, true));
    assert_eq!(site.log.take(), ["INFO the source matches the active configuration again"; 2]);
    site.are_all(1).await;
}

/// The same name hides nothing.
#[tokio::test]
async fn a_ca_made_anew_under_its_name_is_told_from_the_old_one() {
    const NAME: &str = "calico-typha-ca";
    let (old, new) = (ca(NAME), ca(NAME));
    let mut site = Site::start(&old, 1, 1).await;
    let before = issue(&old, Role::Typha, By::Name);
    let other = "CN=\"calico-typha-ca\" (but one of that name with another key)";
    // The leaf before the bundles.
    site.new_typha_leaf(0, issue(&new, Role::Typha, By::Name)).await;
    assert_eq!(site.log.warnings(), [own_issuer_is(other, "ServerCertFile", 2)]);
    let problem = &*ca_key_mismatch("typha-server", &new, &old);
    assert_eq!(site.felixes[0].links[0].new_connection().await, Err(undialled(problem)));
    assert_eq!(site.typhas[0].failed().await, [REFUSED]);
    site.new_typha_leaf(0, before).await;
    site.all_can_connect().await;
    // The new CA in place of the old one, on Felix: it waits for its turn to leave, and the old one beside it heals
    // that.
    site.log.take();
    let felix = &site.felixes[0];
    felix.files.cas(&[&new]);
    replaced(felix.reload().await);
    let problem = &*ca_key_mismatch("typha-server", &old, &new);
    assert_eq!(felix.links[0].new_connection().await, Err(undialled(problem)));
    let gone = format!(
        "WARN the CA file no longer holds {other}, the issuer of our own certificate: peers with the same CA \
         file will refuse us; have a remaining CA issue our certificate, or put that CA back until then generation=2"
    );
    let lost = format!(
        "WARN live connections are no longer trusted: they are closed within 60s; if this is not intended, restore \
         what was trusted before generation=2 connections=1 reason=ca_key_mismatch example={problem}"
    );
    assert_eq!(site.log.warnings(), [gone, lost]);
    felix.files.cas(&[&new, &old]);
    replaced(felix.reload().await);
    site.all_can_connect().await;
}

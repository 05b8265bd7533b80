//! Nobody asks for a look: files are all that is changed.

use std::time::Duration;

use typha_tls::Role;
use typha_tls::reload::{ReloadState, Reloader};

use super::bounded;
use super::names::{By, ca, issue};
use super::site::{Manner, Site};

fn reloaders(site: &Site) -> impl Iterator<Item = &Reloader> {
    let typhas = site.typhas.iter().map(|typha| &typha.reloader);
    typhas.chain(site.felixes.iter().map(|felix| &felix.reloader))
}

async fn is(reloader: &Reloader, what: &str, wanted: impl Fn(&ReloadState) -> bool) {
    bounded(what, reloader.state().wait_for(wanted)).await.unwrap();
}

/// All ends have this generation in force.
async fn all_have(site: &Site, generation: u64) {
    for reloader in reloaders(site) {
        is(reloader, "a generation", |state| state.generation == generation).await;
        assert_eq!(reloader.state().borrow().failures, 0);
    }
}

/// As Kubernetes brings a secret: what belongs together comes at one moment, so that nothing has to settle.
#[tokio::test]
async fn what_is_swapped_as_a_whole_needs_no_time_to_settle() {
    let (old, new) = (ca("old-ca"), ca("new-ca"));
    let mut site = Site::start_with(&old, 2, 2, &Manner::automatic(Duration::ZERO)).await;
    let all = |site: &Site, cas: &[_]| {
        site.typhas.iter().for_each(|typha| typha.files.cas(cas));
        site.felixes.iter().for_each(|felix| felix.files.cas(cas));
    };
    all(&site, &[&old, &new]);
    all_have(&site, 2).await;
    for index in 0..2 {
        let leaves = [Role::Typha, Role::Felix].map(|role| issue(&new, role, By::Name));
        site.typhas[index].files.swap_leaf(&leaves[0]);
        site.felixes[index].files.swap_leaf(&leaves[1]);
        [site.typha_leaves[index], site.felix_leaves[index]] = leaves;
    }
    all_have(&site, 3).await;
    site.are_all(1).await;
    site.all_can_connect().await;
    site.remake(2).await;
    all(&site, &[&new]);
    all_have(&site, 4).await;
    site.are_all(2).await;
    site.all_can_connect().await;
    site.nothing_happened();
}

/// A key that is there before its chain is no mistake yet.
#[tokio::test]
async fn what_comes_file_by_file_settles() {
    let ca = ca("calico-typha-ca");
    let mut site = Site::start_with(&ca, 1, 1, &Manner::automatic(Duration::from_secs(1))).await;
    let typha = &site.typhas[0];
    let leaf = issue(&ca, Role::Typha, By::Name);
    // Between two looks: the next one finds the key alone.
    let looks = typha.reloader.state().borrow().looks;
    is(&typha.reloader, "a look", |state| state.looks > looks).await;
    typha.files.key(&leaf);
    let looks = typha.reloader.state().borrow().looks;
    is(&typha.reloader, "a look", |state| state.looks > looks).await;
    typha.files.chain(&leaf);
    is(&typha.reloader, "the renewed leaf", |state| state.generation == 2).await;
    let state = typha.reloader.state().borrow().clone();
    assert_eq!((state.failures, state.last_error.is_none()), (0, true));
    site.typha_leaves[0] = leaf;
    site.are_all(1).await;
    site.all_can_connect().await;
    site.nothing_happened();
}

//! What the agent rotates.

use futures_util::FutureExt as _;
use tempfile::tempdir;
use typha_tls::reload::TlsConfigSource as _;
use typha_tls::testing::handshake;
use typha_tls::{FelixConnector, TyphaAcceptor};
use typha_tls_spiffe::SpiffeSource;

use crate::agent::{Agent, Says, endpoint, source_in};
use crate::domain::{Domain, FELIX, TYPHA, assert_gives, changed, until, until_changed};
use crate::secret::Secret;

#[tokio::test]
async fn the_first_svid_and_its_bundle() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let typha = domain.svid(TYPHA);
    let agent = Agent::start(dir.path(), Says::Svids((&typha).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    let config = source.load().await.unwrap();
    assert_gives(&config, &typha, &["ca"]);
    assert_eq!(config.required_peer.required_uri_san(), Some(FELIX));
    assert_eq!(config.material.credentials.identity().uri_sans().collect::<Vec<_>>(), [TYPHA]);
    assert_eq!(source.description(), format!("SPIFFE Workload API at {}", endpoint(dir.path())));
    assert!(source.problem().is_none());
    assert_eq!(agent.asked(), 1);
}

#[tokio::test]
async fn the_key_is_in_no_debug_output() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let typha = domain.svid(TYPHA);
    let _agent = Agent::start(dir.path(), Says::Svids((&typha).into()));
    let builder = source_in(dir.path(), FELIX);
    let shown = format!("{builder:#?}");
    let source = builder.connect().await.unwrap();
    let shown = format!("{shown}{source:?}{source:#?}{:#?}", source.load().await.unwrap());
    Secret::of(&typha.leaf).assert_not_in(&shown);
}

/// Both ends, each with an agent of its own.
struct Ends {
    typha: SpiffeSource,
    acceptor: TyphaAcceptor,
    felix: SpiffeSource,
    connector: FelixConnector,
}

impl Ends {
    /// What each end sees: whether it has accepted the other, or why not.
    async fn meet(&self) -> [Result<(), &'static str>; 2] {
        let (typha, felix) = handshake(&self.acceptor, &self.connector).await;
        [typha, felix].map(|outcome| outcome.map(drop).map_err(|error| error.label()))
    }

    async fn renew_typha(&self) {
        let renewed = changed(&self.typha).await;
        self.acceptor.replace(renewed);
    }

    async fn renew_felix(&self) {
        let renewed = changed(&self.felix).await;
        self.connector.replace(renewed);
    }
}

#[tokio::test]
async fn a_new_svid_and_a_new_bundle_with_handshakes() {
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let [old, new] = ["old", "new"].map(Domain::example);
    let typhas_agent = Agent::start(dirs[0].path(), Says::Svids((&old.svid(TYPHA)).into()));
    let felixes_agent = Agent::start(dirs[1].path(), Says::Svids((&old.svid(FELIX)).into()));
    let typha = source_in(dirs[0].path(), FELIX).connect().await.unwrap();
    let felix = source_in(dirs[1].path(), TYPHA).connect().await.unwrap();
    let acceptor = TyphaAcceptor::new(typha.load().await.unwrap());
    let connector = FelixConnector::new(felix.load().await.unwrap());
    let ends = Ends { typha, acceptor, felix, connector };
    assert_eq!(ends.meet().await, [Ok(()), Ok(())]);

    let renewed = new.svid(TYPHA);
    typhas_agent.has(&renewed);
    ends.renew_typha().await;
    assert_gives(&ends.acceptor.config(), &renewed, &["new"]);
    assert_eq!(ends.meet().await, [Err("refused_by_peer"), Err("unknown_ca")]);

    felixes_agent.has(&new.svid(FELIX));
    ends.renew_felix().await;
    assert_eq!(ends.meet().await, [Ok(()), Ok(())]);
}

#[tokio::test]
async fn a_new_bundle_alone() {
    let (dir, [old, new]) = (tempdir().unwrap(), ["old", "new"].map(Domain::example));
    let typha = old.svid(TYPHA);
    let agent = Agent::start(dir.path(), Says::Svids((&typha).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    assert_gives(&source.load().await.unwrap(), &typha, &["old"]);
    let mut both = typha.message.clone();
    both.bundle.extend(new.bundle());
    agent.has(both);
    assert_gives(&changed(&source).await, &typha, &["old", "new"]);
}

#[tokio::test]
async fn the_same_again_is_no_change() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let [typha, renewed] = [TYPHA; 2].map(|id| domain.svid(id));
    let agent = Agent::start(dir.path(), Says::Svids((&typha).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    let loaded = source.load().await.unwrap();
    agent.says(Says::TheEnd);
    until(&source, |problem| problem.is_some()).await;
    agent.has(&typha);
    until(&source, |problem| problem.is_none()).await;
    assert!(source.changed().now_or_never().is_none());
    let again = source.load().await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&loaded.material, &again.material));
    agent.has(&renewed);
    assert_gives(&changed(&source).await, &renewed, &["ca"]);
}

#[tokio::test]
async fn a_change_is_not_lost_when_nobody_waits() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let [typha, renewed] = [TYPHA; 2].map(|id| domain.svid(id));
    let agent = Agent::start(dir.path(), Says::Svids((&typha).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    source.load().await.unwrap();
    assert!(source.changed().now_or_never().is_none());
    agent.has(&renewed);
    // It is there, and has been waited for by others.
    until_changed(&source).await;
    until_changed(&source).await;
    assert_gives(&source.load().await.unwrap(), &renewed, &["ca"]);
    assert!(source.changed().now_or_never().is_none());
}

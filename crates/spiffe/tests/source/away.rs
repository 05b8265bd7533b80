//! An agent that goes away and comes back, and a source that does.

use std::time::Duration;

use futures_util::FutureExt as _;
use tempfile::tempdir;
use tokio::time::timeout;
use typha_tls::error::WithCauses;
use typha_tls::reload::TlsConfigSource as _;
use typha_tls_spiffe::SpiffeError;

use crate::agent::{Agent, SOON, Says, source_in};
use crate::domain::{Domain, FELIX, TYPHA, assert_gives, changed, load_error, until, until_changed};

#[tokio::test]
async fn what_it_said_last_stays_until_it_is_back() {
    let (dir, [old, new]) = (tempdir().unwrap(), ["old", "new"].map(Domain::example));
    let typha = old.svid(TYPHA);
    let agent = Agent::start(dir.path(), Says::Svids((&typha).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    assert_gives(&source.load().await.unwrap(), &typha, &["old"]);

    agent.kill().await;
    // The socket is gone, too: it has tried again.
    until(&source, |problem| {
        problem.is_some_and(|problem| problem.to_string().contains("No such file or directory"))
    })
    .await;
    assert!(matches!(source.problem(), Some(SpiffeError::Disconnected { .. })));
    assert_gives(&source.load().await.unwrap(), &typha, &["old"]);
    assert!(source.changed().now_or_never().is_none());

    let renewed = new.svid(TYPHA);
    let _agent = Agent::start(dir.path(), Says::Svids((&renewed).into()));
    assert_gives(&changed(&source).await, &renewed, &["new"]);
    assert!(source.problem().is_none());
}

#[tokio::test]
async fn it_comes_back_with_the_same() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let typha = domain.svid(TYPHA);
    let agent = Agent::start(dir.path(), Says::Svids((&typha).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    source.load().await.unwrap();
    agent.kill().await;
    until(&source, |problem| problem.is_some()).await;
    let _agent = Agent::start(dir.path(), Says::Svids((&typha).into()));
    until(&source, |problem| problem.is_none()).await;
    assert!(source.changed().now_or_never().is_none());
    assert_gives(&source.load().await.unwrap(), &typha, &["ca"]);
}

#[tokio::test]
async fn errors_that_are_no_answer_change_nothing() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let typha = domain.svid(TYPHA);
    let agent = Agent::start(dir.path(), Says::Svids((&typha).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    source.load().await.unwrap();
    agent.says(Says::Status(tonic::Code::Unavailable, "shutting\ndown"));
    until(&source, |problem| problem.is_some()).await;
    let problem = source.problem().unwrap();
    assert_eq!(
        WithCauses(&problem).to_string(),
        "nothing comes from the SPIFFE agent: \"unavailable: shutting\\ndown\"; see that it runs and that the \
         directory of its socket is mounted here"
    );
    assert!(source.changed().now_or_never().is_none());
    assert_gives(&source.load().await.unwrap(), &typha, &["ca"]);
}

#[tokio::test]
async fn one_that_hangs_is_given_up() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let [typha, renewed] = [TYPHA; 2].map(|id| domain.svid(id));
    let agent = Agent::start(dir.path(), Says::Svids((&typha).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    source.load().await.unwrap();
    agent.kill().await;
    let agent = Agent::start(dir.path(), Says::Nothing);
    agent.until_asked(1).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(30)).await;
    tokio::time::resume();
    until(&source, |problem| matches!(problem, Some(SpiffeError::Silent { .. }))).await;
    assert_eq!(
        source.problem().unwrap().to_string(),
        "the SPIFFE agent takes connections and has not answered for 30s; see why it hangs"
    );
    assert_gives(&source.load().await.unwrap(), &typha, &["ca"]);
    // It is another stream that brings the next.
    agent.until_asked(2).await;
    agent.until_open(1).await;
    agent.has(&renewed);
    assert_gives(&changed(&source).await, &renewed, &["ca"]);
}

#[tokio::test]
async fn an_identity_that_is_taken_away_is_told() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let typha = domain.svid(TYPHA);
    let agent = Agent::start(dir.path(), Says::Svids((&typha).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    source.load().await.unwrap();
    agent.says(Says::Status(tonic::Code::PermissionDenied, "no identity issued"));
    until_changed(&source).await;
    assert_eq!(
        load_error(&source).await,
        "the SPIFFE agent has no identity for this process: \"no identity issued\"; see that the workload is \
         registered, and that its selectors match"
    );
    // Denied again and again, it is told once.
    agent.until_asked(agent.asked() + 2).await;
    assert!(source.changed().now_or_never().is_none());
    agent.has(&typha);
    assert_gives(&changed(&source).await, &typha, &["ca"]);
}

#[tokio::test]
async fn a_dropped_source_leaves_its_agent() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let agent = Agent::start(dir.path(), Says::Svids((&domain.svid(TYPHA)).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    agent.until_open(1).await;
    drop(source);
    agent.until_open(0).await;
    assert_eq!(agent.asked(), 1);
}

#[tokio::test]
async fn a_dropped_connect_leaves_its_agent() {
    let dir = tempdir().unwrap();
    let agent = Agent::start(dir.path(), Says::Nothing);
    let mut connect = Box::pin(source_in(dir.path(), FELIX).connect());
    tokio::select! {
        outcome = &mut connect => panic!("{outcome:?}"),
        () = agent.until_open(1) => {}
    }
    drop(connect);
    agent.until_open(0).await;
    assert_eq!(agent.asked(), 1);
}

#[test]
fn a_source_whose_runtime_has_ended_says_so() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let source = first.block_on(async {
        let _agent = Agent::start(dir.path(), Says::Svids((&domain.svid(TYPHA)).into()));
        timeout(SOON, source_in(dir.path(), FELIX).connect()).await.unwrap().unwrap()
    });
    drop(first);
    runtime().block_on(async {
        assert_eq!(
            load_error(&source).await,
            "nothing follows the SPIFFE agent any more, because the runtime of its connection has ended"
        );
        assert!(source.changed().now_or_never().is_none());
    });
}

//! The wait for the first SVID.

use std::error::Error as _;
use std::time::Duration;

use tempfile::tempdir;
use typha_tls::error::WithCauses;
use typha_tls::reload::TlsConfigSource as _;
use typha_tls_spiffe::SpiffeError;

use crate::agent::{Agent, Says, endpoint, source_in};
use crate::domain::{Domain, FELIX, TYPHA, assert_gives};
use crate::messages::X509SvidResponse;

/// Enough for a first attempt on a busy machine.
const A_WHILE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn an_agent_that_is_not_there_yet_and_does_not_know_us_yet() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let typha = domain.svid(TYPHA);
    let connect = tokio::spawn(source_in(dir.path(), FELIX).connect());
    // Another one gives up on what this one goes on with.
    let given_up = source_in(dir.path(), FELIX).connect_timeout(A_WHILE).connect().await.unwrap_err();
    assert!(given_up.source().unwrap().to_string().contains("No such file or directory"), "{given_up:?}");
    assert!(!connect.is_finished());

    let agent = Agent::start(dir.path(), Says::Status(tonic::Code::PermissionDenied, "no identity issued"));
    agent.until_asked(2).await;
    assert!(!connect.is_finished());

    agent.has(X509SvidResponse::default());
    agent.until_asked(3).await;
    assert!(!connect.is_finished());

    agent.has(&typha);
    let source = connect.await.unwrap().unwrap();
    assert_gives(&source.load().await.unwrap(), &typha, &["ca"]);
    assert!(source.problem().is_none());
}

/// What a source says that gives up on an agent that says this.
async fn given_up(says: Option<Says>) -> String {
    let dir = tempdir().unwrap();
    let _agent = says.map(|says| Agent::start(dir.path(), says));
    let builder = source_in(dir.path(), FELIX).connect_timeout(A_WHILE);
    let error = builder.connect().await.unwrap_err();
    assert!(matches!(&error, SpiffeError::TimedOut { after: A_WHILE, .. }), "{error:?}");
    let text = WithCauses(&error).to_string();
    let first = format!("no X.509-SVID from the SPIFFE agent at {} after 3s", endpoint(dir.path()));
    text.strip_prefix(&first).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[tokio::test]
async fn without_an_agent() {
    let text = given_up(None).await;
    assert!(text.starts_with(": nothing comes from the SPIFFE agent: "), "{text}");
    assert!(text.contains("No such file or directory"), "{text}");
    assert!(
        text.ends_with("; see that it runs and that the directory of its socket is mounted here"),
        "{text}"
    );
}

#[tokio::test]
async fn without_a_registration() {
    for message in ["no identity issued", "denied\nby policy"] {
        let text = given_up(Some(Says::Status(tonic::Code::PermissionDenied, message))).await;
        assert_eq!(
            text,
            format!(
                ": the SPIFFE agent has no identity for this process: \"{}\"; see that the workload is registered, \
                 and that its selectors match",
                message.escape_default()
            )
        );
    }
}

#[tokio::test]
async fn without_an_answer() {
    assert_eq!(given_up(Some(Says::Nothing)).await, "");
}

#[tokio::test]
async fn without_a_usable_answer() {
    let text = given_up(Some(Says::Svids(X509SvidResponse::default()))).await;
    assert_eq!(
        text,
        ": the SPIFFE agent sent what can not be used: \"Workload API response is missing required field: \
         X509SVIDResponse.svids\""
    );
}

//! Which of several SVIDs is taken.

use std::time::Duration;

use tempfile::tempdir;
use typha_tls::error::WithCauses;
use typha_tls::reload::TlsConfigSource as _;
use typha_tls_spiffe::SpiffeSourceBuilder;

use crate::agent::{Agent, Says, source_in};
use crate::domain::{Domain, FELIX, Issued, TYPHA, assert_gives, changed, load_error, until_changed};
use crate::messages::X509SvidResponse;

const OTHER: &str = "spiffe://td.example/other";

fn of(svids: &[&Issued]) -> X509SvidResponse {
    X509SvidResponse { svids: svids.iter().map(|svid| svid.message.clone()).collect(), ..Default::default() }
}

#[tokio::test]
async fn the_first_or_the_one_with_the_hint_or_the_id() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let [first, internal, other] =
        [domain.svid(TYPHA), domain.svid(TYPHA).hinted("internal"), domain.svid(OTHER).hinted("external")];
    let _agent = Agent::start(dir.path(), Says::Svids(of(&[&first, &internal, &other])));
    let connected =
        async |builder: SpiffeSourceBuilder| builder.connect().await.unwrap().load().await.unwrap();
    let any = || source_in(dir.path(), FELIX);
    assert_gives(&connected(any()).await, &first, &["ca"]);
    assert_gives(&connected(any().svid_with_hint("internal")).await, &internal, &["ca"]);
    assert_gives(&connected(any().svid_with_id(OTHER)).await, &other, &["ca"]);
    assert_gives(&connected(any().svid_with_id(TYPHA)).await, &first, &["ca"]);
}

#[tokio::test]
async fn one_that_is_not_there() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let all = of(&[&domain.svid(TYPHA), &domain.svid(OTHER).hinted("exter\nnal")]);
    let _agent = Agent::start(dir.path(), Says::Svids(all));
    let any = || source_in(dir.path(), FELIX).connect_timeout(Duration::from_secs(3));
    let offered = r#"it has ["spiffe://td.example/typha", "spiffe://td.example/other (hint exter\nnal)"]"#;
    for (builder, wanted) in [
        (any().svid_with_hint("internal"), r#"the hint "internal""#),
        (any().svid_with_id(FELIX), r#"the SPIFFE ID "spiffe://td.example/felix""#),
    ] {
        let text = WithCauses(&builder.connect().await.unwrap_err()).to_string();
        let end = format!("after 3s: the SPIFFE agent has no X.509-SVID with {wanted}; {offered}");
        assert!(text.ends_with(&end), "{text}");
    }
}

#[tokio::test]
async fn there_is_no_other_for_one_that_goes() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let [first, internal] = [domain.svid(OTHER), domain.svid(TYPHA).hinted("internal")];
    let agent = Agent::start(dir.path(), Says::Svids(of(&[&first, &internal])));
    let source = source_in(dir.path(), FELIX).svid_with_hint("internal").connect().await.unwrap();
    assert_gives(&source.load().await.unwrap(), &internal, &["ca"]);
    agent.has(of(&[&first]));
    until_changed(&source).await;
    assert_eq!(
        load_error(&source).await,
        r#"the SPIFFE agent has no X.509-SVID with the hint "internal"; it has ["spiffe://td.example/other"]"#
    );
    agent.has(of(&[&internal, &first]));
    assert_gives(&changed(&source).await, &internal, &["ca"]);
}

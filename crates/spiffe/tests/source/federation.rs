//! The CAs of which trust domain count.

use std::time::Duration;

use tempfile::tempdir;
use typha_tls::error::WithCauses;
use typha_tls::policy::TlsPolicy;
use typha_tls::reload::TlsConfigSource as _;
use typha_tls::testing::{self, handshake};
use typha_tls::{RequiredIdentity, TyphaAcceptor};
use typha_tls_spiffe::{SpiffeError, SpiffeSource};

use crate::agent::{Agent, Says, endpoint, source_in};
use crate::domain::{Domain, FELIX, Issued, TYPHA, assert_gives, changed, load_error, until_changed};

const FOREIGN_FELIX: &str = "spiffe://foreign.example/felix";
const A_WHILE: Duration = Duration::from_secs(3);

struct Domains {
    own: Domain,
    foreign: Domain,
    third: Domain,
    typha: Issued,
}

impl Domains {
    fn new() -> Self {
        let own = Domain::example("own");
        let typha = own.svid(TYPHA);
        let foreign = Domain::new("foreign.example", "foreign");
        Self { own, foreign, third: Domain::new("third.example", "third"), typha }
    }

    fn says(&self) -> Says {
        Says::Svids(self.typha.federated_with(&[&self.foreign, &self.third]))
    }
}

#[tokio::test]
async fn federated_bundles_are_left_out() {
    let (dir, domains) = (tempdir().unwrap(), Domains::new());
    let _agent = Agent::start(dir.path(), domains.says());
    for required in [
        RequiredIdentity::uri_san(FELIX),
        RequiredIdentity::common_name("felix"),
        RequiredIdentity::either("felix", FELIX),
        RequiredIdentity::uri_san("https://felix.example/"),
    ] {
        let policy = TlsPolicy::builder().build().unwrap();
        let builder = SpiffeSource::builder(required.unwrap(), policy).endpoint(endpoint(dir.path()));
        let config = builder.connect().await.unwrap().load().await.unwrap();
        assert_gives(&config, &domains.typha, &["own"]);
    }
    // Asked for, they still do not count for what is of our own.
    let source = source_in(dir.path(), FELIX).with_federated_bundles().connect().await.unwrap();
    assert_gives(&source.load().await.unwrap(), &domains.typha, &["own"]);
}

#[tokio::test]
async fn the_bundle_of_the_peer_alone_if_asked_for() {
    let (dir, domains) = (tempdir().unwrap(), Domains::new());
    let agent = Agent::start(dir.path(), domains.says());
    let source = source_in(dir.path(), FOREIGN_FELIX).with_federated_bundles().connect().await.unwrap();
    let config = source.load().await.unwrap();
    assert_gives(&config, &domains.typha, &["foreign"]);

    let acceptor = TyphaAcceptor::new(config);
    // The name alone does not do: only its own trust domain can give it away.
    for (issuer, outcome) in
        [(&domains.foreign, Ok(())), (&domains.own, Err("unknown_ca")), (&domains.third, Err("unknown_ca"))]
    {
        let felix = issuer.svid(FOREIGN_FELIX);
        let typha = RequiredIdentity::uri_san(TYPHA).unwrap();
        let connector = testing::connector(&domains.own.ca, &felix.leaf, typha).unwrap();
        let (typha, _) = handshake(&acceptor, &connector).await;
        assert_eq!(typha.map(drop).map_err(|error| error.label()), outcome, "{}", issuer.name());
    }

    agent.has(domains.typha.federated_with(&[&domains.third]));
    until_changed(&source).await;
    assert_eq!(
        load_error(&source)
            .await
            .replace(r#""third.example", "td.example""#, r#""td.example", "third.example""#),
        "the SPIFFE agent has no bundle of the trust domain \"foreign.example\", only of [\"td.example\", \
         \"third.example\"]; have the registration of this workload federate with it"
    );
    let renewed = Domain::new("foreign.example", "renewed");
    agent.has(domains.typha.federated_with(&[&renewed]));
    assert_gives(&changed(&source).await, &domains.typha, &["renewed"]);
}

#[tokio::test]
async fn a_foreign_id_must_be_asked_for() {
    let (dir, domains) = (tempdir().unwrap(), Domains::new());
    let _agent = Agent::start(dir.path(), domains.says());
    let error = source_in(dir.path(), FOREIGN_FELIX).connect_timeout(A_WHILE).connect().await.unwrap_err();
    let text = WithCauses(&error).to_string();
    let end = "after 3s: the required URI SAN \"spiffe://foreign.example/felix\" is not of our trust domain \
               \"td.example\", whose CAs may not vouch for it; ask for federated bundles, or require another";
    assert!(text.ends_with(end), "{text}");
}

#[tokio::test]
async fn what_names_no_trust_domain_can_not_be_federated() {
    for required in [
        RequiredIdentity::common_name("felix"),
        RequiredIdentity::either("felix", FOREIGN_FELIX),
        RequiredIdentity::uri_san("https://felix.example/"),
    ] {
        let required = required.unwrap();
        let policy = TlsPolicy::builder().build().unwrap();
        // At once: nothing is asked.
        let builder = SpiffeSource::builder(required.clone(), policy).endpoint("unix:///nowhere");
        let error = builder.with_federated_bundles().connect().await.unwrap_err();
        assert!(matches!(&error, SpiffeError::FederationNeedsSpiffeId { required: r } if *r == required));
        assert_eq!(
            error.to_string(),
            format!(
                "with federated bundles, the required identity must be a SPIFFE ID alone, because it names the \
                 trusted trust domain; required is {required}"
            )
        );
    }
}

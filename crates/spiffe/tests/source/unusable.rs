//! Answers that can not be used: each is told, and what is in force stays.

use tempfile::tempdir;
use tracing::level_filters::LevelFilter;
use typha_tls::error::WithCauses;
use typha_tls::reload::TlsConfigSource as _;
use typha_tls::testing::{CertificateSpec, KeyType};

use crate::agent::{Agent, Says, source_in};
use crate::domain::{Domain, FELIX, TYPHA, assert_gives, changed, load_error, until_changed};
use crate::messages::{X509Svid, X509SvidResponse};
use crate::secret::{Log, Secret};

const MALFORMED: &str = "the SPIFFE agent sent what can not be used: ";
const MATERIAL: &str = "the chain, the key or the bundle of the SPIFFE agent can not be used: ";

#[tokio::test]
async fn each_is_told_and_the_next_good_one_counts() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let good = domain.svid(TYPHA);
    let changed_by = |change: fn(&mut X509Svid)| {
        let mut svid = good.message.clone();
        change(&mut svid);
        svid.into()
    };
    let nameless = domain.issue(TYPHA, CertificateSpec::leaf("typha"));
    let others_key =
        X509Svid { x509_svid_key: domain.svid(TYPHA).message.x509_svid_key, ..good.message.clone() };
    let mut second_is_bad = X509SvidResponse::from(&good);
    second_is_bad.svids.push(X509Svid { x509_svid: vec![0x30], ..good.message.clone() });
    let mut bad_federation = X509SvidResponse::from(&good);
    bad_federation.federated_bundles.insert("spiffe://foreign.example".to_owned(), vec![0x30]);
    let cases: Vec<(&str, X509SvidResponse, &str, &str)> = vec![
        ("no SVID", X509SvidResponse::default(), MALFORMED, "X509SVIDResponse.svids"),
        ("a bad chain", changed_by(|svid| svid.x509_svid.truncate(100)), MALFORMED, "X.509 SVID"),
        ("a chain and more", changed_by(|svid| svid.x509_svid.push(0x30)), MALFORMED, "X.509 SVID"),
        ("no chain", changed_by(|svid| svid.x509_svid.clear()), MALFORMED, "X509SVID.x509_svid"),
        ("no SPIFFE ID", nameless.message.into(), MALFORMED, "X.509 SVID"),
        ("a bad key", changed_by(|svid| svid.x509_svid_key.truncate(60)), MALFORMED, "PKCS#8"),
        ("a key and more", changed_by(|svid| svid.x509_svid_key.push(0)), MALFORMED, "PKCS#8"),
        ("no key", changed_by(|svid| svid.x509_svid_key.clear()), MALFORMED, "X509SVID.x509_svid_key"),
        ("another's key", others_key.into(), MATERIAL, "the private key does not belong to the certificate"),
        ("a bad bundle", changed_by(|svid| svid.bundle.truncate(100)), MALFORMED, "X.509 bundle"),
        ("no bundle", changed_by(|svid| svid.bundle.clear()), MALFORMED, "X509SVID.bundle"),
        ("a bad second", second_is_bad, MALFORMED, "X.509 SVID"),
        ("a bad federated bundle", bad_federation, MALFORMED, "X.509 bundle"),
    ];

    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(move || writer.clone());
    crate::subscribers::let_all_be_asked();
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let agent = Agent::start(dir.path(), Says::Svids((&good).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    assert_gives(&source.load().await.unwrap(), &good, &["ca"]);
    let secret = Secret::of(&good.leaf);
    for (case, response, begin, part) in cases {
        agent.has(response);
        until_changed(&source).await;
        let text = load_error(&source).await;
        assert!(text.starts_with(begin) && text.contains(part), "{case}: {text}");
        assert_eq!(WithCauses(&source.problem().unwrap()).to_string(), text, "{case}");
        secret.assert_not_in(&format!("{text} {:?}", source.load().await.unwrap_err()));
        assert_eq!(agent.asked(), 1, "{case}: the same stream goes on");

        agent.has(&good);
        assert_gives(&changed(&source).await, &good, &["ca"]);
        assert!(source.problem().is_none(), "{case}");
        assert!(log.text().contains(part), "{case}");
    }
    secret.assert_not_in(&log.text());
}

#[tokio::test]
async fn keys_of_each_kind_can_be_used() {
    let dir = tempdir().unwrap();
    let domain = Domain::example("ca");
    let issue = |key_type| domain.issue(TYPHA, CertificateSpec::unnamed().uri_san(TYPHA).key_type(key_type));
    let first = issue(KeyType::P256);
    let agent = Agent::start(dir.path(), Says::Svids((&first).into()));
    let source = source_in(dir.path(), FELIX).connect().await.unwrap();
    assert_gives(&source.load().await.unwrap(), &first, &["ca"]);
    for key_type in [KeyType::P384, KeyType::Rsa2048] {
        let svid = issue(key_type);
        agent.has(&svid);
        assert_gives(&changed(&source).await, &svid, &["ca"]);
    }
}

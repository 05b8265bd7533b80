//! Parameters that change while the program runs.

use std::time::Duration;

use typha_tls::RequiredIdentity;
use typha_tls::config::{FelixConfig, Sources, TyphaConfig};
use typha_tls::material::RevocationPolicy;
use typha_tls::reload::{ReloadOptions, Reloaded, TlsConfigSource as _};
use typha_tls::testing::TestLeaf;

use crate::rig::*;

struct Configured {
    pki: Pki,
    files: Files,
    sources: Sources,
}

impl Configured {
    fn new() -> Self {
        let pki = Pki::new();
        let files = Files::new(&[&pki.a], &pki.leaf);
        let sources = Sources::none().with_file(files.path("typha.cfg"));
        let configured = Self { pki, files, sources };
        configured.set("ClientCN = felix", ["ca.pem", "cert.pem", "key.pem"]);
        configured
    }

    fn set(&self, identity: &str, names: [&str; 3]) {
        let [ca, cert, key] = names.map(|name| self.files.path(name).display().to_string());
        let text = format!("CAFile = {ca}\nServerCertFile = {cert}\nServerKeyFile = {key}\n{identity}\n");
        self.files.write("typha.cfg", text);
    }
}

#[tokio::test(start_paused = true)]
async fn what_typhas_configuration_says() {
    let configured = Configured::new();
    let config = TyphaConfig::load(&configured.sources).unwrap();
    let acceptor = config.acceptor().unwrap();
    let log = Log::start();
    let source = config.source();
    let path = configured.files.path("typha.cfg");
    assert_eq!(source.description(), format!("Typha's parameters and files ({})", path.display()));
    let reloader = acceptor.follow(source, ReloadOptions::default());
    let mut state = reloader.state();
    seconds(100.0).await;
    assert_eq!(state.borrow().generation, 1);

    configured.set("ClientURISAN = spiffe://td/felix", ["ca.pem", "cert.pem", "key.pem"]);
    until(&mut state, |state| state.generation == 2).await;
    let required = || acceptor.config().required_peer.to_string();
    assert_eq!(required(), "URI SAN \"spiffe://td/felix\"");
    let lines = log.take();
    assert!(
        lines[0].ends_with("changes=required identity: from CN \"felix\" to URI SAN \"spiffe://td/felix\""),
        "{lines:?}"
    );

    // Another file.
    let other = configured.pki.b.root_pem();
    configured.files.write("other.pem", other);
    configured.set("ClientURISAN = spiffe://td/felix", ["other.pem", "cert.pem", "key.pem"]);
    until(&mut state, |state| state.generation == 3).await;

    // The end of TLS is not the end of TLS.
    configured.files.write("typha.cfg", "ServerPort = 5473\n");
    let failed = until(&mut state, |state| state.failures == 1).await;
    assert_eq!(
        failed.last_error.unwrap().to_string(),
        "TLS is no longer configured: none of CAFile and the other TLS parameters is set any more; set them again, or \
         restart if that is meant"
    );
    for (text, begin) in [
        ("CAFile = /nowhere\n", "if any Felix-Typha TLS config parameters are specified, they _all_ must be"),
        ("ServerPort = many\n", "the parameter ServerPort"),
        ("odd", "the configuration file"),
    ] {
        configured.files.write("typha.cfg", text);
        let failed = reloader.reload_now().await.unwrap_err();
        assert!(failed.to_string().starts_with(begin), "{failed}");
    }
    std::fs::remove_file(&path).unwrap();
    let failed = reloader.reload_now().await.unwrap_err();
    assert!(failed.to_string().ends_with("typha.cfg can not be read"), "{failed}");
    assert_eq!((required(), *acceptor.generations().borrow()), ("URI SAN \"spiffe://td/felix\"".into(), 3));
    configured.set("ClientCN = felix", ["ca.pem", "cert.pem", "key.pem"]);
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 4 });
}

/// The clock of the policy, and revocation lists, which would be lost otherwise with the first look.
#[tokio::test(start_paused = true)]
async fn what_is_no_parameter_stays() {
    let configured = Configured::new();
    let (ca, files) = (&configured.pki.a, &configured.files);
    let due = std::time::SystemTime::now() + Duration::from_secs(3600);
    let list = |revoked: &[&TestLeaf]| ca.revocation_list(revoked, due).unwrap().to_vec();
    files.write("list.der", list(&[]));
    let mut config = TyphaConfig::load(&configured.sources).unwrap();
    let tls = config.tls.as_mut().unwrap();
    tls.policy = configured.pki.policy();
    tls.files.crl_files = vec![files.path("list.der")];
    tls.files.revocation = RevocationPolicy::strict();
    let (acceptor, policy) = (config.acceptor().unwrap(), config.tls.as_ref().unwrap().policy.clone());
    let source = config.source();
    let reloader = acceptor.follow(source, ReloadOptions::default());
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Unchanged);

    files.write("list.der", list(&[&configured.pki.leaf]));
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 2 });
    let in_force = acceptor.config();
    assert!(std::sync::Arc::ptr_eq(in_force.policy.time_provider(), policy.time_provider()));
    assert_eq!(in_force.material.revocation_lists.iter().len(), 1);
    assert_eq!(in_force.material.revocation_lists.policy(), RevocationPolicy::strict());
}

#[tokio::test(start_paused = true)]
async fn what_felixs_configuration_says() {
    let pki = Pki::new();
    let leaf = pki.a.issue(typha_tls::testing::CertificateSpec::leaf("felix")).unwrap();
    let files = Files::new(&[&pki.a], &leaf);
    let [ca, cert, key] = NAMES.map(|name| files.path(name).display().to_string());
    let sources = Sources::none()
        .with_value("TyphaCAFile", &ca)
        .with_value("TyphaCertFile", &cert)
        .with_value("TyphaKeyFile", &key)
        .with_value("TyphaCN", "typha");
    let config = FelixConfig::load(&sources).unwrap();
    let connector = config.connector().unwrap();
    let source = config.source();
    assert_eq!(source.description(), "Felix's parameters and files");
    let reloader = connector.follow(source, ReloadOptions::default());
    files.write_all(&[&pki.a, &pki.b], &leaf);
    until(&mut reloader.state(), |state| state.generation == 2).await;
    assert_eq!(connector.config().material.trust_bundle.len(), 2);
}

/// A program that requires another identity, or takes its files from elsewhere, has its reasons.
#[tokio::test(start_paused = true)]
async fn what_the_program_changed_stays() {
    let configured = Configured::new();
    let files = &configured.files;
    let mut config = TyphaConfig::load(&configured.sources).unwrap();
    let tls = config.tls.as_mut().unwrap();
    tls.required_peer = RequiredIdentity::common_name("felix of cluster 1").unwrap();
    files.write("of the program.pem", configured.pki.b.root_pem());
    tls.files.ca_file = files.path("of the program.pem");
    let acceptor = config.acceptor().unwrap();
    let source = config.source();
    let reloader = acceptor.follow(source, ReloadOptions::default());
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Unchanged);

    // All else is followed.
    let renewed = configured.pki.a.issue(typha_spec()).unwrap();
    for (name, contents) in ["other.pem", "key.pem"].iter().zip([renewed.chain_pem(), renewed.key_pem()]) {
        files.write(name, contents);
    }
    configured.set("ClientCN = somebody", ["ca.pem", "other.pem", "key.pem"]);
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 2 });
    let in_force = acceptor.config();
    assert_eq!(in_force.required_peer.to_string(), "CN \"felix of cluster 1\"");
    assert_eq!(in_force.material.trust_bundle.subjects().collect::<Vec<_>>(), ["CN=\"b\""]);
    assert_eq!(in_force.material.credentials.chain(), renewed.chain());
}

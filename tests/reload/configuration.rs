//! Parameters that change while the program runs.

use std::time::Duration;

use typha_tls::RequiredIdentity;
use typha_tls::config::{FelixConfig, Sources, TyphaConfig};
use typha_tls::dialer::DialerLimits;
use typha_tls::material::RevocationPolicy;
use typha_tls::reload::{ReloadOptions, Reloaded, TlsConfigSource as _};
use typha_tls::testing::{CertificateSpec, TestLeaf};

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
         restart if that is intended"
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
    let leaf = pki.a.issue(CertificateSpec::leaf("felix")).unwrap();
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
    assert_eq!(connector.config().material.trust_bundle.subjects().len(), 2);
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

/// The listener owns what follows its files, and its connections keep it when the listener is gone.
#[tokio::test]
async fn the_listener_follows_by_itself() {
    let configured = Configured::new();
    let config = TyphaConfig::load(&configured.sources).unwrap();
    let listen = "127.0.0.1:0";
    let fixed = config.listener().unwrap().without_reload().bind(listen).await.unwrap();
    assert!(fixed.reloader().is_none());

    let mut listener = config.listener().unwrap().bind(listen).await.unwrap();
    let mut state = listener.reloader().unwrap().state();
    configured.files.write("ca.pem", configured.pki.a.root_pem() + &configured.pki.b.root_pem());
    let reloaded = listener.reloader().unwrap().reload_now().await;
    assert_eq!(reloaded.unwrap(), Reloaded::Replaced { generation: 2 });

    let felix = configured.pki.b.issue(CertificateSpec::leaf("felix")).unwrap();
    let required = RequiredIdentity::common_name("typha").unwrap();
    let connector = typha_tls::testing::connector(&configured.pki.a, &felix, required).unwrap();
    let tcp = tokio::net::TcpStream::connect(listener.local_addr()).await.unwrap();
    let (felix, connection) = tokio::join!(connector.connect_tcp(tcp), listener.accept());
    let (_felix, connection) = (felix.unwrap(), connection.unwrap());
    drop(listener);
    configured.files.write("ca.pem", configured.pki.a.root_pem());
    until(&mut state, |state| state.generation == 3).await;
    drop(connection);
    while state.changed().await.is_ok() {}
}

/// A dialer can be made where there is no runtime yet, and its clones share what follows.
#[test]
fn the_dialer_follows_once_it_is_used() {
    let pki = Pki::new();
    let leaf = pki.a.issue(CertificateSpec::leaf("felix")).unwrap();
    let files = Files::new(&[&pki.a], &leaf);
    let [ca, cert, key] = NAMES.map(|name| files.path(name).display().to_string());
    let values =
        [("TyphaCAFile", &*ca), ("TyphaCertFile", &cert), ("TyphaKeyFile", &key), ("TyphaCN", "typha")];
    let sources =
        values.iter().fold(Sources::none(), |sources, (name, value)| sources.with_value(name, value));
    let mut limits = DialerLimits::default();
    limits.max_rounds = Some(1);
    let config = FelixConfig::load(&sources.with_value("TyphaAddr", "127.0.0.1:1")).unwrap();
    let dialer = config.dialer().unwrap().with_limits(limits);
    let clone = dialer.clone();
    let fixed = dialer.clone().without_reload();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        fixed.connect().await.unwrap_err();
        assert!(fixed.reloader().is_none() && dialer.reloader().is_none());
        clone.connect().await.unwrap_err();
        let reloader = dialer.reloader().unwrap();
        files.write_all(&[&pki.a, &pki.b], &leaf);
        assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 2 });
        assert_eq!(dialer.connector().config().material.trust_bundle.subjects().len(), 2);
        // Not a second one.
        clone.connect().await.unwrap_err();
        let mut state = reloader.state();
        assert_eq!(dialer.reloader().unwrap().state().borrow().reloads, 1);
        drop((dialer, clone, fixed, reloader));
        while state.changed().await.is_ok() {}
    });
}

/// A configuration that the program made has files to follow, and no parameters.
#[tokio::test(start_paused = true)]
async fn what_was_not_loaded_follows_its_files() {
    let configured = Configured::new();
    let mut config = TyphaConfig::default();
    let unset = config.source().load().await.unwrap_err().to_string();
    assert!(unset.starts_with("TLS is no longer configured: none of CAFile"), "{unset}");
    config.tls = TyphaConfig::load(&configured.sources).unwrap().tls;
    let acceptor = config.acceptor().unwrap();
    let reloader = acceptor.follow(config.source(), ReloadOptions::default());
    configured.set("ClientCN = somebody", ["absent.pem", "cert.pem", "key.pem"]);
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Unchanged);
    configured.files.write_all(&[&configured.pki.a, &configured.pki.b], &configured.pki.leaf);
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 2 });
}

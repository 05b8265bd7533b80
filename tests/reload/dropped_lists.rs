//! A revocation list that the new files lack: its revoked peers must stay refused.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use tokio::io::duplex;
use typha_tls::material::{MaterialWarning, RevocationPolicy};
use typha_tls::reload::{FileSource, ReloadError, ReloadOptions, Reloaded, Reloader, TlsConfigSource as _};
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};
use typha_tls::{FelixConnector, HandshakeError, RequiredIdentity, TlsConfig, TyphaAcceptor};

use crate::files::source;
use crate::rig::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A Typha that trusts the CAs `a` and `b`, and follows a file with the lists of both. That of `b` revokes Felix.
struct Site {
    pki: Pki,
    felix: TestLeaf,
    files: Files,
    acceptor: TyphaAcceptor,
    reloader: Reloader,
    log: Log,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(ReloadOptions::default()).await
    }

    async fn start_with(options: ReloadOptions) -> Self {
        let pki = Pki::new();
        let felix = pki.b.issue(CertificateSpec::leaf("felix").purpose(Purpose::ClientAuth)).unwrap();
        let files = Files::new(&[&pki.a, &pki.b], &pki.leaf);
        let next_update = pki.clock.system_time() + HOUR;
        files.write("lists.pem", list(&pki.a, &[], next_update) + &list(&pki.b, &[&felix], next_update));
        let acceptor = TyphaAcceptor::new(following(&pki, &files).load().await.unwrap());
        let reloader = acceptor.follow(following(&pki, &files), options);
        assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Unchanged);
        let site = Self { pki, felix, files, acceptor, reloader, log: Log::start() };
        assert_eq!(site.connect().await, Err(["revoked", "refused_by_peer"]));
        site.log.take();
        site
    }

    /// The list file with a list of `a`, and another one.
    fn write_lists(&self, other: &str) {
        self.files.write("lists.pem", list(&self.pki.a, &[], self.in_an_hour()) + other);
    }

    /// The list of `b` from before Felix was revoked.
    fn older(&self) -> String {
        list(&self.pki.b, &[], self.in_an_hour() - HOUR / 2)
    }

    fn write_cas(&self, cas: &[&TestCa]) {
        self.files.write_all(cas, &self.pki.leaf);
    }

    fn in_an_hour(&self) -> SystemTime {
        self.pki.clock.system_time() + HOUR
    }

    /// Connects Felix to Typha. The labels of Typha's and of Felix's error.
    async fn connect(&self) -> Result<(), [&'static str; 2]> {
        let policy = self.pki.policy();
        let material = typha_tls::testing::material(&self.pki.a, &self.felix, policy.provider()).unwrap();
        let required = RequiredIdentity::common_name("typha").unwrap();
        let connector = FelixConnector::new(TlsConfig::new(material, required, policy));
        let (typha_io, felix_io) = duplex(64 * 1024);
        let (typha, felix) = tokio::join!(self.acceptor.accept(typha_io), connector.connect(felix_io));
        match (typha, felix) {
            (Ok(_), Ok(_)) => Ok(()),
            (Err(typha), Err(felix)) => Err([&typha, &felix].map(label)),
            (typha, felix) => panic!("{typha:?}, {felix:?}"),
        }
    }

    async fn reload(&self) -> Result<Reloaded, MaterialWarning> {
        self.reloader.reload_now().await.map_err(|error| match &*error {
            ReloadError::Unsuitable(warning) => warning.clone(),
            other => panic!("{other:?}"),
        })
    }

    /// Expects that the reload fails because of the list of a CA, and that Felix stays refused.
    async fn expect_missing(&self, issuer: &str) {
        let missing = MaterialWarning::RevocationListMissing { issuer: issuer.to_owned() };
        assert_eq!(self.reload().await, Err(missing.clone()));
        assert_eq!(self.last_error(), Some(missing.to_string()));
        assert_eq!(self.connect().await, Err(["revoked", "refused_by_peer"]));
    }

    async fn expect_older(&self) {
        let found = self.reload().await;
        assert!(
            matches!(&found, Err(MaterialWarning::RevocationListOlder { issuer, .. }) if issuer == "CN=\"b\""),
            "{found:?}"
        );
    }

    fn last_error(&self) -> Option<String> {
        self.reloader.state().borrow().last_error.as_ref().map(ToString::to_string)
    }
}

fn following(pki: &Pki, files: &Files) -> FileSource {
    let mut tls = files.tls();
    tls.crl_files = vec![files.path("lists.pem")];
    source(pki, &tls)
}

/// The reason of a refusal, or of another error.
fn label(error: &HandshakeError) -> &'static str {
    error.rejection().map_or(error.label(), |rejection| rejection.label())
}

fn list(ca: &TestCa, revoked: &[&TestLeaf], next_update: SystemTime) -> String {
    let list = ca.revocation_list(revoked, next_update).unwrap();
    pem::encode(&pem::Pem::new("X509 CRL", list.to_vec()))
}

#[tokio::test(start_paused = true)]
async fn a_list_of_a_ca_that_stays_is_not_dropped() {
    let site = Site::start().await;
    site.write_lists("");
    let missing = MaterialWarning::RevocationListMissing { issuer: "CN=\"b\"".to_owned() }.to_string();
    let state = until(&mut site.reloader.state(), |state| state.failures == 1).await;
    let error = state.last_error.unwrap();
    assert_eq!((error.label(), error.to_string()), ("unsuitable", missing.clone()));
    assert_eq!(site.connect().await, Err(["revoked", "refused_by_peer"]));
    site.log.take();
    // It is reported once, and nothing changes with time.
    seconds(600.0).await;
    assert_eq!((site.log.take(), site.last_error()), (vec![], Some(missing)));
    assert_eq!(site.connect().await, Err(["revoked", "refused_by_peer"]));
    let state = site.reloader.state().borrow().clone();
    assert_eq!((state.generation, state.reloads, state.failures), (1, 0, 1));
    // The list is back, or both have gone.
    site.write_lists(&list(&site.pki.b, &[&site.felix], site.in_an_hour()));
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 2 }));
    assert_eq!((site.last_error(), site.connect().await), (None, Err(["revoked", "refused_by_peer"])));
    site.write_lists("");
    site.expect_missing("CN=\"b\"").await;
    site.write_cas(&[&site.pki.a]);
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 3 }));
    assert_eq!((site.last_error(), site.connect().await), (None, Err(["unknown_ca", "refused_by_peer"])));
}

#[tokio::test(start_paused = true)]
async fn the_log_names_the_missing_list_once() {
    let site = Site::start().await;
    site.write_lists("");
    until(&mut site.reloader.state(), |state| state.failures == 1).await;
    seconds(600.0).await;
    let missing = MaterialWarning::RevocationListMissing { issuer: "CN=\"b\"".to_owned() };
    let names =
        [NAMES[0], NAMES[1], NAMES[2], "lists.pem"].map(|name| site.files.path(name).display().to_string());
    assert_eq!(
        site.log.take(),
        [format!(
            "WARN the new configuration can not be used; the configuration in force stays source={} \
             reason=unsuitable detail={missing} generation=1",
            names.join(", ")
        )]
    );
}

/// Slower than the settle time: the first half is a valid file.
#[tokio::test(start_paused = true)]
async fn a_list_file_that_is_written_in_place_with_a_pause() {
    let site = Site::start().await;
    let next_update = site.in_an_hour();
    let halves = [list(&site.pki.a, &[], next_update), list(&site.pki.b, &[&site.felix], next_update)];
    let mut file = std::fs::File::create(site.files.path("lists.pem")).unwrap();
    file.write_all(halves[0].as_bytes()).unwrap();
    until(&mut site.reloader.state(), |state| state.failures == 1).await;
    seconds(60.0).await;
    assert_eq!(site.connect().await, Err(["revoked", "refused_by_peer"]));
    file.write_all(halves[1].as_bytes()).unwrap();
    let state = until(&mut site.reloader.state(), |state| state.generation == 2).await;
    assert_eq!((state.failures, state.last_error.is_none()), (1, true));
    assert_eq!(site.connect().await, Err(["revoked", "refused_by_peer"]));
}

/// Its certificate goes with its list. Peers send it in their chains.
#[tokio::test(start_paused = true)]
async fn a_list_of_an_intermediate_is_not_dropped() {
    let site = Site::start().await;
    let lower = site.pki.b.intermediate(CertificateSpec::ca("lower")).unwrap();
    let felix = lower.issue(CertificateSpec::leaf("felix").purpose(Purpose::ClientAuth)).unwrap();
    let site = Site { felix, ..site };
    let certificate = pem::encode(&pem::Pem::new("CERTIFICATE", site.felix.chain()[1].to_vec()));
    let of_b = list(&site.pki.b, &[], site.in_an_hour());
    let of_lower = list(&lower, &[&site.felix], site.in_an_hour());
    site.write_lists(&[&*of_b, &certificate, &of_lower].concat());
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 2 }));
    assert_eq!(site.connect().await, Err(["revoked", "refused_by_peer"]));
    for lists in [of_b.clone(), of_b + &certificate] {
        site.write_lists(&lists);
        site.expect_missing("CN=\"lower\"").await;
    }
    // It goes with the CA above it.
    site.write_lists("");
    site.write_cas(&[&site.pki.a]);
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 3 }));
    assert_eq!(site.connect().await, Err(["unknown_ca", "refused_by_peer"]));
}

/// Whatever the source: one of other files, of an agent, or of a program.
#[tokio::test(start_paused = true)]
async fn a_source_without_lists_does_not_drop_those_in_force() {
    let site = Site::start().await;
    let reloader = site.acceptor.follow(source(&site.pki, &site.files.tls()), ReloadOptions::default());
    let site = Site { reloader, ..site };
    site.expect_missing("CN=\"a\"").await;
}

/// Its policy is the program's decision, as the required identity is. The log has it.
#[tokio::test(start_paused = true)]
async fn a_policy_that_changes_is_named_in_the_log() {
    let site = Site::start().await;
    let mut config = site.acceptor.config();
    let mut material = (*config.material).clone();
    material.revocation_lists = material.revocation_lists.with_policy(RevocationPolicy::strict());
    config.material = material.into();
    assert_eq!(site.acceptor.replace(config), 2);
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 3 }));
    let names = [NAMES[0], NAMES[1], NAMES[2], "lists.pem"];
    let names = names.map(|name| site.files.path(name).display().to_string()).join(", ");
    assert_eq!(
        site.log.take(),
        [format!(
            "INFO configuration replaced generation=3 source={names} changes=revocation policy changed"
        )]
    );
}

/// As the program says, by an option or with a configuration of its own. An older list stays refused.
#[tokio::test(start_paused = true)]
async fn a_program_can_drop_a_list() {
    let mut options = ReloadOptions::default();
    options.allow_missing_lists = true;
    let site = Site::start_with(options).await;
    site.write_lists("");
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 2 }));
    assert_eq!(site.connect().await, Ok(()));
    site.write_lists(&site.older());
    site.expect_older().await;

    let site = Site::start().await;
    site.write_lists("");
    site.expect_missing("CN=\"b\"").await;
    let config = following(&site.pki, &site.files).load().await.unwrap();
    assert_eq!(site.acceptor.replace(config), 2);
    assert_eq!(site.connect().await, Ok(()));
    assert_eq!(site.reload().await, Ok(Reloaded::Unchanged));
    assert_eq!(site.last_error(), None);
    site.write_lists(&site.older());
    site.expect_older().await;
    // What the program has put in force may stay, whatever else changes.
    let older = following(&site.pki, &site.files).load().await.unwrap();
    assert_eq!(site.acceptor.replace(older), 3);
    site.write_cas(&[&site.pki.a, &site.pki.b, &ca("c")]);
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 4 }));
    // The newest of all counts, not the one in force.
    site.write_lists(&list(&site.pki.b, &[], site.in_an_hour() - HOUR / 4));
    site.expect_older().await;
    site.write_lists(&list(&site.pki.b, &[&site.felix], site.in_an_hour() + Duration::from_secs(1)));
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 5 }));
    assert_eq!(site.connect().await, Err(["revoked", "refused_by_peer"]));
}

/// A CA file that is put back needs its list file, too.
#[tokio::test(start_paused = true)]
async fn a_ca_that_comes_back_needs_its_list() {
    let site = Site::start().await;
    site.write_lists("");
    site.write_cas(&[&site.pki.a]);
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 2 }));
    // Another reloader of the same acceptor knows, too.
    let Site { pki, felix, files, acceptor, reloader, log } = site;
    drop(reloader);
    let reloader = acceptor.follow(following(&pki, &files), ReloadOptions::default());
    let site = Site { pki, felix, files, acceptor, reloader, log };
    site.write_cas(&[&site.pki.a, &site.pki.b]);
    let missing = MaterialWarning::RevocationListMissing { issuer: "CN=\"b\"".to_owned() };
    assert_eq!(site.reload().await, Err(missing));
    site.write_lists(&site.older());
    site.expect_older().await;
    assert_eq!(site.connect().await, Err(["unknown_ca", "refused_by_peer"]));
    // A CA of the same name with another key is another CA.
    let namesake = ca("b");
    site.write_lists("");
    site.write_cas(&[&site.pki.a, &namesake]);
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 3 }));
    site.write_cas(&[&site.pki.a, &site.pki.b]);
    site.write_lists(&list(&site.pki.b, &[&site.felix], site.in_an_hour()));
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 4 }));
    assert_eq!(site.connect().await, Err(["revoked", "refused_by_peer"]));
}

/// It does not hide the date of the list before it, even if none is in force in between.
#[tokio::test(start_paused = true)]
async fn a_list_that_is_dated_in_the_future_hides_no_earlier_one() {
    let site = Site::start().await;
    site.write_lists(&list(&site.pki.b, &[&site.felix], site.in_an_hour() + 100 * HOUR));
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 2 }));
    site.write_lists(&site.older());
    site.expect_older().await;
    site.write_lists("");
    site.expect_missing("CN=\"b\"").await;
    // A real one that is newer than the one before.
    site.write_lists(&list(&site.pki.b, &[&site.felix], site.in_an_hour() + Duration::from_secs(1)));
    assert_eq!(site.reload().await, Ok(Reloaded::Replaced { generation: 3 }));
}

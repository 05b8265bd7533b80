//! Revocation lists that change, expire, or are of the wrong CA.

use std::time::{Duration, SystemTime};

use typha_tls::Role;
use typha_tls::material::{MaterialWarning, RevocationPolicy};
use typha_tls::reload::{FileSource, ReloadError, ReloadOptions, Reloaded, Reloader};
use typha_tls::testing::{CertificateSpec, TestCa, TestLeaf};
use typha_tls::{RequiredIdentity, TlsConfig, TyphaAcceptor};

use crate::rig::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A Typha that follows a list of its CA.
struct Listed {
    pki: Pki,
    felix: TestLeaf,
    files: Files,
    acceptor: TyphaAcceptor,
    reloader: Reloader,
}

impl Listed {
    async fn start(policy: RevocationPolicy) -> Self {
        let pki = Pki::new();
        let felix = pki.a.issue(CertificateSpec::leaf("felix")).unwrap();
        let files = Files::new(&[&pki.a], &pki.leaf);
        files.write("list.pem", list(&pki.a, &[], pki.clock.system_time() + HOUR));
        let mut tls = files.tls();
        (tls.crl_files, tls.revocation) = (vec![files.path("list.pem")], policy);
        let (required, tls_policy) = (RequiredIdentity::common_name("felix").unwrap(), pki.policy());
        let material = tls.load(tls_policy.provider()).unwrap();
        let acceptor = TyphaAcceptor::new(TlsConfig::new(material, required.clone(), tls_policy.clone()));
        let source = FileSource::new(tls, required, tls_policy);
        let reloader = acceptor.follow(source, ReloadOptions::default());
        assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Unchanged);
        Self { pki, felix, files, acceptor, reloader }
    }

    fn write(&self, ca: &TestCa, revoked: &[&TestLeaf], next_update: SystemTime) {
        self.files.write("list.pem", list(ca, revoked, next_update));
    }

    /// Whether Felix is accepted, or why not.
    fn verdict(&self) -> Result<(), &'static str> {
        let now = self.acceptor.config().policy.time_provider().current_time().unwrap();
        let verdict = self.acceptor.verifier().verify(self.felix.chain(), Role::Felix, now);
        verdict.map(drop).map_err(|rejection| rejection.label())
    }

    async fn reload(&self) -> Result<Reloaded, String> {
        self.reloader.reload_now().await.map_err(|error| typha_tls::error::WithCauses(&*error).to_string())
    }

    fn soon(&self) -> SystemTime {
        self.pki.clock.system_time() + HOUR
    }
}

fn list(ca: &TestCa, revoked: &[&TestLeaf], next_update: SystemTime) -> String {
    let list = ca.revocation_list(revoked, next_update).unwrap();
    pem::encode(&pem::Pem::new("X509 CRL", list.to_vec()))
}

#[tokio::test(start_paused = true)]
async fn a_new_list_takes_effect() {
    let listed = Listed::start(RevocationPolicy::default()).await;
    assert_eq!(listed.verdict(), Ok(()));
    listed.write(&listed.pki.a, &[&listed.felix], listed.soon());
    // By itself, as all files.
    until(&mut listed.reloader.state(), |state| state.generation == 2).await;
    assert_eq!(listed.verdict(), Err("revoked"));
    listed.write(&listed.pki.a, &[], listed.soon());
    assert_eq!(listed.reload().await, Ok(Reloaded::Replaced { generation: 3 }));
    assert_eq!(listed.verdict(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_can_not_be_used_changes_nothing() {
    let listed = Listed::start(RevocationPolicy::default()).await;
    listed.write(&listed.pki.a, &[&listed.felix], listed.soon());
    listed.reload().await.unwrap();
    let path = listed.files.path("list.pem").display().to_string();
    listed.write(&listed.pki.b, &[], listed.soon());
    let error = listed.reload().await.unwrap_err();
    assert!(error.starts_with(&format!("{path}: ")) && error.contains("CN=\"b\""), "{error}");
    let good = list(&listed.pki.a, &[], listed.soon());
    for damaged in [&good[..good.len() / 2], "", "no list"] {
        listed.files.write("list.pem", damaged);
        let error = listed.reload().await.unwrap_err();
        assert!(error.starts_with(&format!("{path}: ")), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    let error = listed.reload().await.unwrap_err();
    assert!(error.starts_with(&format!("{path}: it can not be read")), "{error}");
    assert_eq!((listed.verdict(), *listed.acceptor.generations().borrow()), (Err("revoked"), 2));
    listed.files.write("list.pem", &good);
    assert_eq!(listed.reload().await, Ok(Reloaded::Replaced { generation: 3 }));
}

/// Its list can not be verified any more: both have to go together.
#[tokio::test(start_paused = true)]
async fn a_ca_goes_with_its_list() {
    let listed = Listed::start(RevocationPolicy::default()).await;
    let leaf = listed.pki.b.issue(typha_spec()).unwrap();
    listed.files.write_all(&[&listed.pki.b], &leaf);
    let error = listed.reload().await.unwrap_err();
    assert!(
        error.contains("list.pem: revocation list 1 is unusable") && error.contains("CN=\"a\""),
        "{error}"
    );
    assert_eq!(*listed.acceptor.generations().borrow(), 1);
    listed.write(&listed.pki.b, &[], listed.soon());
    assert_eq!(listed.reload().await, Ok(Reloaded::Replaced { generation: 2 }));
}

#[tokio::test(start_paused = true)]
async fn an_expired_list_warns_or_where_it_would_refuse_everybody_is_not_put_in_force() {
    for (policy, is_strict) in [(RevocationPolicy::default(), false), (RevocationPolicy::strict(), true)] {
        let listed = Listed::start(policy).await;
        // That of a CA that comes with it.
        let Pki { a, b, clock, leaf } = &listed.pki;
        let [good, expired] = [list(a, &[], listed.soon()), list(b, &[], clock.system_time() - HOUR)];
        listed.files.write("list.pem", good + &expired);
        listed.files.write_all(&[a, b], leaf);
        let log = Log::start();
        let outcome = listed.reloader.reload_now().await;
        let lines = log.take().join("\n");
        if is_strict {
            let error = outcome.unwrap_err();
            let found =
                matches!(&*error, ReloadError::Unsuitable(MaterialWarning::RevocationListExpired { .. }));
            assert!(found, "{error:?}");
            assert_eq!(*listed.acceptor.generations().borrow(), 1);
        } else {
            assert_eq!(outcome.unwrap(), Reloaded::Replaced { generation: 2 });
            assert!(lines.contains("finding=revocation_list_expired"), "{lines}");
        }
        assert_eq!(listed.verdict(), Ok(()));
    }
}

/// Whoever can put an old list back must not be able to take a revocation back.
#[tokio::test(start_paused = true)]
async fn an_older_list_does_not_take_the_place_of_a_newer_one() {
    let listed = Listed::start(RevocationPolicy::default()).await;
    let (ca, soon) = (&listed.pki.a, listed.soon());
    listed.write(ca, &[&listed.felix], soon);
    assert_eq!(listed.reload().await, Ok(Reloaded::Replaced { generation: 2 }));
    listed.write(ca, &[], soon - Duration::from_secs(60));
    let error = listed.reload().await.unwrap_err();
    assert!(
        error.starts_with("the revocation list of CN=\"a\" is of ")
            && error.contains("older than the newest one so far"),
        "{error}"
    );
    assert_eq!((listed.verdict(), *listed.acceptor.generations().borrow()), (Err("revoked"), 2));
    // One that was made by a clock ahead of time does not count.
    listed.write(ca, &[&listed.felix], soon + 100 * HOUR);
    assert_eq!(listed.reload().await, Ok(Reloaded::Replaced { generation: 3 }));
    listed.write(ca, &[], soon);
    assert_eq!(listed.reload().await, Ok(Reloaded::Replaced { generation: 4 }));
    assert_eq!(listed.verdict(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_expires_in_force_is_told_of_once() {
    for (policy, verdict) in
        [(RevocationPolicy::default(), Ok(())), (RevocationPolicy::strict(), Err("revocation_list_unusable"))]
    {
        let listed = Listed::start(policy).await;
        let log = Log::start();
        seconds(200.0).await;
        assert_eq!(log.take(), [""; 0]);
        listed.pki.clock.turn(2 * HOUR);
        seconds(600.0).await;
        let lines = log.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("finding=revocation_list_expired"), "{lines:?}");
        assert_eq!(listed.verdict(), verdict);
        // It stays, and keeps nothing else from coming into force.
        listed.files.write_all(&[&listed.pki.a, &listed.pki.b], &listed.pki.leaf);
        assert_eq!(listed.reload().await, Ok(Reloaded::Replaced { generation: 2 }));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_program_puts_in_force_is_told_once() {
    let listed = Listed::start(RevocationPolicy::default()).await;
    let in_force = listed.acceptor.config();
    listed.write(&listed.pki.a, &[], listed.pki.clock.system_time() - HOUR);
    let mut tls = listed.files.tls();
    tls.crl_files = vec![listed.files.path("list.pem")];
    let material = tls.load(in_force.policy.provider()).unwrap();
    let log = Log::start();
    listed.acceptor.replace(TlsConfig::new(material, in_force.required_peer, in_force.policy));
    seconds(100.0).await;
    assert_eq!(log.take().len(), 1);
}

/// It is late, as the one before it: with either, nobody is accepted, but it tells of more.
#[tokio::test(start_paused = true)]
async fn a_later_list_takes_the_place_of_an_expired_one_though_it_has_expired() {
    let listed = Listed::start(RevocationPolicy::strict()).await;
    let due = listed.soon();
    listed.pki.clock.turn(3 * HOUR);
    assert_eq!(listed.verdict(), Err("revocation_list_unusable"));
    listed.write(&listed.pki.a, &[&listed.felix], due + HOUR);
    assert_eq!(listed.reload().await, Ok(Reloaded::Replaced { generation: 2 }));
    assert_eq!(listed.verdict(), Err("revoked"));
}

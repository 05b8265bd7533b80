//! What is new must be right; what is in force may stay.

use std::time::Duration;

use typha_tls::material::{Credentials, Material, MaterialWarning};
use typha_tls::reload::{ReloadError, ReloadOptions, Reloaded};
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};
use typha_tls::{FelixConnector, RequiredIdentity, TlsConfig, TyphaAcceptor};

use crate::rig::*;

/// Why a configuration is not put in force.
async fn refused(rig: &Rig, act: Act) -> MaterialWarning {
    let before = *rig.acceptor.generations().borrow();
    rig.source.set(act);
    let failed = rig.reloader.reload_now().await.unwrap_err();
    assert_eq!(*rig.acceptor.generations().borrow(), before);
    match &*failed {
        ReloadError::Unsuitable(warning) => warning.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_leaf_must_be_one_that_peers_accept() {
    let pki = Pki::new();
    let rig = Rig::start(pki.first(), Source::at_once(Act::Give(pki.first()))).await;
    let now = pki.clock.system_time();
    let hour = Duration::from_secs(3600);
    let with = |spec| Act::Give(pki.config(&[&pki.a], &pki.a.issue(spec).unwrap()));
    let found = refused(&rig, with(typha_spec().valid(now - 2 * hour, now - hour))).await;
    assert!(matches!(found, MaterialWarning::LeafExpired { .. }), "{found:?}");
    let found = refused(&rig, with(CertificateSpec::leaf("typha").purpose(Purpose::ClientAuth))).await;
    assert!(matches!(found, MaterialWarning::LeafLacksPurpose { purpose: "serverAuth", .. }), "{found:?}");
    let found = refused(&rig, with(CertificateSpec::ca("typha").purpose(Purpose::ServerAuth))).await;
    assert!(matches!(found, MaterialWarning::LeafIsCa { .. }), "{found:?}");
    let early = with(typha_spec().valid(now + hour, now + 2 * hour));
    let found = refused(&rig, early).await;
    assert!(matches!(found, MaterialWarning::LeafNotYetValid { .. }), "{found:?}");
    assert_eq!((rig.state().failures, rig.log.take().len()), (4, 4));
    // It becomes valid by itself.
    seconds(120.0).await;
    assert_eq!((rig.state().generation, rig.state().failures), (1, 4));
    pki.clock.turn(hour + Duration::from_secs(1));
    seconds(30.0).await;
    assert_eq!((rig.state().generation, rig.last_error()), (2, None));
}

/// The verifier judges our chain, so whatever it refuses in a peer's chain is found in ours.
#[tokio::test(start_paused = true)]
async fn a_new_leaf_that_the_verifier_refuses_is_held_back() {
    let pki = Pki::new();
    let fixture = |name: &str| {
        std::fs::read(format!("{}/tests/fixtures/{name}.pem", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let old_leaf = |name: &str| {
        let policy = pki.policy();
        let credentials =
            Credentials::from_pem(&fixture(name), &fixture("leaf-key"), policy.provider()).unwrap();
        let material = Material::new(pki.a.trust_bundle().unwrap(), credentials);
        TlsConfig::new(material, RequiredIdentity::common_name("felix").unwrap(), policy)
    };
    let issued = |spec| pki.config(&[&pki.a], &pki.a.issue(spec).unwrap());
    let critical = typha_spec().extension(&[1, 3, 6, 1, 4, 1, 1], true, &[5, 0]);
    let rig = Rig::start(pki.first(), Source::at_once(Act::Give(pki.first()))).await;
    for (config, reason) in [
        (old_leaf("version1"), "unsupported_version"),
        (old_leaf("sha1"), "unsupported_algorithm"),
        (issued(critical), "unhandled_critical_extension"),
    ] {
        let found = refused(&rig, Act::Give(config.clone())).await;
        let MaterialWarning::OwnChainRefused { reason: found_reason, .. } = &found else {
            panic!("{found:?}")
        };
        assert_eq!(*found_reason, reason);
        rig.log.take();
        // A start takes it, with the same words.
        let _started = TyphaAcceptor::new(config);
        assert_eq!(findings(&rig.log), [format!("WARN {found} finding=own_chain_refused")]);
    }
    let unnamed = CertificateSpec::unnamed().dns_san("typha").purpose(Purpose::ServerAuth);
    let found = refused(&rig, Act::Give(issued(unnamed))).await;
    assert_eq!(
        found.to_string(),
        "our certificate has no name that a peer could require (no CN, no URI SAN (its DNS name \"typha\" does not \
         count)); issue one with a Common Name or a URI SAN"
    );
    // Together with a new bundle, too: nothing is half put in force.
    let leaf = pki.a.issue(typha_spec().extension(&[1, 3, 6, 1, 4, 1, 1], true, &[5, 0])).unwrap();
    refused(&rig, Act::Give(pki.config(&[&pki.a, &pki.b], &leaf))).await;
    assert_eq!(rig.state().generation, 1);
    // If our CA file has only an expired certificate of its CA, peers may have the renewed one.
    let now = pki.clock.system_time();
    let expired = TestCa::new(CertificateSpec::ca("old").valid(now - 2 * DAY, now - DAY)).unwrap();
    let renewed = expired.issue(typha_spec()).unwrap();
    rig.source.set(Act::Give(pki.config(&[&pki.a, &expired], &renewed)));
    assert_eq!(rig.reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 2 });
    // One that is in force already may stay.
    let rig = Rig::start(
        pki.config(&[&pki.a], &leaf),
        Source::at_once(Act::Give(pki.config(&[&pki.a, &pki.b], &leaf))),
    )
    .await;
    assert_eq!(rig.counts(), [2, 1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn each_end_has_its_own_use() {
    let pki = Pki::new();
    let felix = pki.a.issue(CertificateSpec::leaf("felix").purpose(Purpose::ClientAuth)).unwrap();
    let connector = FelixConnector::new(pki.config(&[&pki.a], &felix));
    let source = Source::at_once(Act::Give(pki.first()));
    let reloader = connector.follow(source.clone(), ReloadOptions::default());
    let failed = reloader.reload_now().await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "our certificate CN=\"typha\" has an extended key usage without clientAuth: every peer will refuse it; issue \
         one with extendedKeyUsage = clientAuth"
    );
    source.set(Act::Give(pki.config(&[&pki.a, &pki.b], &felix)));
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 2 });
}

/// Such as a bundle with the CAs and both leaves, all of which are renewed.
#[tokio::test(start_paused = true)]
async fn an_entry_that_is_no_ca_keeps_nothing_from_being_put_in_force() {
    let pki = Pki::new();
    let pin = |name: &str| TestCa::new(CertificateSpec::ca(name).without_ca_flag()).unwrap();
    let now = pki.clock.system_time();
    let expired = TestCa::new(CertificateSpec::ca("old").valid(now - 2 * DAY, now - DAY)).unwrap();
    let [first, second] = [pin("first"), pin("second")];
    let rig = Rig::start(pki.first(), Source::at_once(Act::Give(pki.first()))).await;
    let bundles = [
        vec![&pki.a, &first],
        vec![&pki.a, &second, &expired],
        vec![&pki.b, &first, &second],
        vec![&second],
        vec![&first, &second],
    ];
    for (generation, bundle) in (2..).zip(bundles) {
        rig.log.take();
        let config = pki.config(&bundle, &pki.leaf);
        rig.source.set(Act::Give(config.clone()));
        assert_eq!(rig.reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation });
        // A start reports the same.
        let reloaded = findings(&rig.log);
        let _started = TyphaAcceptor::new(config);
        assert_eq!(findings(&rig.log), reloaded);
        let pins = [first.root(), second.root()];
        let of_pins = bundle.iter().filter(|entry| pins.contains(&entry.root())).count();
        assert_eq!(reloaded.iter().filter(|line| line.contains("finding=not_a_ca")).count(), of_pins);
    }
}

fn findings(log: &Log) -> Vec<String> {
    log.take().into_iter().filter(|line| line.contains("finding=")).collect()
}

#[tokio::test(start_paused = true)]
async fn an_expired_leaf_does_not_keep_a_ca_in_force() {
    let pki = Pki::new();
    let rig = Rig::start(pki.second(), Source::at_once(Act::Give(pki.second()))).await;
    pki.clock.turn(2 * DAY);
    rig.source.set(Act::Give(pki.first()));
    assert_eq!(rig.reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 2 });
    assert_eq!(rig.acceptor.config().material.trust_bundle.subjects().collect::<Vec<_>>(), ["CN=\"a\""]);
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_goes_before_our_leaf_does_is_told() {
    let pki = Pki::new();
    let rig = Rig::start(pki.second(), Source::at_once(Act::Give(pki.config(&[&pki.b], &pki.leaf)))).await;
    let hint = "WARN the CA file no longer holds CN=\"a\", the issuer of our own certificate: peers with the same CA \
                file will refuse us; have a remaining CA issue our certificate, or put that CA back until then \
                generation=2";
    assert_eq!(
        rig.log.take(),
        ["INFO configuration replaced generation=2 source=the test changes=CA removed: CN=\"a\"", hint]
    );
    // With our own leaf by another CA there is nothing to say; nor where the CA files of the ends differ.
    let renewed = pki.b.issue(typha_spec()).unwrap();
    rig.source.set(Act::Give(pki.config(&[&pki.b], &renewed)));
    rig.reloader.reload_now().await.unwrap();
    let lines = rig.log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("changes=own certificate renewed: CN \"typha\", no URI SAN, valid until 2"),
        "{lines:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_intermediate_that_the_new_chain_lacks_is_named() {
    let pki = Pki::new();
    let [lower, other] =
        ["lower", "other"].map(|name| pki.a.intermediate(CertificateSpec::ca(name)).unwrap());
    let [before, renewed] = [lower.issue(typha_spec()).unwrap(), lower.issue(typha_spec()).unwrap()];
    let leaf_only = |leaf: &TestLeaf| {
        let policy = pki.policy();
        let chain = leaf.chain()[..1].to_vec();
        let credentials = Credentials::from_der(chain, leaf.key(), policy.provider()).unwrap();
        let material = Material::new(pki.a.trust_bundle().unwrap(), credentials);
        TlsConfig::new(material, RequiredIdentity::common_name("felix").unwrap(), policy)
    };
    let first = pki.config(&[&pki.a], &before);
    let rig = Rig::start(first.clone(), Source::at_once(Act::Give(leaf_only(&renewed)))).await;
    assert_eq!(
        rig.log.take()[1..],
        [
            "WARN our own certificate is issued by the intermediate CA CN=\"lower\", which ServerCertFile no longer \
             has: peers will refuse us; append the certificate of the CA that issued the new leaf to ServerCertFile, \
             after the leaf generation=2"
        ]
    );
    // An intermediate that was not there before.
    let elsewhere = other.issue(typha_spec()).unwrap();
    let rig = Rig::start(first, Source::at_once(Act::Give(leaf_only(&elsewhere)))).await;
    assert_eq!(
        rig.log.take()[1..],
        [
            "WARN our own certificate is now issued by CN=\"other\", which the CA file does not hold: peers with the \
          same CA file will refuse us; if it is an intermediate CA, append its certificate to ServerCertFile; \
          otherwise add it to the CA file of every end, or put the previous certificate back until then generation=2"
        ]
    );
}

/// It would refuse everybody.
#[tokio::test(start_paused = true)]
async fn one_entry_at_least_must_be_valid() {
    let pki = Pki::new();
    let rig = Rig::start(pki.first(), Source::at_once(Act::Give(pki.first()))).await;
    let now = pki.clock.system_time();
    let expired = TestCa::new(CertificateSpec::ca("old").valid(now - 2 * DAY, now - DAY)).unwrap();
    let early = TestCa::new(CertificateSpec::ca("early").valid(now + DAY, now + 2 * DAY)).unwrap();
    let found = refused(&rig, Act::Give(pki.config(&[&expired, &early], &pki.leaf))).await;
    assert!(matches!(found, MaterialWarning::CaExpired { .. }), "{found:?}");
    let pin = CertificateSpec::ca("pin").without_ca_flag().valid(now - 2 * DAY, now - DAY);
    let found = refused(&rig, Act::Give(pki.config(&[&TestCa::new(pin).unwrap()], &pki.leaf))).await;
    assert!(matches!(found, MaterialWarning::PinExpired { .. }), "{found:?}");
    let pin = CertificateSpec::ca("pin").without_ca_flag().valid(now + DAY, now + 2 * DAY);
    let found = refused(&rig, Act::Give(pki.config(&[&TestCa::new(pin).unwrap()], &pki.leaf))).await;
    assert!(matches!(found, MaterialWarning::PinNotYetValid { .. }), "{found:?}");
    rig.source.set(Act::Give(pki.config(&[&expired, &early, &pki.b], &pki.leaf)));
    assert_eq!(rig.reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 2 });
    // What is in force may expire, and then anything is as good.
    pki.clock.turn(1000 * 365 * DAY);
    rig.source.set(Act::Give(pki.config(&[&expired], &pki.leaf)));
    assert_eq!(rig.reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 3 });
}

/// It is trusted as itself, so that not everybody is refused.
#[tokio::test(start_paused = true)]
async fn a_pinned_leaf_does_not_keep_a_ca_in_force() {
    let pki = Pki::new();
    let pinned = TestCa::new(CertificateSpec::ca("felix").without_ca_flag()).unwrap();
    let both = pki.config(&[&pki.a, &pinned], &pki.leaf);
    let rig = Rig::start(both.clone(), Source::at_once(Act::Give(both))).await;
    rig.source.set(Act::Give(pki.config(&[&pinned], &pki.leaf)));
    assert!(
        matches!(rig.reloader.reload_now().await, Ok(Reloaded::Replaced { .. })),
        "{:?}",
        rig.last_error()
    );
    assert_eq!(rig.acceptor.config().material.trust_bundle.subjects().collect::<Vec<_>>(), ["CN=\"felix\""]);
}

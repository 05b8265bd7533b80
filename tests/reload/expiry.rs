//! What is in force and about to expire, by the clock of the policy.

use std::time::Duration;

use crate::rig::*;

#[tokio::test(start_paused = true)]
async fn it_is_told_until_it_is_renewed() {
    let pki = Pki::new();
    let now = pki.clock.system_time();
    let year = 365 * DAY;
    let ca = typha_tls::testing::TestCa::new(
        typha_tls::testing::CertificateSpec::ca("a").valid(now, now + 10 * year),
    )
    .unwrap();
    let leaf =
        || ca.issue(typha_spec().valid(pki.clock.system_time(), pki.clock.system_time() + year)).unwrap();
    let config = pki.config(&[&ca], &leaf());
    let rig = Rig::start(config.clone(), Source::at_once(Act::Give(config))).await;
    seconds(300.0).await;
    assert_eq!(rig.log.take(), Vec::<String>::new());
    pki.clock.turn(340 * DAY);
    seconds(300.0).await;
    let told = rig.log.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("WARN our certificate CN=\"typha\" expires in 2"), "{told:?}");
    assert!(told[0].contains("certificate=own_leaf subject=CN=\"typha\" not_after=2"), "{told:?}");
    pki.clock.turn(30 * DAY);
    seconds(300.0).await;
    let told = rig.log.take();
    assert!(told.len() == 1 && told[0].starts_with("WARN our certificate CN=\"typha\" expired "), "{told:?}");
    let own = &rig.state().certificates[0];
    let now = rustls_pki_types::UnixTime::since_unix_epoch(
        pki.clock.system_time().duration_since(std::time::UNIX_EPOCH).unwrap(),
    );
    assert_eq!(own.time_left(now), None);
    assert_eq!(own.time_left(own.not_after), Some(Duration::ZERO));
    rig.source.set(Act::Give(pki.config(&[&ca], &leaf())));
    seconds(300.0).await;
    let told = rig.log.take();
    assert!(told.len() == 1 && told[0].starts_with("INFO configuration replaced generation=2"), "{told:?}");
}

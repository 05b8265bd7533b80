//! The review of one connection on a clock that stands still.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::endpoint::TyphaEndpoint;
use super::review::Review;
use crate::identity::RequiredIdentity;
use crate::lifetime::{ConnectionLifetime, DropReason, Ending, ExpiryPolicy, LostTrustPolicy, Standing};
use crate::policy::TlsPolicy;
use crate::testing::{CertificateSpec, TestCa, TestClock, TestLeaf, material};
use crate::{FelixConnector, Role, TlsConfig};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// A Typha of the first CA, and a Felix that trusts it for now.
struct Site {
    cas: [TestCa; 2],
    typha: TestLeaf,
    clock: TestClock,
    connector: FelixConnector,
    standing: Arc<Standing>,
    ending: Arc<Ending>,
}

impl Site {
    fn new() -> Self {
        let now = SystemTime::now();
        let ca = |name| TestCa::new(CertificateSpec::ca(name).valid(now - HOUR, now + 1000 * HOUR)).unwrap();
        let cas = [ca("one"), ca("two")];
        let typha = cas[0].issue(CertificateSpec::leaf("typha").valid(now - HOUR, now + HOUR)).unwrap();
        let clock = TestClock::new();
        let connector = FelixConnector::new(config(&cas[0], &typha, &clock));
        let peer = connector.verifier().verify(typha.chain(), Role::Typha, clock.now()).unwrap();
        let standing = Arc::new(Standing::new(peer, typha.chain(), 1));
        Self { cas, typha, clock, connector, standing, ending: Arc::default() }
    }

    fn trust(&self, ca: usize) {
        self.connector.replace(config(&self.cas[ca], &self.typha, &self.clock));
    }

    fn start(&self, lifetime: ConnectionLifetime) {
        let review = Review {
            endpoint: TyphaEndpoint::new(([127, 0, 0, 1], 1).into()),
            standing: self.standing.clone(),
            ending: self.ending.clone(),
            in_force: self.connector.in_force.clone(),
            lifetime,
        };
        tokio::spawn(review.run());
    }
}

fn config(ca: &TestCa, leaf: &TestLeaf, clock: &TestClock) -> TlsConfig {
    let policy = TlsPolicy::builder().time_provider(Arc::new(clock.clone())).build().unwrap();
    let material = material(ca, leaf, policy.provider()).unwrap();
    TlsConfig::new(material, RequiredIdentity::common_name("typha").unwrap(), policy)
}

#[tokio::test(start_paused = true)]
async fn it_ends_at_its_moment_within_the_minute_whatever_else_changes() {
    fastrand::seed(7);
    let mut moments = Vec::new();
    for _ in 0..30 {
        let site = Site::new();
        site.start(ConnectionLifetime::default());
        site.trust(1);
        let began = Instant::now();
        while site.ending.reason().is_none() {
            sleep(SECOND).await;
            // One that trusts it no more than the one before.
            site.trust(1);
            assert!(began.elapsed() <= 62 * SECOND, "it has put it off");
        }
        assert_eq!(site.ending.reason(), Some(DropReason::LostTrust));
        moments.push(began.elapsed().as_secs());
    }
    moments.sort_unstable();
    assert!(moments[0] < 20 && moments[29] > 40, "not spread: {moments:?}");
}

#[tokio::test(start_paused = true)]
async fn it_works_for_the_grace_and_no_longer() {
    let site = Site::new();
    let lifetime =
        ConnectionLifetime { on_lost_trust: LostTrustPolicy::CloseAtOnce, ..ConnectionLifetime::default() };
    site.start(lifetime);
    site.trust(1);
    sleep(SECOND / 1000).await;
    assert!(site.ending.told().is_cancelled() && !site.ending.is_cut());
    sleep(SECOND - SECOND / 500).await;
    assert!(!site.ending.is_cut());
    sleep(SECOND / 250).await;
    assert!(site.ending.is_cut());
}

#[tokio::test(start_paused = true)]
async fn it_stays_if_it_is_trusted_again_in_time() {
    fastrand::seed(7);
    let (mut stayed, mut gone) = (0, 0);
    for _ in 0..30 {
        let site = Site::new();
        site.start(ConnectionLifetime::default());
        site.trust(1);
        sleep(30 * SECOND).await;
        assert_eq!(site.standing.loss().unwrap().rejection().reason(), "unknown_ca");
        site.trust(0);
        let was_gone = site.ending.reason().is_some();
        sleep(HOUR).await;
        assert_eq!(site.ending.reason().is_some(), was_gone);
        *(if was_gone { &mut gone } else { &mut stayed }) += 1;
    }
    assert!(stayed > 3 && gone > 3, "{stayed} stayed, {gone} went");
}

#[tokio::test(start_paused = true)]
async fn expiry_ends_it_by_policy_only() {
    for (on_expiry, reason) in
        [(ExpiryPolicy::ReportOnly, None), (ExpiryPolicy::CloseAtExpiry, Some(DropReason::Expired))]
    {
        let site = Site::new();
        let on_lost_trust = LostTrustPolicy::CloseAtOnce;
        site.start(ConnectionLifetime { on_expiry, on_lost_trust, max_age: None });
        site.clock.set(site.standing.trusted_until());
        sleep(60 * SECOND).await;
        assert_eq!((site.standing.loss(), site.ending.reason()), (None, None));
        site.clock.advance(SECOND);
        sleep(6 * SECOND).await;
        assert_eq!(site.standing.loss().unwrap().rejection().reason(), "expired");
        assert_eq!(site.ending.reason(), reason);
    }
}

#[tokio::test(start_paused = true)]
async fn it_retires_in_the_last_tenth_of_its_age() {
    let site = Site::new();
    site.start(ConnectionLifetime { max_age: Some(100 * SECOND), ..ConnectionLifetime::default() });
    sleep(90 * SECOND - SECOND / 100).await;
    assert_eq!(site.ending.reason(), None);
    sleep(10 * SECOND + SECOND / 50).await;
    assert_eq!(site.ending.reason(), Some(DropReason::MaxAge));
}

//! The review with a paused clock and connections without a socket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls_pki_types::UnixTime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::connections::{Connections, Entry, Observer};
use super::{ClosePolicy, CloseReason, ConnectionLifetime, LostTrust, TrustState, review};
use crate::identity::RequiredIdentity;
use crate::material::TrustBundle;
use crate::policy::TlsPolicy;
use crate::role::Role;
use crate::stream::TcpShutdown;
use crate::testing::{CertificateSpec, TestCa, TestClock, TestLeaf, material};
use crate::tls_config::TlsConfig;
use crate::tls_context::{End, FelixEnd, InForce, TyphaEnd};
use crate::verifier::{PeerVerifier, VerifiedPeer};

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const AT_ONCE: ClosePolicy = ClosePolicy::CloseWithin(Duration::ZERO);

/// Two CAs, and an end without a socket that trusts both.
struct Site<E: End = TyphaEnd> {
    cas: [TestCa; 2],
    own: TestLeaf,
    clock: TestClock,
    in_force: InForce<E>,
    connections: Arc<Connections>,
    seen: Arc<Seen>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Seen {
    reported: Mutex<Vec<LostTrust>>,
    lost_trust: Mutex<BTreeMap<&'static str, usize>>,
    dropped: Mutex<BTreeMap<&'static str, usize>>,
}

impl Observer for Arc<Seen> {
    fn numbers(&self, _: usize, _: usize) {}

    fn close_requested(&self, reason: CloseReason, connections: usize) {
        *self.dropped.lock().unwrap().entry(reason.label()).or_default() += connections;
    }

    fn lost_trust(&self, lost: LostTrust) {
        *self.lost_trust.lock().unwrap().entry(lost.rejection.label()).or_default() += 1;
        self.reported.lock().unwrap().push(lost);
    }
}

impl Site {
    fn new(lifetime: ConnectionLifetime) -> Self {
        Self::of_end(lifetime)
    }
}

impl<E: End<Config = TlsConfig, Verifier = PeerVerifier>> Site<E> {
    fn of_end(lifetime: ConnectionLifetime) -> Self {
        let now = SystemTime::now();
        let ca = |name| TestCa::new(CertificateSpec::ca(name).valid(now - HOUR, now + 1000 * HOUR)).unwrap();
        let cas = [ca("one"), ca("two")];
        let (own, clock) = (cas[0].issue(CertificateSpec::leaf("own")).unwrap(), TestClock::new());
        let in_force = InForce::new(config(&[&cas[0], &cas[1]], &own, &clock, "peer"));
        let seen = Arc::<Seen>::default();
        let observer = Box::new(seen.clone());
        let connections = Connections::new(in_force.generations(), lifetime, SECOND, observer);
        Self {
            cas,
            own,
            clock,
            in_force,
            connections: Arc::new(connections),
            seen,
            stop: CancellationToken::new(),
        }
    }

    /// Replaces the configuration by one that trusts only these CAs.
    fn trust(&self, cas: &[usize]) -> u64 {
        self.require(cas, "peer")
    }

    fn require(&self, cas: &[usize], name: &str) -> u64 {
        let cas: Vec<_> = cas.iter().map(|&index| &self.cas[index]).collect();
        self.in_force.replace(config(&cas, &self.own, &self.clock, name))
    }

    fn leaf(&self, ca: usize, valid_for: Duration) -> TestLeaf {
        let now = SystemTime::now();
        let spec = CertificateSpec::leaf("peer").valid(now - HOUR, now + valid_for);
        self.cas[ca].issue(spec).unwrap()
    }

    /// The trust state of a connection that the configuration in force has accepted.
    fn trust_state(&self, leaf: &TestLeaf) -> TrustState {
        let context = self.in_force.current();
        let chain = context.verifier.verify(leaf.chain(), E::LOCAL.peer(), self.clock.now()).unwrap();
        TrustState::new(VerifiedPeer::proven(chain), leaf.chain(), context.generation)
    }

    fn enter(&self, trust: TrustState) -> Arc<Entry> {
        self.connections.add(([127, 0, 0, 1], 1).into(), trust, TcpShutdown::default())
    }

    fn connect(&self, leaf: &TestLeaf) -> Arc<Entry> {
        self.enter(self.trust_state(leaf))
    }

    fn many(&self, leaf: &TestLeaf, count: usize) -> Vec<Arc<Entry>> {
        (0..count).map(|_| self.connect(leaf)).collect()
    }

    /// Reviews as a listener does.
    fn start(&self) -> JoinHandle<()> {
        let (stop, connections) = (self.stop.clone(), self.connections.clone());
        let over = async move {
            stop.cancelled().await;
            connections.emptied().await;
        };
        tokio::spawn(review(self.in_force.clone(), self.connections.clone(), over))
    }

    /// The reasons reported since the last call.
    fn reported(&self) -> Vec<(&'static str, bool)> {
        let reported = std::mem::take(&mut *self.seen.reported.lock().unwrap());
        reported.iter().map(|lost| (lost.rejection.label(), lost.closes)).collect()
    }

    fn lost_trust(&self) -> BTreeMap<&'static str, usize> {
        self.seen.lost_trust.lock().unwrap().clone()
    }

    fn dropped(&self) -> BTreeMap<&'static str, usize> {
        self.seen.dropped.lock().unwrap().clone()
    }
}

fn config(cas: &[&TestCa], own: &TestLeaf, clock: &TestClock, name: &str) -> TlsConfig {
    let policy = TlsPolicy::builder().time_provider(Arc::new(clock.clone())).build().unwrap();
    let mut material = material(cas[0], own, policy.provider()).unwrap();
    material.trust_bundle = TrustBundle::from_der(cas.iter().map(|ca| ca.root().clone())).unwrap();
    TlsConfig::new(material, RequiredIdentity::common_name(name).unwrap(), policy)
}

fn lifetime(on_lost_trust: ClosePolicy, on_expiry: ClosePolicy) -> ConnectionLifetime {
    ConnectionLifetime { on_lost_trust, on_expiry, ..ConnectionLifetime::default() }
}

fn asked(entries: &[Arc<Entry>]) -> usize {
    entries.iter().filter(|entry| entry.close_reason().is_some()).count()
}

/// The clock is paused: lets everything happen that happens at once.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn lost_trust_is_closed_evenly_within_a_minute() {
    let site = Site::new(ConnectionLifetime::default());
    let [stay, go] = [0, 1].map(|ca| site.leaf(ca, HOUR));
    let [stay, go] = [site.many(&stay, 20), site.many(&go, 100)];
    site.start();
    settle().await;
    assert_eq!((asked(&stay), asked(&go)), (0, 0));

    let generation = site.trust(&[0]);
    let began = Instant::now();
    settle().await;
    assert_eq!(
        site.seen.reported.lock().unwrap().iter().filter(|lost| lost.generation == generation).count(),
        100
    );
    assert_eq!(site.reported(), [("unknown_ca", true); 100]);
    // 100 in 60 s: one each 600 ms, the first at once.
    for number in 1..=100 {
        assert_eq!(asked(&go), number, "after {:?}", began.elapsed());
        if number == 100 {
            assert_eq!(began.elapsed().as_millis(), 99 * 600 + 1);
        }
        sleep(Duration::from_millis(600)).await;
    }
    assert!(go.iter().all(|entry| entry.close_reason() == Some(CloseReason::LostTrust)));
    sleep(HOUR).await;
    assert_eq!(asked(&stay), 0);
    assert_eq!(site.lost_trust(), BTreeMap::from([("unknown_ca", 100)]));
    assert_eq!(site.dropped(), BTreeMap::from([("lost_trust", 100)]));
    assert!(site.reported().is_empty());
}

#[tokio::test(start_paused = true)]
async fn owners_have_their_grace() {
    let site = Site::new(lifetime(AT_ONCE, ClosePolicy::ReportOnly));
    let entry = site.connect(&site.leaf(1, HOUR));
    site.start();
    site.trust(&[0]);
    settle().await;
    assert!(entry.close_requested().is_cancelled() && !entry.is_force_closed());
    sleep(Duration::from_millis(990)).await;
    assert!(!entry.is_force_closed());
    sleep(Duration::from_millis(10)).await;
    assert!(entry.is_force_closed());
}

#[tokio::test(start_paused = true)]
async fn all_at_once_or_never() {
    for (policy, reason) in [(AT_ONCE, Some(CloseReason::LostTrust)), (ClosePolicy::ReportOnly, None)] {
        let site = Site::new(lifetime(policy, ClosePolicy::ReportOnly));
        let go = site.many(&site.leaf(1, HOUR), 50);
        site.start();
        site.trust(&[0]);
        settle().await;
        if reason.is_none() {
            sleep(100 * HOUR).await;
        }
        assert!(go.iter().all(|entry| entry.close_reason() == reason), "{policy:?}");
        assert_eq!(site.reported(), vec![("unknown_ca", reason.is_some()); 50], "{policy:?}");
        assert_eq!(go[0].trust.loss().unwrap().rejection.label(), "unknown_ca");
    }
}

#[tokio::test(start_paused = true)]
async fn another_required_identity_counts() {
    let site = Site::new(lifetime(AT_ONCE, ClosePolicy::ReportOnly));
    let entry = site.connect(&site.leaf(0, HOUR));
    site.start();
    site.require(&[0, 1], "somebody else");
    settle().await;
    assert_eq!(entry.close_reason(), Some(CloseReason::LostTrust));
    assert_eq!(site.reported(), [("identity_mismatch", true)]);
}

#[tokio::test(start_paused = true)]
async fn who_is_trusted_again_before_its_turn_stays() {
    let site = Site::new(ConnectionLifetime::default());
    let go = site.many(&site.leaf(1, HOUR), 10);
    site.start();
    site.trust(&[0]);
    sleep(13 * Duration::from_secs(1)).await;
    assert_eq!(asked(&go), 3, "at 0, 6 and 12 s");
    site.trust(&[0, 1]);
    sleep(5 * MINUTE).await;
    assert_eq!(asked(&go), 3);
    assert_eq!(go.iter().filter(|entry| entry.trust.loss().is_none()).count(), 7);
    // And anew.
    site.reported();
    site.trust(&[0]);
    sleep(MINUTE).await;
    assert_eq!(asked(&go), 10);
    assert_eq!(site.reported(), [("unknown_ca", true); 7]);
}

#[tokio::test(start_paused = true)]
async fn who_loses_it_again_gets_another_turn() {
    let site = Site::new(ConnectionLifetime::default());
    let go = site.many(&site.leaf(1, HOUR), 10);
    site.start();
    for cas in [&[0][..], &[0, 1], &[0]] {
        site.trust(cas);
        sleep(Duration::from_secs(1)).await;
    }
    // One at 0 s, then nine from 2 s on, one every 6.67 s. In the first schedule, the next would have been at 6 s.
    sleep(Duration::from_millis(5600)).await;
    assert_eq!(asked(&go), 2);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(asked(&go), 3);
}

#[tokio::test(start_paused = true)]
async fn expiry_is_reported_once_and_closed_only_by_policy() {
    for (policy, reason) in [(ClosePolicy::ReportOnly, None), (AT_ONCE, Some(CloseReason::Expired))] {
        let site = Site::new(lifetime(AT_ONCE, policy));
        let [short, long] = [HOUR, 2 * HOUR].map(|valid_for| site.connect(&site.leaf(0, valid_for)));
        site.start();
        // The last second in which it is valid.
        site.clock.set(short.trust.peer().trusted_until());
        sleep(MINUTE).await;
        assert!(site.reported().is_empty());
        site.clock.advance(Duration::from_secs(1));
        sleep(Duration::from_secs(6)).await;
        assert_eq!(site.reported(), [("expired", reason.is_some())]);
        sleep(HOUR).await;
        assert_eq!((short.close_reason(), long.close_reason()), (reason, None));
        assert!(site.reported().is_empty(), "{policy:?}");
        assert_eq!(site.lost_trust(), BTreeMap::from([("expired", 1)]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_back_and_forth() {
    let site = Site::new(lifetime(AT_ONCE, AT_ONCE));
    let entry = site.connect(&site.leaf(0, HOUR));
    let now = site.clock.now();
    site.start();
    // A time before everything was valid, and a new configuration.
    site.clock.set(UnixTime::since_unix_epoch(HOUR));
    site.trust(&[0]);
    sleep(MINUTE).await;
    assert_eq!(site.reported(), [("not_yet_valid", false)]);
    site.clock.set(now);
    sleep(MINUTE).await;
    assert_eq!((entry.trust.loss(), entry.close_reason()), (None, None));

    // Far in the future. If the connection were not closed, it would be trusted again.
    let site = Site::new(ConnectionLifetime::default());
    let entry = site.connect(&site.leaf(0, HOUR));
    site.start();
    for _ in 0..3 {
        site.clock.advance(100 * HOUR);
        sleep(MINUTE).await;
        assert_eq!(site.reported(), [("expired", false)]);
        site.clock.set(now);
        sleep(MINUTE).await;
        assert_eq!((entry.trust.loss(), entry.close_reason()), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn expiry_does_not_hide_that_the_ca_is_gone() {
    let site = Site::new(ConnectionLifetime::default());
    let entry = site.connect(&site.leaf(1, HOUR));
    site.start();
    site.clock.advance(2 * HOUR);
    sleep(MINUTE).await;
    assert_eq!(site.reported(), [("expired", false)]);
    site.trust(&[0]);
    settle().await;
    assert_eq!(site.reported(), [("unknown_ca", true)]);
    assert_eq!(entry.close_reason(), Some(CloseReason::LostTrust));

    // The same if both come together.
    let site = Site::new(ConnectionLifetime::default());
    let entry = site.connect(&site.leaf(1, HOUR));
    site.clock.advance(2 * HOUR);
    site.trust(&[0]);
    site.start();
    settle().await;
    assert_eq!(site.reported(), [("unknown_ca", true)]);
    assert_eq!(entry.close_reason(), Some(CloseReason::LostTrust));
}

/// A handshake that began with the old configuration and ends after the review of the others.
#[tokio::test(start_paused = true)]
async fn who_comes_late_is_judged_at_once() {
    let site = Site::new(ConnectionLifetime::default());
    let [good, bad] = [0, 1].map(|ca| site.trust_state(&site.leaf(ca, HOUR)));
    site.start();
    site.trust(&[0]);
    sleep(Duration::from_secs(1)).await;
    let [good, bad] = [good, bad].map(|trust| site.enter(trust));
    settle().await;
    assert_eq!((good.close_reason(), bad.close_reason()), (None, Some(CloseReason::LostTrust)));
    assert_eq!(good.trust.generation(), 2);
}

/// The review has loaded a configuration, which is replaced before it goes over the connections.
#[tokio::test(start_paused = true)]
async fn nobody_is_judged_by_an_older_configuration_than_before() {
    let site = Site::new(ConnectionLifetime::default());
    let old = site.in_force.current().generation;
    site.trust(&[0, 1]);
    let entry = site.connect(&site.leaf(0, HOUR));
    assert!(!entry.trust.is_due(old, site.clock.now()));
    site.clock.advance(2 * HOUR);
    assert!(!entry.trust.is_due(old, site.clock.now()));
    assert!(entry.trust.is_due(old + 1, site.clock.now()));
}

/// `cargo test --release --lib -- --ignored --nocapture ten_thousand`.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
#[ignore = "it measures, and is slow unless optimised"]
async fn closing_ten_thousand_takes_less_than_a_second_of_processor_time() {
    let site = Site::new(ConnectionLifetime::default());
    let one = site.leaf(1, 1000 * HOUR);
    let entries = site.many(&one, 10_000);
    site.start();
    settle().await;
    site.trust(&[0]);
    let began = processor_time();
    sleep(61 * Duration::from_secs(1)).await;
    let took = processor_time() - began;
    assert_eq!(asked(&entries), 10_000);
    println!("10,000 are asked within 60 s: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn connections_retire_at_their_age() {
    fastrand::seed(7);
    let lifetime = ConnectionLifetime { max_age: Some(100 * MINUTE), ..ConnectionLifetime::default() };
    let site = Site::new(lifetime);
    let old = site.many(&site.leaf(0, HOUR), 200);
    site.start();
    sleep(45 * MINUTE).await;
    let young = site.connect(&site.leaf(0, HOUR));
    sleep(45 * MINUTE - Duration::from_secs(1)).await;
    assert_eq!(asked(&old), 0);
    // The last tenth of the age, at random.
    sleep(5 * MINUTE).await;
    let half = asked(&old);
    assert!((50..150).contains(&half), "{half}");
    sleep(5 * MINUTE + Duration::from_secs(1)).await;
    assert!(old.iter().all(|entry| entry.close_reason() == Some(CloseReason::MaxAge)));
    assert_eq!(young.close_reason(), None);
    assert_eq!(site.dropped(), BTreeMap::from([("max_age", 200)]));
}

#[tokio::test(start_paused = true)]
async fn the_review_outlives_the_listener_but_not_the_connections() {
    let site = Site::new(lifetime(AT_ONCE, ClosePolicy::ReportOnly));
    let entry = site.connect(&site.leaf(1, HOUR));
    let review = site.start();
    settle().await;
    site.stop.cancel();
    site.trust(&[0]);
    settle().await;
    assert_eq!(entry.close_reason(), Some(CloseReason::LostTrust));
    assert!(!review.is_finished());
    site.connections.remove(&entry);
    review.await.unwrap();
}

/// The CA is removed and put back, and meanwhile the leaves expire, for which there is more time.
#[tokio::test(start_paused = true)]
async fn another_loss_has_its_own_time() {
    let lifetime = lifetime(ClosePolicy::CloseWithin(MINUTE), ClosePolicy::CloseWithin(10 * HOUR));
    let site = Site::new(lifetime);
    let go = site.many(&site.leaf(1, HOUR), 100);
    site.start();
    site.clock.advance(2 * HOUR);
    site.trust(&[0]);
    settle().await;
    assert_eq!(asked(&go), 1, "the first at once");
    site.trust(&[0, 1]);
    sleep(2 * MINUTE).await;
    assert_eq!(asked(&go), 2, "the first of those that have expired at once");
    sleep(10 * HOUR).await;
    let expired = go.iter().filter(|entry| entry.close_reason() == Some(CloseReason::Expired)).count();
    assert_eq!((asked(&go), expired), (100, 99));
}

#[tokio::test(start_paused = true)]
async fn connections_that_have_ended_are_not_kept() {
    let site = Site::new(lifetime(ClosePolicy::CloseWithin(500 * HOUR), ClosePolicy::ReportOnly));
    let go = site.many(&site.leaf(1, HOUR), 50);
    site.start();
    site.trust(&[0]);
    settle().await;
    go.iter().for_each(|entry| site.connections.remove(entry));
    sleep(MINUTE).await;
    assert!(go.iter().all(|entry| Arc::strong_count(entry) == 1));
}

/// The review has begun before the connection came.
#[tokio::test(start_paused = true)]
async fn a_short_maximum_age_is_kept() {
    let site = Site::new(ConnectionLifetime { max_age: Some(SECOND / 2), ..ConnectionLifetime::default() });
    site.start();
    sleep(SECOND / 10).await;
    let entry = site.connect(&site.leaf(0, HOUR));
    sleep(SECOND / 2 + SECOND / 100).await;
    assert_eq!(entry.close_reason(), Some(CloseReason::MaxAge));
}

/// Felix's end, which has one connection.
fn felix(lifetime: ConnectionLifetime) -> (Site<FelixEnd>, Arc<Entry>) {
    let site = Site::of_end(lifetime);
    let entry = site.connect(&site.leaf(0, HOUR));
    site.start();
    (site, entry)
}

#[tokio::test(start_paused = true)]
async fn felix_closes_at_its_moment_within_the_minute_whatever_else_changes() {
    fastrand::seed(7);
    let mut moments = Vec::new();
    for _ in 0..30 {
        let (site, entry) = felix(ConnectionLifetime::default());
        site.trust(&[1]);
        let began = Instant::now();
        while entry.close_reason().is_none() {
            sleep(SECOND).await;
            // Another configuration that does not trust it either.
            site.trust(&[1]);
            assert!(began.elapsed() <= 62 * SECOND, "it has put it off");
        }
        assert_eq!(entry.close_reason(), Some(CloseReason::LostTrust));
        moments.push(began.elapsed().as_secs());
    }
    moments.sort_unstable();
    assert!(moments[0] < 20 && moments[29] > 40, "not spread: {moments:?}");
}

#[tokio::test(start_paused = true)]
async fn felix_stays_if_typha_is_trusted_again_in_time() {
    fastrand::seed(7);
    let (mut stayed, mut gone) = (0, 0);
    for _ in 0..30 {
        let (site, entry) = felix(ConnectionLifetime::default());
        site.trust(&[1]);
        sleep(30 * SECOND).await;
        assert_eq!(entry.trust.loss().unwrap().rejection.label(), "unknown_ca");
        site.trust(&[0]);
        let was_gone = entry.close_reason().is_some();
        sleep(HOUR).await;
        assert_eq!(entry.close_reason().is_some(), was_gone);
        *(if was_gone { &mut gone } else { &mut stayed }) += 1;
    }
    assert!(stayed > 3 && gone > 3, "{stayed} stayed, {gone} went");
}

#[tokio::test(start_paused = true)]
async fn felix_closes_at_expiry_by_policy_only() {
    for (on_expiry, reason) in [(ClosePolicy::ReportOnly, None), (AT_ONCE, Some(CloseReason::Expired))] {
        let (site, entry) = felix(ConnectionLifetime { on_expiry, on_lost_trust: AT_ONCE, max_age: None });
        site.clock.set(entry.trust.peer().trusted_until());
        sleep(60 * SECOND).await;
        assert_eq!((entry.trust.loss(), entry.close_reason()), (None, None));
        site.clock.advance(SECOND);
        sleep(6 * SECOND).await;
        assert_eq!(entry.trust.loss().unwrap().rejection.label(), "expired");
        assert_eq!(entry.close_reason(), reason);
    }
}

#[tokio::test(start_paused = true)]
async fn felix_retires_in_the_last_tenth_of_its_age() {
    let lifetime = ConnectionLifetime { max_age: Some(100 * SECOND), ..ConnectionLifetime::default() };
    let (_site, entry) = felix(lifetime);
    sleep(90 * SECOND - SECOND / 100).await;
    assert_eq!(entry.close_reason(), None);
    sleep(10 * SECOND + SECOND / 50).await;
    assert_eq!(entry.close_reason(), Some(CloseReason::MaxAge));
}

/// Processor time of this thread, which runs everything here.
#[cfg(target_os = "linux")]
fn processor_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.unsigned_abs() as u32)
}

/// The cost that the documentation states: `cargo test --release --lib -- --ignored --nocapture judged_again`.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
#[ignore = "it measures, and is slow unless optimised"]
async fn ten_thousand_are_judged_again_within_a_second_of_processor_time() {
    let site = Site::new(ConnectionLifetime::default());
    let entries: Vec<_> = (0..10_000).map(|_| site.connect(&site.leaf(0, HOUR))).collect();
    let one = site.leaf(1, HOUR);
    let same: Vec<_> = (0..10_000).map(|_| site.connect(&one)).collect();
    site.start();
    settle().await;
    for (what, cas) in [("all stay", &[0, 1][..]), ("the 10,000 with one chain go", &[0])] {
        let generation = site.trust(cas);
        let began = processor_time();
        while entries.iter().chain(&same).any(|entry| entry.trust.generation() != generation) {
            tokio::task::yield_now().await;
        }
        let took = processor_time() - began;
        println!("{what}: {took:?} for 10,000 different chains and 10,000 times the same one");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

/// Thousands of Felixes may share one certificate.
#[tokio::test]
async fn equal_chains_are_kept_once() {
    let site = Site::new(ConnectionLifetime::default());
    let [one, other] = [0, 1].map(|ca| site.leaf(ca, HOUR));
    let mut entries = site.many(&one, 10);
    let another = site.connect(&other);
    assert!(entries.iter().all(|entry| Arc::ptr_eq(&entry.trust.chain, &entries[0].trust.chain)));
    assert_eq!((&*another.trust.chain, &*entries[0].trust.chain), (other.chain(), one.chain()));
    // The same leaf in another chain.
    let context = site.in_force.current();
    let longer = [one.chain(), &[site.cas[0].root().clone()]].concat();
    let chain = context.verifier.verify(&longer, Role::Felix, site.clock.now()).unwrap();
    let longer = site.enter(TrustState::new(VerifiedPeer::proven(chain), &longer, context.generation));
    assert_eq!(longer.trust.chain.len(), one.chain().len() + 1);

    let (kept, last) = (Arc::downgrade(&entries[0].trust.chain), entries.pop().unwrap());
    for entry in entries.drain(..).chain([another, longer]) {
        site.connections.remove(&entry);
    }
    assert!(Arc::ptr_eq(&site.connect(&one).trust.chain, &last.trust.chain));
    assert_eq!(site.connections.count(), 2);
    for entry in site.connections.staying() {
        site.connections.remove(&entry);
    }
    drop(last);
    assert_eq!((site.connections.count(), kept.strong_count()), (0, 0));
}

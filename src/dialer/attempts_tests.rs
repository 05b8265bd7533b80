//! The Typhas that a `connect` tries and when, on a simulated network with a paused clock.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;

use rustls::AlertDescription;
use rustls_pki_types::UnixTime;
use tokio::time::{advance, sleep};

use super::*;
use crate::dialer::EndpointSource;
use crate::error::HandshakePhase;
use crate::identity::PeerIdentity;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const FAR_AWAY: Duration = Duration::from_secs(999);

/// How a Typha answers. Typhas are identified by their ports.
#[derive(Clone, Copy)]
enum Typha {
    /// Refuses TCP.
    Closed,
    /// Never answers a SYN.
    BlackHole,
    /// Answers the SYN after this delay; then performs TLS, or not.
    Open(Duration, Tls),
}

#[derive(Clone, Copy)]
enum Tls {
    Accepts,
    /// Accepts after this delay.
    AcceptsAfter(Duration),
    Refuses(AlertDescription),
    /// Closes the connection.
    Breaks,
    SaysNothing,
}

const GOOD: Typha = Typha::Open(Duration::ZERO, Tls::Accepts);
const SILENT: Typha = Typha::Open(Duration::ZERO, Tls::SaysNothing);
const REFUSING: Typha = Typha::Open(Duration::ZERO, Tls::Refuses(AlertDescription::AccessDenied));

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Dials(u16),
    Speaks(u16),
}
use Event::{Dials, Speaks};

struct Network {
    typhas: BTreeMap<u16, Typha>,
    /// Our own leaf, if it is not valid.
    invalid_leaf: Option<OwnLeaf>,
    began: Instant,
    events: Mutex<Vec<(u128, Event)>>,
    open: Arc<AtomicUsize>,
    most_spoken_to: AtomicUsize,
}

/// A connection, or a dial, that is counted while it lives.
struct Open(u16, Arc<AtomicUsize>);

impl Open {
    fn new(port: u16, open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, SeqCst);
        Self(port, open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

impl Network {
    fn new(typhas: impl IntoIterator<Item = (u16, Typha)>) -> Self {
        Self {
            typhas: typhas.into_iter().collect(),
            invalid_leaf: None,
            began: Instant::now(),
            events: Mutex::default(),
            open: Arc::default(),
            most_spoken_to: AtomicUsize::default(),
        }
    }

    fn all(ports: std::ops::RangeInclusive<u16>, typha: Typha) -> Self {
        Self::new(ports.map(|port| (port, typha)))
    }

    fn note(&self, event: Event) {
        self.events.lock().unwrap().push((self.began.elapsed().as_millis(), event));
    }

    /// The events, with the time in milliseconds from the beginning.
    fn events(&self) -> Vec<(u128, Event)> {
        self.events.lock().unwrap().clone()
    }

    fn dialled(&self) -> Vec<u16> {
        let dialled = |(_, event)| if let Dials(port) = event { Some(port) } else { None };
        self.events().into_iter().filter_map(dialled).collect()
    }
}

impl Transport for Network {
    type Tcp = Open;
    type Stream = Open;

    async fn dial(&self, address: SocketAddr) -> io::Result<Open> {
        let port = address.port();
        self.note(Dials(port));
        let tcp = Open::new(port, &self.open);
        match self.typhas[&port] {
            Typha::Closed => Err(io::ErrorKind::ConnectionRefused.into()),
            Typha::BlackHole => pending().await,
            Typha::Open(after, _) => {
                sleep(after).await;
                Ok(tcp)
            }
        }
    }

    async fn handshake(&self, tcp: Open, after: Duration, deadline: Instant) -> Result<Open, HandshakeError> {
        self.note(Speaks(tcp.0));
        self.most_spoken_to.fetch_max(self.open.load(SeqCst), SeqCst);
        let Typha::Open(_, tls) = self.typhas[&tcp.0] else { panic!("no connection") };
        match tls {
            Tls::Accepts => Ok(tcp),
            Tls::AcceptsAfter(time) => {
                sleep(time).await;
                Ok(tcp)
            }
            Tls::Refuses(alert) => Err(HandshakeError::RefusedByPeer { alert }),
            Tls::Breaks => Err(HandshakeError::Closed { phase: HandshakePhase::Negotiating }),
            Tls::SaysNothing => {
                sleep_until(deadline).await;
                Err(HandshakeError::TimedOut { phase: HandshakePhase::AwaitingFirstByte, after })
            }
        }
    }

    fn invalid_own_leaf(&self) -> Option<OwnLeaf> {
        self.invalid_leaf.clone()
    }
}

/// The answers of a source. The last one is repeated.
struct Script(Mutex<VecDeque<Answer>>);

#[derive(Clone)]
enum Answer {
    Found(Vec<TyphaEndpoint>),
    FoundAfter(Duration, Vec<TyphaEndpoint>),
    Fails,
    Hangs,
}
use Answer::{Fails, Found, FoundAfter, Hangs};

impl EndpointSource for Script {
    async fn endpoints(&self) -> Result<Vec<TyphaEndpoint>, DiscoveryError> {
        let answer = {
            let mut answers = self.0.lock().unwrap();
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
        };
        match answer {
            Found(endpoints) => Ok(endpoints),
            FoundAfter(time, endpoints) => {
                sleep(time).await;
                Ok(endpoints)
            }
            Fails => Err(DiscoveryError::new("the source fails")),
            Hangs => pending().await,
        }
    }
}

fn endpoint(port: u16) -> TyphaEndpoint {
    SocketAddr::from(([192, 0, 2, 1], port)).into()
}

fn endpoints(ports: impl IntoIterator<Item = u16>) -> Vec<TyphaEndpoint> {
    ports.into_iter().map(endpoint).collect()
}

/// The first Typha is on our node, which fixes the order.
fn in_order(first: u16, second: u16) -> Answer {
    Found(vec![endpoint(first).on_node(OWN), endpoint(second)])
}

const OWN: &str = "own";

struct Dialer {
    network: Network,
    source: Arc<dyn AnySource>,
    known: Mutex<Known>,
    limits: DialerLimits,
    waits: Mutex<Vec<u128>>,
}

type Outcome = Result<u16, DialError>;

impl Dialer {
    fn new(network: Network, answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            network,
            source: Arc::new(Script(Mutex::new(answers.into_iter().collect()))),
            known: Mutex::default(),
            limits: DialerLimits::default(),
            waits: Mutex::default(),
        }
    }

    /// All Typhas of the network are found, always.
    fn of(network: Network) -> Self {
        let found = Found(endpoints(network.typhas.keys().copied()));
        Self::new(network, [found])
    }

    async fn connect(&self) -> Outcome {
        let progress = |progress| {
            if let Progress::BackingOff { until } = progress {
                let wait = until.duration_since(Instant::now());
                self.waits.lock().unwrap().push(wait.as_millis());
            }
        };
        let context = Context {
            transport: &self.network,
            source: &self.source,
            known: &self.known,
            limits: &self.limits,
            own_node: Some(OWN),
            progress: &progress,
        };
        let (endpoint, stream) = Attempts::new(context).connect().await?;
        assert_eq!(endpoint.address.port(), stream.0);
        Ok(stream.0)
    }

    fn elapsed(&self) -> u128 {
        self.network.began.elapsed().as_millis()
    }
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values
}

fn tried(error: &DialError) -> Vec<(u16, &'static str)> {
    error.attempts().iter().map(|a| (a.endpoint.address.port(), a.error.label())).collect()
}

#[tokio::test(start_paused = true)]
async fn every_one_once_before_any_twice_and_as_often_as_calico() {
    for (typhas, max_tries, tries) in [
        (1, None, 6),
        (2, None, 6),
        (3, None, 6),
        (4, None, 8),
        (7, None, 14),
        (3, Some(1), 1),
        (3, Some(5), 5),
    ] {
        let mut dialer = Dialer::of(Network::all(1..=typhas, Typha::Closed));
        dialer.limits.max_tries = max_tries;
        let error = dialer.connect().await.unwrap_err();
        assert_eq!(error.label(), "tries_used_up");
        let dialled = dialer.network.dialled();
        assert_eq!(dialled.len(), tries, "{typhas} Typhas, max_tries {max_tries:?}");
        assert_eq!(tried(&error), dialled.iter().map(|port| (*port, "dial")).collect::<Vec<_>>());
        for round in dialled.chunks(typhas.into()) {
            let mut different = sorted(round.to_vec());
            different.dedup();
            assert_eq!(different.len(), round.len(), "{dialled:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_back_off_is_between_rounds_only() {
    let mut dialer = Dialer::of(Network::all(1..=2, Typha::Closed));
    dialer.limits.max_tries = Some(12);
    dialer.connect().await.unwrap_err();
    let times: Vec<_> = dialer.network.events().into_iter().map(|(time, _)| time).collect();
    let waits = dialer.waits.lock().unwrap().clone();
    assert_eq!(waits.len(), 5);
    for (round, wait) in waits.iter().enumerate() {
        let base = 100 << round;
        assert!((base - 1..=2 * base).contains(wait), "{waits:?}");
        let (begin, next) = (times[2 * round], times[2 * round + 2]);
        assert_eq!(times[2 * round + 1], begin, "no delay inside a round: {times:?}");
        assert!(next - begin >= *wait && next - begin <= wait + 2, "{times:?} {waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_round_takes_no_time() {
    let mut dialer = Dialer::of(Network::all(1..=50, Typha::Closed));
    dialer.limits.max_rounds = Some(1);
    let error = dialer.connect().await.unwrap_err();
    assert_eq!((sorted(dialer.network.dialled()), dialer.elapsed()), ((1..=50).collect(), 0));
    assert_eq!(error.attempts().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn what_appears_is_tried_at_once_and_what_is_gone_last() {
    let network = Network::new([(1, Typha::Closed), (2, Typha::Closed), (3, Typha::Closed), (4, GOOD)]);
    let answers =
        [Found(endpoints([1])), Found(endpoints([2, 3])), Found(endpoints([2])), Found(endpoints([4]))];
    let dialer = Dialer::new(network, answers);
    assert_eq!(dialer.connect().await.unwrap(), 4);
    let dialled = dialer.network.dialled();
    assert_eq!((dialled[0], dialled.len(), dialer.elapsed()), (1, 4, 0));
    assert_eq!(dialled[3], 4);
}

#[tokio::test(start_paused = true)]
async fn typhas_that_come_and_go_do_not_make_the_tries_endless() {
    let mut dialer =
        Dialer::new(Network::all(1..=500, Typha::Closed), (1..=500).map(|port| Found(endpoints([port]))));
    assert_eq!(tried(&dialer.connect().await.unwrap_err()).len(), 6);
    // Known Typhas count from the beginning, one for each query of the source.
    assert_eq!(tried(&dialer.connect().await.unwrap_err()).len(), 14);
    dialer.known = Mutex::default();
    dialer.source = Dialer::new(Network::new([]), [Found(endpoints([1])), Found(endpoints(2..=9))]).source;
    assert_eq!(tried(&dialer.connect().await.unwrap_err()).len(), 16);
}

#[tokio::test(start_paused = true)]
async fn one_that_appears_ends_the_back_off() {
    let network = Network::new([(1, Typha::Closed), (2, GOOD)]);
    let answers = [Found(endpoints([1])), FoundAfter(300 * MS, endpoints([2]))];
    let mut dialer = Dialer::new(network, answers);
    dialer.limits.backoff_first = 5 * SECOND;
    assert_eq!(dialer.connect().await.unwrap(), 2);
    // The round ends when the wait for the search is over; then the search ends.
    assert_eq!(dialer.network.events(), [(0, Dials(1)), (300, Dials(2)), (300, Speaks(2))]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_or_hangs_does_not_stop_it() {
    let mut dialer = Dialer::new(Network::all(1..=2, Typha::Closed), [Found(endpoints(1..=2)), Fails]);
    dialer.limits.max_tries = Some(4);
    let error = dialer.connect().await.unwrap_err();
    assert_eq!(error.attempts().len(), 4);
    let failed = "; the last search for Typhas failed too: the source fails";
    assert!(error.to_string().ends_with(failed), "{error}");

    let network = Network::new([(1, Typha::Closed), (2, Typha::Closed), (3, GOOD)]);
    let dialer = Dialer::new(network, [Found(endpoints(1..=3)), Hangs]);
    dialer.known.lock().unwrap().found(endpoints(1..=3), Instant::now(), FAR_AWAY);
    lock(&dialer.known).avoid(endpoint(3).address, deadline_in(FAR_AWAY));
    assert_eq!(dialer.connect().await.unwrap(), 3);
    // One search hangs, and is waited for once.
    let times: Vec<_> = dialer.network.events().into_iter().map(|(time, _)| time).collect();
    assert_eq!(times, [0, 250, 250, 250]);
}

#[tokio::test(start_paused = true)]
async fn what_was_known_is_tried_although_the_source_hangs() {
    let dialer = Dialer::new(Network::all(1..=1, GOOD), [Hangs]);
    dialer.known.lock().unwrap().found(endpoints([1]), Instant::now(), FAR_AWAY);
    assert_eq!((dialer.connect().await.unwrap(), dialer.elapsed()), (1, 250));
}

#[tokio::test(start_paused = true)]
async fn nothing_found_is_an_error_at_once() {
    for (answer, text, after) in [
        (Fails, "the source fails", 0),
        (Found(Vec::new()), "the endpoint source returned no Typha", 0),
        (Hangs, "the search for Typhas took longer than 10s", 10_000),
    ] {
        let dialer = Dialer::new(Network::new([]), [answer]);
        let error = dialer.connect().await.unwrap_err();
        assert_eq!((error.label(), error.attempts().len()), ("no_endpoints", 0));
        assert_eq!(WithCauses(&error).to_string(), format!("no Typha is known: {text}"));
        assert_eq!(dialer.elapsed(), after);
    }
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_costs_a_head_start() {
    let dialer = Dialer::new(Network::new([(1, Typha::BlackHole), (2, GOOD)]), [in_order(1, 2)]);
    assert_eq!(dialer.connect().await.unwrap(), 2);
    assert_eq!(dialer.network.events(), [(0, Dials(1)), (250, Dials(2)), (250, Speaks(2))]);
    assert_eq!(dialer.network.open.load(SeqCst), 0, "the loser's dial has ended");
    // The Typha that lost the race is not bad: it is first again.
    assert_eq!(dialer.connect().await.unwrap(), 2);
    assert_eq!(dialer.network.dialled(), [1, 2, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_first_that_answers_wins_the_slow_one_too() {
    for (slow, winner) in [(299, 1), (301, 2)] {
        let network = Network::new([
            (1, Typha::Open(slow * MS, Tls::Accepts)),
            (2, Typha::Open(50 * MS, Tls::Accepts)),
        ]);
        let dialer = Dialer::new(network, [in_order(1, 2)]);
        assert_eq!(dialer.connect().await.unwrap(), winner);
        assert_eq!(dialer.network.dialled(), [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_loser_has_its_turn_when_the_winner_fails() {
    let network = Network::new([(1, Typha::Open(400 * MS, Tls::Accepts)), (2, REFUSING), (3, Typha::Closed)]);
    let found = vec![endpoint(1).on_node(OWN), endpoint(2), endpoint(3)];
    let dialer = Dialer::new(network, [Found(found)]);
    assert_eq!(dialer.connect().await.unwrap(), 1);
    let events: Vec<_> = dialer.network.events().into_iter().collect();
    assert_eq!(events[0], (0, Dials(1)));
    // 2 refused, 3 closed: both at once, in either order, before 1 has another turn, or wins while they do.
    assert_eq!(events.last().unwrap().1, Speaks(1));
    let before: Vec<_> = events.iter().map(|(_, event)| *event).collect();
    assert!(before.contains(&Speaks(2)), "{events:?}");
    assert_eq!(events.iter().filter(|(_, event)| *event == Dials(2)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails_beside_another_starts_the_next() {
    let network = Network::new([(1, Typha::BlackHole), (2, Typha::Closed), (3, Typha::Closed), (4, GOOD)]);
    let found = vec![endpoint(1).on_node(OWN), endpoint(2), endpoint(3), endpoint(4)];
    let dialer = Dialer::new(network, [Found(found)]);
    assert_eq!(dialer.connect().await.unwrap(), 4);
    let events = dialer.network.events();
    assert_eq!(events[0], (0, Dials(1)));
    assert!(events[1..].iter().all(|(time, _)| *time == 250), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn each_dial_has_its_own_ten_seconds() {
    let mut dialer = Dialer::of(Network::all(1..=3, Typha::BlackHole));
    dialer.limits.max_rounds = Some(1);
    let error = dialer.connect().await.unwrap_err();
    let times: Vec<_> = dialer.network.events().into_iter().map(|(time, _)| time).collect();
    assert_eq!((times, dialer.elapsed()), (vec![0, 250, 500], 10_500));
    for attempt in error.attempts() {
        assert!(matches!(*attempt.error, AttemptError::DialTimedOut { after } if after == 10 * SECOND));
        assert_eq!(attempt.took.as_millis(), 10_000);
    }
    assert_eq!(error.attempts().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn dials_under_way_count_as_tries() {
    let mut dialer = Dialer::of(Network::all(1..=3, Typha::BlackHole));
    dialer.limits.max_tries = Some(2);
    let error = dialer.connect().await.unwrap_err();
    assert_eq!((error.attempts().len(), dialer.network.dialled().len(), dialer.elapsed()), (2, 2, 10_250));
}

#[tokio::test(start_paused = true)]
async fn one_tls_handshake_at_a_time() {
    let slow = Typha::Open(200 * MS, Tls::SaysNothing);
    let mut dialer = Dialer::new(Network::new([(1, slow), (2, SILENT)]), [in_order(1, 2)]);
    dialer.limits.max_rounds = Some(1);
    let error = dialer.connect().await.unwrap_err();
    // The bound runs from the dial on.
    let events = [(0, Dials(1)), (200, Speaks(1)), (10_000, Dials(2)), (10_000, Speaks(2))];
    assert_eq!((dialer.network.events(), dialer.elapsed()), (events.to_vec(), 20_000));
    assert_eq!(tried(&error), [(1, "timed_out"), (2, "timed_out")]);
    assert_eq!(dialer.network.most_spoken_to.load(SeqCst), 1);

    // A slow TLS handshake does not start another dial either.
    let slow = Typha::Open(Duration::ZERO, Tls::AcceptsAfter(9 * SECOND));
    let dialer = Dialer::new(Network::new([(1, slow), (2, GOOD)]), [in_order(1, 2)]);
    assert_eq!((dialer.connect().await.unwrap(), dialer.network.dialled()), (1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn the_overall_bound_ends_the_attempt_under_way() {
    let mut dialer = Dialer::of(Network::all(1..=1, Typha::BlackHole));
    dialer.limits.connect_timeout = 15 * SECOND;
    let error = dialer.connect().await.unwrap_err();
    assert_eq!((error.label(), dialer.elapsed()), ("timed_out", 15_000));
    assert!(matches!(&error, DialError::TimedOut { after, .. } if *after == 15 * SECOND));
    assert_eq!(tried(&error), [(1, "dial_timed_out"), (1, "dial_timed_out")]);
    assert!(error.attempts()[1].took < 5 * SECOND, "{error:?}");

    // The timeout also ends the wait between rounds. An attempt that it shortened does not make the Typha bad.
    let mut dialer = Dialer::of(Network::all(1..=1, SILENT));
    (dialer.limits.connect_timeout, dialer.limits.attempt_timeout) = (3 * SECOND, 10 * SECOND);
    let error = dialer.connect().await.unwrap_err();
    assert_eq!((error.label(), tried(&error)), ("timed_out", vec![(1, "timed_out")]));
    let mut dialer = Dialer { network: Network::new([(1, SILENT), (2, GOOD)]), ..dialer };
    dialer.source = Arc::new(Script(Mutex::new([in_order(1, 2)].into())));
    assert_eq!(dialer.connect().await.unwrap_err().label(), "timed_out", "1 is first and not avoided");
    assert_eq!(dialer.network.dialled(), [1]);
}

#[tokio::test(start_paused = true)]
async fn the_overall_bound_ends_the_back_off() {
    let mut dialer = Dialer::of(Network::all(1..=1, Typha::Closed));
    dialer.limits.connect_timeout = 5 * SECOND;
    (dialer.limits.backoff_first, dialer.limits.backoff_cap) = (60 * SECOND, 600 * SECOND);
    let error = dialer.connect().await.unwrap_err();
    assert_eq!((error.label(), dialer.elapsed(), tried(&error)), ("timed_out", 5_000, vec![(1, "dial")]));
}

fn invalid_leaf() -> OwnLeaf {
    OwnLeaf {
        identity: PeerIdentity {
            common_name: Some("felix".into()),
            uri_sans: Box::default(),
            dns_name: None,
        },
        not_before: UnixTime::since_unix_epoch(Duration::ZERO),
        not_after: UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000)),
    }
}

#[tokio::test(start_paused = true)]
async fn our_own_fault_is_said_at_once() {
    let mut network = Network::new([(1, Typha::Closed), (2, REFUSING), (3, REFUSING)]);
    network.invalid_leaf = Some(invalid_leaf());
    let found = vec![endpoint(1).on_node(OWN), endpoint(2), endpoint(3)];
    let dialer = Dialer::new(network, [Found(found)]);
    let error = dialer.connect().await.unwrap_err();
    assert!(error.is_own_fault());
    assert_eq!((error.label(), dialer.elapsed(), error.attempts().len()), ("own_certificate", 0, 2));
    let refused_by = error.attempts()[1].endpoint.address;
    let text = format!(
        "Typha refused us, and our own certificate (CN \"felix\", no URI SAN) is valid only from 1970-01-01T00:00:00Z \
         to 2023-11-14T22:13:20Z: renew it, or set the clock: 192.0.2.1:1: no TCP connection: connection refused; \
         {refused_by}: the peer refused us: access_denied (our certificate is good, but has neither the Common Name \
         nor the URI SAN that the peer requires)"
    );
    assert_eq!(WithCauses(&error).to_string(), text);
    // The Typha that refused us is not bad.
    let again = dialer.connect().await.unwrap_err();
    assert_eq!((again.attempts().len(), dialer.network.dialled().last() != Some(&1)), (1, true));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_no_refusal_is_not_our_fault() {
    let breaks = Typha::Open(Duration::ZERO, Tls::Breaks);
    let mut network = Network::new([(1, breaks), (2, GOOD)]);
    network.invalid_leaf = Some(invalid_leaf());
    let dialer = Dialer::new(network, [in_order(1, 2)]);
    assert_eq!(dialer.connect().await.unwrap(), 2);

    // A refusal while our certificate is valid does not end it either.
    let dialer = Dialer::new(Network::new([(1, REFUSING), (2, GOOD)]), [in_order(1, 2)]);
    assert_eq!(dialer.connect().await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_avoided_for_a_minute() {
    for bad in [Typha::Closed, REFUSING, SILENT] {
        let dialer = Dialer::new(Network::new([(1, bad), (2, GOOD)]), [in_order(1, 2)]);
        assert_eq!(dialer.connect().await.unwrap(), 2);
        let failed_at = Instant::now();
        for (at, dialled) in [(0, vec![2]), (59_998, vec![2]), (60_001, vec![1, 2])] {
            advance((failed_at + at * MS).saturating_duration_since(Instant::now())).await;
            dialer.network.events.lock().unwrap().clear();
            assert_eq!(dialer.connect().await.unwrap(), 2);
            assert_eq!(dialer.network.dialled(), dialled, "after {at} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn given_up_after_every_poll() {
    let network = || {
        Network::new([
            (1, Typha::BlackHole),
            (2, Typha::Open(300 * MS, Tls::Refuses(AlertDescription::UnknownCA))),
            (3, Typha::Closed),
            (4, Typha::Open(100 * MS, Tls::SaysNothing)),
        ])
    };
    let give_up_after = async |limit: usize| {
        let mut dialer = Dialer::of(network());
        dialer.limits.max_tries = Some(6);
        let mut polls = 0;
        {
            let mut connecting = pin!(dialer.connect());
            poll_fn(|cx| {
                if polls < limit {
                    polls += 1;
                    if connecting.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
                if polls < limit { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        }
        assert_eq!(dialer.network.open.load(SeqCst), 0, "given up after {polls} polls");
        polls
    };
    let polls = give_up_after(usize::MAX).await;
    assert!(polls > 8, "{polls} polls are too few to show anything");
    for limit in 0..polls {
        give_up_after(limit).await;
    }
}

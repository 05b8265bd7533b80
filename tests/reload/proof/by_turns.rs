//! What each generation trusts, by turns; whom it must let in; and a storm that holds every verdict against that.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustls::AlertDescription;
use tokio::sync::watch;
use typha_tls::RequiredIdentity;
use typha_tls::TlsConfig;
use typha_tls::material::{Material, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, TestCa, TestLeaf};

pub(crate) const NAMES: [&str; 2] = ["one", "two"];
pub(crate) const URI: &str = "spiffe://cluster.local/ns/calico-system/sa/always";
pub(crate) const JUDGE: &str = "judge";

/// Somebody who is judged.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Peer {
    Always,
    /// Of one of two CAs, with one of two names.
    ByTurns(usize, usize),
    NeverForItsCa,
    NeverForItsName,
}

pub(crate) const PEERS: [Peer; 7] = [
    Peer::Always,
    Peer::ByTurns(0, 0),
    Peer::ByTurns(0, 1),
    Peer::ByTurns(1, 0),
    Peer::ByTurns(1, 1),
    Peer::NeverForItsCa,
    Peer::NeverForItsName,
];

/// What is trusted beside what always is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Turn {
    pub(crate) ca: usize,
    pub(crate) name: usize,
}

/// From one generation to the next one thing changes: the CA or the name, by turns.
pub(crate) fn turn(generation: u64) -> Turn {
    let (ca, name) = [(0, 0), (1, 0), (1, 1), (0, 1)][(generation as usize - 1) % 4];
    Turn { ca, name }
}

/// The reason at the judge, and the alert at the peer.
type Refusal = (&'static str, AlertDescription);
const UNKNOWN_CA: Refusal = ("unknown_ca", AlertDescription::UnknownCA);
const MISMATCH: Refusal = ("identity_mismatch", AlertDescription::AccessDenied);

impl Peer {
    fn verdict(self, generation: u64) -> Result<(), Refusal> {
        let turn = turn(generation);
        match self {
            Self::Always => Ok(()),
            Self::ByTurns(ca, _) if ca != turn.ca => Err(UNKNOWN_CA),
            Self::ByTurns(_, name) if name != turn.name => Err(MISMATCH),
            Self::ByTurns(..) => Ok(()),
            Self::NeverForItsCa => Err(UNKNOWN_CA),
            Self::NeverForItsName => Err(MISMATCH),
        }
    }
}

/// The CAs, and the judge's own leaf.
pub(crate) struct World {
    pub(crate) always: TestCa,
    cas: [TestCa; 2],
    stranger: TestCa,
    pub(crate) judge: TestLeaf,
    policy: TlsPolicy,
}

impl World {
    pub(crate) fn new() -> Self {
        let ca = |name| TestCa::new(CertificateSpec::ca(name)).unwrap();
        let always = ca("always-ca");
        Self {
            judge: always.issue(CertificateSpec::leaf(JUDGE)).unwrap(),
            always,
            cas: [ca("first-ca"), ca("second-ca")],
            stranger: ca("stranger-ca"),
            policy: TlsPolicy::builder().build().unwrap(),
        }
    }

    pub(crate) fn leaf(&self, peer: Peer) -> TestLeaf {
        let named = |name| CertificateSpec::leaf(name);
        let (ca, spec) = match peer {
            Peer::Always => (&self.always, named("always").uri_san(URI)),
            Peer::ByTurns(ca, name) => (&self.cas[ca], named(NAMES[name])),
            Peer::NeverForItsCa => (&self.stranger, named(NAMES[0]).uri_san(URI)),
            Peer::NeverForItsName => (&self.always, named("nobody")),
        };
        ca.issue(spec).unwrap()
    }

    pub(crate) fn bundle_pem(&self, turn: Turn) -> String {
        self.always.root_pem() + &self.cas[turn.ca].root_pem()
    }

    pub(crate) fn config(&self, generation: u64) -> TlsConfig {
        let turn = turn(generation);
        let roots = [&self.always, &self.cas[turn.ca]].map(|ca| ca.root().clone());
        let material = Material::new(
            TrustBundle::from_der(roots).unwrap(),
            self.judge.credentials(self.policy.provider()).unwrap(),
        );
        let required = RequiredIdentity::either(NAMES[turn.name], URI).unwrap();
        TlsConfig::new(material, required, self.policy.clone())
    }
}

/// One handshake, as both ends saw it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The generation that accepted, or the reason of the refusal.
    pub(crate) by_judge: Result<u64, &'static str>,
    pub(crate) by_peer: Result<(), AlertDescription>,
}

impl Seen {
    /// Whether it is what one of these generations, which were in force meanwhile, has to say.
    fn fits(&self, peer: Peer, mut generations: RangeInclusive<u64>) -> bool {
        match (self.by_judge, self.by_peer) {
            (Ok(generation), Ok(())) => generations.contains(&generation) && peer.verdict(generation).is_ok(),
            (Err(reason), Err(alert)) => {
                generations.any(|generation| peer.verdict(generation) == Err((reason, alert)))
            }
            _ => false,
        }
    }
}

/// How many of each peer's handshakes led to a connection, and how many did not.
type Tally = BTreeMap<Peer, [u64; 2]>;

/// Workers for each peer.
const EACH: usize = 2;

/// Reloads so many times while every peer connects all the time. Before each reload every worker has had one handshake
/// at least that began and ended within the generation in force, so that there is no doubt what the verdict has to be.
pub(crate) async fn storm(
    reloads: u64,
    in_force: impl Fn() -> u64,
    reload_to: impl AsyncFn(u64),
    handshake: impl AsyncFn(Peer) -> Seen,
) {
    let began = Instant::now();
    let over = AtomicBool::new(false);
    let judged: Vec<_> = (0..EACH * PEERS.len()).map(|_| watch::Sender::new(0)).collect();
    let everybody_was_judged_by = async |generation: u64| {
        for worker in &judged {
            worker.subscribe().wait_for(|latest| *latest >= generation).await.unwrap();
        }
    };
    let work = async |worker: usize| {
        let peer = PEERS[worker % PEERS.len()];
        let ([mut accepted, mut refused], mut straddled) = ([0, 0], 0);
        while !over.load(Ordering::Relaxed) {
            let before = in_force();
            let seen = handshake(peer).await;
            let after = in_force();
            assert!(seen.fits(peer, before..=after), "{peer:?} in {before} to {after}: {seen:?}");
            *(if seen.by_judge.is_ok() { &mut accepted } else { &mut refused }) += 1;
            if before == after {
                judged[worker].send_replace(before);
            } else {
                straddled += 1;
            }
        }
        (peer, [accepted, refused], straddled)
    };
    let reloading = async {
        everybody_was_judged_by(1).await;
        for generation in 2..=reloads + 1 {
            reload_to(generation).await;
            everybody_was_judged_by(generation).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let ((), workers) = tokio::join!(reloading, join_all((0..judged.len()).map(work)));

    let mut tally = Tally::new();
    for (peer, counts, _) in &workers {
        let all = tally.entry(*peer).or_default();
        *all = [all[0] + counts[0], all[1] + counts[1]];
    }
    let [accepted, refused] = [0, 1].map(|index| tally.values().map(|counts| counts[index]).sum::<u64>());
    let straddled: u64 = workers.iter().map(|(.., straddled)| straddled).sum();
    let rate = (accepted + refused) as f64 / began.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    println!(
        "{reloads} reloads, {accepted} accepted and {refused} refused, all of them rightly, {straddled} across a \
         reload, {rate:.0} handshakes/s"
    );
    for (peer, [accepted, refused]) in tally {
        let exact_at_least = EACH as u64 * (reloads + 1);
        assert!(accepted + refused >= exact_at_least, "{peer:?}");
        match peer {
            Peer::Always => assert_eq!(refused, 0),
            Peer::NeverForItsCa | Peer::NeverForItsName => assert_eq!(accepted, 0),
            // Of each four generations one accepts; how often beyond that is a matter of time.
            Peer::ByTurns(..) => {
                assert!(
                    accepted >= exact_at_least / 4 - 1 && refused >= exact_at_least * 3 / 4 - 2,
                    "{peer:?}"
                );
            }
        }
    }
}

//! Typhas and Felixes that stay connected, each to each.

use std::time::Duration;

use typha_tls::Role;
use typha_tls::lifetime::{ClosePolicy, ConnectionLifetime};
use typha_tls::reload::{ReloadOptions, Reloaded};
use typha_tls::testing::{TestCa, TestLeaf};

use super::felix::{Felix, Presented};
use super::log::Log;
use super::names::{By, issue};
use super::typha::{Typha, mark};

pub(crate) struct Site {
    pub(crate) typhas: Vec<Typha>,
    pub(crate) felixes: Vec<Felix>,
    /// The leaves in the files.
    pub(crate) typha_leaves: Vec<TestLeaf>,
    pub(crate) felix_leaves: Vec<TestLeaf>,
    pub(crate) log: Log,
}

/// How all ends go about it.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) lifetime: ConnectionLifetime,
    pub(crate) options: ReloadOptions,
    pub(crate) settle_time: Duration,
}

impl Manner {
    /// Looks on request only, so that what is asked for is done at once, and nothing else. Connections live as they do
    /// by default.
    pub(crate) fn on_request() -> Self {
        let mut options = ReloadOptions::default();
        options.poll_interval = Duration::ZERO;
        Self { lifetime: ConnectionLifetime::default(), options, settle_time: Duration::ZERO }
    }

    /// Looks by itself.
    pub(crate) fn automatic(settle_time: Duration) -> Self {
        let mut manner = Self { settle_time, ..Self::on_request() };
        manner.options.poll_interval = Duration::from_millis(100);
        manner
    }

    pub(crate) fn closing(mut self, policy: ClosePolicy) -> Self {
        self.lifetime.on_lost_trust = policy;
        self
    }
}

/// On request; who is trusted no longer has to go at once.
pub(crate) fn at_once() -> Manner {
    Manner::on_request().closing(ClosePolicy::CloseWithin(Duration::ZERO))
}

impl Site {
    pub(crate) async fn start(ca: &TestCa, typhas: usize, felixes: usize) -> Self {
        Self::start_with(ca, typhas, felixes, &Manner::on_request()).await
    }

    pub(crate) async fn start_with(ca: &TestCa, typhas: usize, felixes: usize, manner: &Manner) -> Self {
        let log = Log::new();
        let leaves = |role, count| (0..count).map(|_| issue(ca, role, By::Name)).collect::<Vec<_>>();
        let (typha_leaves, felix_leaves) = (leaves(Role::Typha, typhas), leaves(Role::Felix, felixes));
        let mut typhas = Vec::new();
        for leaf in &typha_leaves {
            typhas.push(Typha::start(ca, leaf, manner).await);
        }
        let addresses: Vec<_> = typhas.iter().map(|typha| typha.address).collect();
        let felixes = felix_leaves.iter();
        let felixes = felixes.map(|leaf| Felix::start(ca, leaf, &addresses, manner)).collect();
        let site = Self { typhas, felixes, typha_leaves, felix_leaves, log };
        site.are_all(1).await;
        site
    }

    /// All connections work and are the nth of their links.
    pub(crate) async fn are_all(&self, nth: u32) {
        for link in self.felixes.iter().flat_map(|felix| &felix.links) {
            let answer = link.is_nth(nth).await;
            assert_eq!(answer.lost, None);
        }
    }

    /// New connections come about between all, by the leaves in the files.
    pub(crate) async fn all_can_connect(&self) {
        for (felix, felix_leaf) in std::iter::zip(&self.felixes, &self.felix_leaves) {
            for (link, typha_leaf) in std::iter::zip(&felix.links, &self.typha_leaves) {
                let expected = Presented { typha: mark_of(typha_leaf), felix: mark_of(felix_leaf) };
                assert_eq!(link.new_connection().await.as_ref(), Ok(&expected));
            }
        }
    }

    /// Nobody was ever lost or refused, or is warned of.
    pub(crate) fn nothing_happened(&self) {
        assert_eq!(self.log.warnings(), [""; 0]);
        for typha in &self.typhas {
            let stats = typha.stats();
            assert!(stats.lost_trust.is_empty(), "{stats:?}");
            assert_eq!((stats.not_accepted(), typha.lost()), (0, Vec::new()));
        }
    }

    /// Replaces the CA file of all ends, one after the other.
    pub(crate) async fn cas(&self, cas: &[&TestCa]) {
        for typha in &self.typhas {
            typha.files.cas(cas);
            replaced(typha.reload().await);
        }
        for felix in &self.felixes {
            felix.files.cas(cas);
            replaced(felix.reload().await);
        }
    }

    pub(crate) async fn new_typha_leaf(&mut self, index: usize, leaf: TestLeaf) {
        self.typhas[index].files.leaf(&leaf);
        replaced(self.typhas[index].reload().await);
        self.typha_leaves[index] = leaf;
    }

    pub(crate) async fn new_felix_leaf(&mut self, index: usize, leaf: TestLeaf) {
        self.felixes[index].files.leaf(&leaf);
        replaced(self.felixes[index].reload().await);
        self.felix_leaves[index] = leaf;
    }

    /// Ends all connections on Typha's end, as a rolling restart would, and waits for the next ones, which are the nth.
    pub(crate) async fn remake(&self, nth: u32) {
        for (index, typha) in self.typhas.iter().enumerate() {
            // A connection made to try it may still be on its way out.
            typha.handle.drop_random(typha.handle.active());
            for (felix, leaf) in std::iter::zip(&self.felixes, &self.felix_leaves) {
                assert_eq!(felix.links[index].is_nth(nth).await.own_leaf, mark_of(leaf));
            }
        }
    }
}

pub(crate) fn mark_of(leaf: &TestLeaf) -> u64 {
    mark(&leaf.chain()[0])
}

/// It was put in force.
pub(crate) fn replaced(outcome: Result<Reloaded, String>) {
    assert!(matches!(outcome, Ok(Reloaded::Replaced { .. })), "{outcome:?}");
}

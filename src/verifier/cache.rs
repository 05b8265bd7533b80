//! The cache of verified chains: a chain that is presented again costs no signature checks.
//!
//! The cache skips only checks whose result can not change within a configuration: the signatures over the
//! certificates, and the rules on their extensions. All other checks are made each time: the proof of the peer's key,
//! every validity period, the age of the revocation lists, and the identity rule.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};

use rustls_pki_types::UnixTime;

use super::presented::PresentedChain;
use super::verified::{ChainFacts, VerifiedChain};
use crate::policy::Sha256;
use crate::role::Role;

/// An accepted chain whose peer has not yet proven that it holds the leaf's key.
pub(crate) struct Accepted {
    pub(crate) chain: VerifiedChain,
    /// The entry to add to the cache, if the chain is not there yet.
    pub(super) newcomer: Option<Newcomer>,
}

/// A chain that is not yet in the cache.
pub(super) struct Newcomer {
    pub(super) cache: Arc<ChainCache>,
    pub(super) digest: ChainDigest,
    pub(super) accepted_at: UnixTime,
}

impl Accepted {
    /// Adds the chain to the cache. A handshake calls it after the peer has proven that it holds the leaf's key,
    /// because anyone can send the chain.
    pub(crate) fn remember(self) -> VerifiedChain {
        if let Some(Newcomer { cache, digest, accepted_at }) = self.newcomer {
            cache.insert(digest, self.chain.facts.clone(), accepted_at);
        }
        self.chain
    }
}

/// A bounded set of verified chains, for one verifier and so for one configuration.
///
/// When the cache is full, a new chain replaces one that has expired or was not used for a day. If there is no such
/// chain, the new one is not cached. Replacing the least used chain would help an attacker, which can connect as often
/// as it likes; a Felix connects rarely.
pub(super) struct ChainCache {
    sha256: Sha256,
    shards: Box<[RwLock<Shard>]>,
    shard_capacity: usize,
}

type Shard = HashMap<ChainDigest, Entry>;

struct Entry {
    facts: Arc<ChainFacts>,
    /// Seconds since 1970.
    last_used: AtomicU64,
}

/// The number of chains behind one lock. Searching a full shard takes less than 1 % of the time of a handshake.
const SHARD_CAPACITY: usize = 256;

const MAX_SHARDS: usize = 1 << 16;

/// The most memory for the names of one leaf. TLS allows 64 KiB of names, which take more in memory; a Felix or a Typha
/// has two names.
const MAX_IDENTITY_BYTES: usize = 1024;

/// How long an unused chain keeps its place: one day, in seconds.
const KEPT_UNUSED: u64 = 24 * 3600;

/// SHA-256 over the role and the certificates, each with its length before it.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(super) struct ChainDigest([u8; 32]);

thread_local! {
    /// The buffer of the bytes to hash; kept, so that no handshake allocates it.
    static HASHED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl ChainCache {
    pub(super) fn new(capacity: usize, sha256: Sha256) -> Self {
        let shards = (capacity / SHARD_CAPACITY).clamp(1, MAX_SHARDS);
        Self {
            sha256,
            shard_capacity: capacity / shards,
            shards: (0..shards).map(|_| RwLock::default()).collect(),
        }
    }

    pub(super) fn digest(&self, presented: &PresentedChain<'_>) -> ChainDigest {
        HASHED.with_borrow_mut(|hashed| {
            hashed.clear();
            hashed.push(match presented.role {
                Role::Felix => 0,
                Role::Typha => 1,
                Role::Client => 2,
                Role::Server => 3,
            });
            for certificate in presented.certificates() {
                hashed.extend((certificate.len() as u64).to_be_bytes());
                hashed.extend_from_slice(certificate);
            }
            ChainDigest(self.sha256.of(hashed))
        })
    }

    /// The chain, if it is in the cache and its path is valid at `now`. Otherwise the full check finds another path or
    /// the reason for a refusal.
    pub(super) fn get(&self, digest: &ChainDigest, now: UnixTime) -> Option<Arc<ChainFacts>> {
        let shard = self.shard(digest)?.read().ok()?;
        let entry = shard.get(digest).filter(|entry| entry.facts.validity.contains(now))?;
        entry.last_used.store(now.as_secs(), Relaxed);
        Some(entry.facts.clone())
    }

    /// Adds a chain that was accepted at `now`, unless there is no room or its names are too long.
    fn insert(&self, digest: ChainDigest, facts: Arc<ChainFacts>, now: UnixTime) {
        if !facts.validity.contains(now) || facts.identity.size() + facts.serial.len() > MAX_IDENTITY_BYTES {
            return;
        }
        let Some(Ok(mut shard)) = self.shard(&digest).map(RwLock::write) else { return };
        if shard.len() >= self.shard_capacity && !shard.contains_key(&digest) {
            let Some(dispensable) = dispensable(&shard, now) else { return };
            shard.remove(&dispensable);
        }
        shard.insert(digest, Entry { facts, last_used: AtomicU64::new(now.as_secs()) });
    }

    fn shard(&self, digest: &ChainDigest) -> Option<&RwLock<Shard>> {
        let [a, b, c, d, ..] = digest.0;
        self.shards.get(u32::from_be_bytes([a, b, c, d]) as usize % self.shards.len())
    }

    fn len(&self) -> usize {
        self.shards.iter().filter_map(|shard| Some(shard.read().ok()?.len())).sum()
    }
}

/// The chain that was unused for the longest time, if it may be replaced.
fn dispensable(shard: &Shard, now: UnixTime) -> Option<ChainDigest> {
    let unused = |entry: &Entry| match entry.facts.validity.contains(now) {
        true => now.as_secs().saturating_sub(entry.last_used.load(Relaxed)),
        false => u64::MAX,
    };
    let (digest, unused) =
        shard.iter().map(|(digest, entry)| (digest, unused(entry))).max_by_key(|&(_, unused)| unused)?;
    (unused >= KEPT_UNUSED).then_some(*digest)
}

impl fmt::Debug for ChainCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainCache")
            .field("chains", &self.len())
            .field("capacity", &(self.shards.len() * self.shard_capacity))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::PeerIdentity;
    use crate::policy::{DEFAULT_CHAIN_CACHE_CAPACITY, TlsPolicy};
    use crate::text::hex;
    use crate::verifier::verified::Validity;

    fn cache(capacity: usize) -> ChainCache {
        let policy = TlsPolicy::builder().build().unwrap();
        ChainCache::new(capacity, policy.sha256())
    }

    fn digest(cache: &ChainCache, leaf: &[u8], role: Role) -> ChainDigest {
        cache.digest(&PresentedChain::new(&leaf.into(), &[], role).unwrap())
    }

    /// The chain of peer `number`.
    fn chain(cache: &ChainCache, number: u32) -> ChainDigest {
        digest(cache, &number.to_be_bytes(), Role::Felix)
    }

    fn one() -> ChainFacts {
        let identity =
            PeerIdentity { common_name: Some("peer".into()), uri_sans: Box::default(), dns_name: None };
        let leaf_not_after = UnixTime::since_unix_epoch(Duration::MAX);
        let (serial, sha256, validity) = (Box::new([7; 20]), [7; 32], Validity::ALWAYS);
        ChainFacts { identity, serial, sha256, leaf_not_after, ca: "ca".into(), validity }
    }

    fn verified() -> Arc<ChainFacts> {
        Arc::new(one())
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn known(cache: &ChainCache, numbers: std::ops::Range<u32>, now: UnixTime) -> usize {
        numbers.filter(|&number| cache.get(&chain(cache, number), now).is_some()).count()
    }

    #[test]
    fn a_flood_does_not_replace_known_chains() {
        let cache = cache(DEFAULT_CHAIN_CACHE_CAPACITY);
        let verified = verified();
        let insert = |number, now| cache.insert(chain(&cache, number), verified.clone(), at(now));
        let regular = 0..8_000;
        regular.clone().for_each(|number| insert(number, 0));
        // Each is used twice within the day.
        for number in 1_000_000..1_100_000 {
            insert(number, 1);
            known(&cache, number..number + 1, at(KEPT_UNUSED - 1));
        }
        assert_eq!(known(&cache, regular.clone(), at(KEPT_UNUSED - 1)), 8_000, "none of them was used since");
        assert!((8_000..=DEFAULT_CHAIN_CACHE_CAPACITY).contains(&cache.len()), "{}", cache.len());
    }

    #[test]
    fn an_unused_chain_is_replaced_after_a_day() {
        let cache = cache(10);
        let verified = verified();
        let insert = |number, now| cache.insert(chain(&cache, number), verified.clone(), at(now));
        (0..10).for_each(|number| insert(number, u64::from(number)));
        known(&cache, 0..1, at(100));
        let day = KEPT_UNUSED;
        for (newcomer, now, expected) in [
            (10, day, false),
            (10, day + 1, true),
            // It replaces 1. Then 2 is the next to be replaced, but not before its day is over.
            (11, day + 1, false),
            (11, day + 2, true),
        ] {
            insert(newcomer, now);
            assert_eq!(known(&cache, newcomer..newcomer + 1, at(now)) == 1, expected, "{newcomer} at {now}");
            assert_eq!(cache.len(), 10);
        }
        assert_eq!(known(&cache, 1..3, at(day)), 0);
        assert_eq!(known(&cache, 0..1, at(day)) + known(&cache, 3..12, at(day)), 10);
    }

    #[test]
    fn an_expired_chain_is_replaced_at_once() {
        let cache = cache(2);
        let insert = |number, until: u64, now| {
            let validity = Validity { not_after: at(until - 1), ..Validity::ALWAYS };
            let facts = ChainFacts { validity, ..one() };
            cache.insert(chain(&cache, number), Arc::new(facts), at(now));
        };
        insert(0, 50, 0);
        insert(1, 90, 0);
        insert(2, 90, 49);
        assert_eq!(known(&cache, 0..3, at(49)), 2, "no room");
        insert(3, 50, 50);
        assert_eq!(known(&cache, 3..4, at(49)), 0, "a chain that is not valid takes no room");
        insert(2, 90, 50);
        assert_eq!(known(&cache, 1..3, at(50)), 2);
        assert_eq!(known(&cache, 0..3, at(90)), 0);
    }

    #[test]
    fn it_is_bounded() {
        for capacity in [1, 10, 100, 1_000, 10_000, 100_000] {
            let cache = cache(capacity);
            let verified = verified();
            for number in 0..(capacity as u32 * 2).max(1_000) {
                let now = at(u64::from(number) * KEPT_UNUSED);
                cache.insert(chain(&cache, number), verified.clone(), now);
            }
            assert!((capacity * 9 / 10..=capacity).contains(&cache.len()), "{} of {capacity}", cache.len());
        }
    }

    #[test]
    fn a_chain_takes_some_350_bytes() {
        let cache = cache(DEFAULT_CHAIN_CACHE_CAPACITY);
        let uri_san = "spiffe://cluster.local/ns/calico-system/sa/calico-node";
        let taken = allocation_counter::measure(|| {
            for number in 0..16_000 {
                let identity = PeerIdentity {
                    common_name: Some("typha-client".into()),
                    uri_sans: [uri_san.into()].into(),
                    dns_name: None,
                };
                let verified = Arc::new(ChainFacts { identity, ..one() });
                cache.insert(chain(&cache, number), verified, at(0));
            }
        });
        let each = usize::try_from(taken.bytes_current).unwrap() / cache.len();
        assert!((300..400).contains(&each), "{each}");
    }

    #[test]
    fn a_leaf_of_many_names_is_not_remembered() {
        let cache = cache(10);
        for (names, expected) in [(1, 1), (30, 1), (100, 0)] {
            let identity = PeerIdentity {
                common_name: None,
                uri_sans: vec!["a:b".into(); names].into(),
                dns_name: None,
            };
            let verified = Arc::new(ChainFacts { identity, ..one() });
            let digest = chain(&cache, names as u32);
            cache.insert(digest, verified, at(0));
            assert_eq!(cache.get(&digest, at(0)).iter().count(), expected, "{names}");
        }
    }

    #[test]
    fn a_digest_is_over_the_role_and_the_certificates() {
        assert_eq!(
            hex(&digest(&cache(1), &[7], Role::Typha).0),
            // printf '\x01\x00\x00\x00\x00\x00\x00\x00\x01\x07' | sha256sum
            "43aa4a179f040fbd23e2fa41229d03e0e5a252b3726c3f9d0f0088ca30101ed7"
        );
    }
}

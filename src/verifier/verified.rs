//! What is known of a chain, and of a peer, that is accepted.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::identity::{MatchedBy, PeerIdentity};
use crate::role::Role;
use crate::text::hex;

/// A chain that [`PeerVerifier::verify`](super::PeerVerifier::verify) has accepted; there is no other way to get one.
/// Cheap to clone: what was read out of the chain is shared by all who present the same.
///
/// # Security
///
/// This does not prove that whoever sent the chain holds the leaf's private key: certificates are no secret. A
/// [`VerifiedPeer`] has proven that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedChain {
    pub(super) facts: Arc<ChainFacts>,
    pub(super) matched_by: MatchedBy,
    pub(super) role: Role,
}

/// What is read out of a chain when it is verified.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct ChainFacts {
    pub(super) identity: PeerIdentity,
    pub(super) serial: Box<[u8]>,
    pub(super) sha256: [u8; 32],
    pub(super) leaf_not_after: UnixTime,
    /// The label of the CA that its path leads to.
    pub(super) ca: Arc<str>,
    /// When the same chain would be accepted again, if nothing but the time changes.
    pub(super) validity: Validity,
}

impl VerifiedChain {
    /// The names in the leaf.
    pub fn identity(&self) -> &PeerIdentity {
        &self.facts.identity
    }

    /// Which of the required names the leaf has.
    pub fn matched_by(&self) -> MatchedBy {
        self.matched_by
    }

    /// Which end the chain is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// When the leaf expires. A reconnection after it will be refused; a connection that exists stays, unless its
    /// [`ConnectionLifetime`](crate::lifetime::ConnectionLifetime) says otherwise.
    pub fn not_after(&self) -> UnixTime {
        self.facts.leaf_not_after
    }

    /// The leaf's serial number in lower-case hexadecimal, two digits for each octet of the DER integer. The zero octet
    /// in front of a first octet above `7f` is left out, as in `openssl x509 -serial`, which prints upper case. Of more
    /// than 64 octets (RFC 5280 allows 20) the first 64 are shown, and `...`.
    pub fn serial(&self) -> String {
        match self.facts.serial.split_at_checked(MAX_SERIAL_OCTETS) {
            Some((shown, [_, ..])) => hex(shown) + "...",
            _ => hex(&self.facts.serial),
        }
    }

    /// The SHA-256 fingerprint of the leaf's DER: 64 digits of lower-case hexadecimal, without colons. `openssl x509
    /// -fingerprint -sha256` prints upper case and colons.
    pub fn sha256(&self) -> String {
        hex(&self.facts.sha256)
    }

    /// The CA of the bundle that the path leads to, for people: `CN="calico-typha-ca" (key 1f0c88a2)`, with the
    /// beginning of its subject key identifier, or else its serial number, since a CA that is made anew often keeps its
    /// name.
    pub fn ca(&self) -> &str {
        &self.facts.ca
    }

    /// Until when the path on which the chain was verified holds, if nothing but the time changes: the earliest end of
    /// validity among its leaf, the intermediates above it and the CA, and of the revocation lists where an expired one
    /// refuses.
    pub fn trusted_until(&self) -> UnixTime {
        self.facts.validity.not_after
    }
}

const MAX_SERIAL_OCTETS: usize = 64;

impl fmt::Display for VerifiedChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} (matched by {})", self.role, self.identity(), self.matched_by)
    }
}

/// The peer of a connection: its [`VerifiedChain`], to which this derefs, and the proof that it holds the leaf's
/// private key. Only a completed handshake of this crate makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedPeer(VerifiedChain);

impl VerifiedPeer {
    /// To be called when a handshake with the peer that sent `chain` is complete, and so its key is proven.
    pub(crate) fn proven(chain: VerifiedChain) -> Self {
        Self(chain)
    }

    /// The same peer, after its chain was judged again.
    pub(crate) fn judged_again(&self, chain: VerifiedChain) -> Self {
        debug_assert_eq!(self.facts.sha256, chain.facts.sha256, "the proof is of this leaf's key");
        Self(chain)
    }
}

impl Deref for VerifiedPeer {
    type Target = VerifiedChain;

    fn deref(&self) -> &VerifiedChain {
        &self.0
    }
}

impl fmt::Display for VerifiedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A period in which the same chain would be accepted again: every certificate of the path and its CA are valid, and no
/// revocation list of their issuers is out of date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Validity {
    pub(super) not_before: UnixTime,
    /// Inclusive, as in RFC 5280 section 4.1.2.5.
    pub(super) not_after: UnixTime,
}

impl Validity {
    pub(super) const ALWAYS: Self = Self {
        not_before: UnixTime::since_unix_epoch(Duration::ZERO),
        not_after: UnixTime::since_unix_epoch(Duration::MAX),
    };

    /// Shortens it to the part within this period.
    pub(super) fn limit(&mut self, not_before: UnixTime, not_after: UnixTime) {
        self.not_before = self.not_before.max(not_before);
        self.not_after = self.not_after.min(not_after);
    }

    pub(super) fn contains(self, now: UnixTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

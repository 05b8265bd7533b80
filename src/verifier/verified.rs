//! Accepted chains and accepted peers.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::rejection::Rejection;
use super::requirement::Requirement;
use crate::identity::{MatchedBy, PeerIdentity, ServerHost};
use crate::role::Role;
use crate::text::{hex, identifier_text};

/// A chain that [`PeerVerifier::verify`](super::PeerVerifier::verify) or
/// [`HostVerifier::verify`](super::HostVerifier::verify) has accepted; there is no other way to get one. It is cheap
/// to clone: all peers that present the same chain share its facts.
///
/// # Security
///
/// This does not prove that the sender of the chain holds the leaf's private key: certificates are no secret. A
/// [`VerifiedPeer`] has proven it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedChain {
    pub(super) facts: Arc<ChainFacts>,
    matched_by: MatchedBy,
    /// The index of the required URI SAN among those of the leaf.
    matched_uri_san: Option<usize>,
    matched_host: Option<Arc<ServerHost>>,
    role: Role,
}

/// The facts that are read out of a chain when it is verified.
#[derive(Eq, PartialEq)]
pub(super) struct ChainFacts {
    pub(super) identity: PeerIdentity,
    pub(super) serial: Box<[u8]>,
    pub(super) sha256: [u8; 32],
    pub(super) leaf_not_after: UnixTime,
    /// The label of the CA that its path leads to.
    pub(super) ca: Arc<str>,
    /// When the same chain would be accepted again, if only the time changes.
    pub(super) validity: Validity,
}

impl VerifiedChain {
    /// The chain with these facts, if its `leaf` meets the requirement. Everything else was verified before.
    pub(super) fn new(
        facts: Arc<ChainFacts>,
        leaf: &CertificateDer<'_>,
        requirement: Requirement<'_>,
        role: Role,
    ) -> Result<Self, Rejection> {
        let (matched_by, matched_uri_san, matched_host) = match requirement {
            Requirement::Identity(required) => {
                let matched_by = required.check(&facts.identity)?;
                let required_uri = required.required_uri_san();
                let uri_san = facts.identity.uri_sans().position(|san| required_uri == Some(san));
                (matched_by, uri_san, None)
            }
            Requirement::Host(host) => {
                host.check(leaf)?;
                (MatchedBy::Host, None, Some(Arc::new(host.clone())))
            }
        };
        Ok(Self { facts, matched_by, matched_uri_san, matched_host, role })
    }

    /// The names in the leaf.
    pub fn identity(&self) -> &PeerIdentity {
        &self.facts.identity
    }

    /// Which of the required names the leaf has.
    pub fn matched_by(&self) -> MatchedBy {
        self.matched_by
    }

    /// The URI SAN of the leaf that is the required one. `None` if the leaf matched by its Common Name alone.
    pub fn matched_uri_san(&self) -> Option<&str> {
        self.identity().uri_sans().nth(self.matched_uri_san?)
    }

    /// The host that the leaf is valid for, if it was verified by the host rule. `None` for the identity rule.
    pub fn matched_host(&self) -> Option<&ServerHost> {
        self.matched_host.as_deref()
    }

    /// The role of the peer that the chain is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// When the leaf expires. A reconnection after that is refused. An existing connection stays, unless its
    /// [`ConnectionLifetime`](crate::lifetime::ConnectionLifetime) closes it.
    pub fn not_after(&self) -> UnixTime {
        self.facts.leaf_not_after
    }

    /// The leaf's serial number in lower-case hexadecimal, two digits for each octet of the DER integer. The zero octet
    /// in front of a first octet above `7f` is left out, as in `openssl x509 -serial`, which prints upper case. If
    /// there are more than 64 octets (RFC 5280 allows 20), the first 64 and `...` are shown.
    pub fn serial(&self) -> String {
        identifier_text(&self.facts.serial)
    }

    /// The SHA-256 fingerprint of the leaf's DER: 64 digits of lower-case hexadecimal, without colons. `openssl x509
    /// -fingerprint -sha256` prints upper case and colons.
    pub fn sha256(&self) -> String {
        hex(&self.facts.sha256)
    }

    /// The SHA-256 digest of the leaf.
    pub(crate) fn leaf_digest(&self) -> &[u8; 32] {
        &self.facts.sha256
    }

    /// The CA of the bundle that the path leads to, as text: `CN="calico-typha-ca" (key 1f0c88a2)`. The text has the
    /// beginning of the subject key identifier, or else the serial number, because a new CA often keeps the name of the
    /// old one.
    pub fn ca(&self) -> &str {
        &self.facts.ca
    }

    /// The time until which the verified path is valid, if only the time changes. It is the earliest end of validity of
    /// the leaf, the intermediates and the CA. Revocation lists count, too, if the policy refuses expired lists.
    pub fn trusted_until(&self) -> UnixTime {
        self.facts.validity.not_after
    }
}

/// The serial number as text, and cut.
impl fmt::Debug for ChainFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainFacts")
            .field("identity", &self.identity)
            .field("serial", &identifier_text(&self.serial))
            .field("sha256", &hex(&self.sha256))
            .field("leaf_not_after", &self.leaf_not_after)
            .field("ca", &self.ca)
            .field("validity", &self.validity)
            .finish()
    }
}

impl fmt::Display for VerifiedChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.matched_host() {
            Some(host) => write!(f, "{} {host} with {}", self.role, self.identity()),
            None => write!(f, "{} with {} (matched by {})", self.role, self.identity(), self.matched_by),
        }
    }
}

/// The peer of a connection: its [`VerifiedChain`], to which this derefs, and the proof that it holds the leaf's
/// private key. Only a complete handshake of this crate creates one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedPeer(VerifiedChain);

impl VerifiedPeer {
    /// Called when a handshake with the peer that sent `chain` is complete, which proves its key.
    pub(crate) fn proven(chain: VerifiedChain) -> Self {
        Self(chain)
    }

    /// The same peer, after its chain was verified again.
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

/// A period in which the same chain would be accepted again. Every certificate of the path and the CA are valid in it,
/// and no revocation list of their issuers is out of date.
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

//! Whether the peer of a live connection would still be accepted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls_pki_types::{CertificateDer, UnixTime};

use crate::verifier::{PeerVerifier, Rejection, VerifiedPeer};

/// The latest verdict on the peer of a live connection.
pub(crate) struct TrustState {
    /// The chain, as the peer sent it.
    pub(super) chain: Box<[CertificateDer<'static>]>,
    latest: Mutex<Latest>,
}

struct Latest {
    /// Of the configuration by which the peer was last judged.
    generation: u64,
    /// The peer, as it was last accepted.
    peer: VerifiedPeer,
    loss: Option<TrustLoss>,
}

/// Why a peer that was accepted once would no longer be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TrustLoss {
    pub(super) kind: LossKind,
    pub(crate) rejection: Box<Rejection>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LossKind {
    /// Not only the time is against the peer.
    Distrusted,
    /// A certificate has expired, and nothing else is wrong.
    Expired,
    /// A clock was turned back, and nothing else is wrong.
    NotYetValid,
}

impl TrustState {
    /// Of a peer that was accepted by the configuration of this generation.
    pub(crate) fn new(peer: VerifiedPeer, chain: &[CertificateDer<'static>], generation: u64) -> Self {
        Self { chain: chain.into(), latest: Mutex::new(Latest { generation, peer, loss: None }) }
    }

    /// The peer, as it was last accepted.
    pub(crate) fn peer(&self) -> VerifiedPeer {
        self.latest().peer.clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.latest().generation
    }

    /// Why the peer would not be accepted, by the latest verdict.
    pub(crate) fn loss(&self) -> Option<TrustLoss> {
        self.latest().loss.clone()
    }

    /// Whether the latest verdict may not hold for this generation at this time.
    pub(super) fn is_due(&self, generation: u64, now: UnixTime) -> bool {
        let latest = self.latest();
        let in_time = now <= latest.peer.trusted_until();
        // A peer that was judged by a newer configuration already is not due for an older one.
        latest.generation < generation
            || latest.generation == generation
                && match latest.loss.as_ref().map(|loss| loss.kind) {
                    None => !in_time,
                    Some(LossKind::Expired) => in_time,
                    Some(LossKind::NotYetValid) => true,
                    Some(LossKind::Distrusted) => false,
                }
    }

    /// Records a verdict. `Some` if it is a loss that was not known before.
    pub(super) fn record(
        &self,
        generation: u64,
        verdict: &Result<VerifiedPeer, TrustLoss>,
    ) -> Option<TrustLoss> {
        let mut latest = self.latest();
        latest.generation = generation;
        match verdict {
            Ok(peer) => {
                (latest.peer, latest.loss) = (peer.clone(), None);
                None
            }
            Err(loss) => {
                let known = latest.loss.replace(loss.clone());
                (known.map(|known| known.kind) != Some(loss.kind)).then(|| loss.clone())
            }
        }
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Judges a `chain` as a handshake would, whose `peer` was accepted before.
pub(super) fn judge(
    verifier: &PeerVerifier,
    chain: &[CertificateDer<'_>],
    peer: &VerifiedPeer,
    now: UnixTime,
) -> Result<VerifiedPeer, TrustLoss> {
    let rejection = match verifier.verify(chain, peer.role(), now) {
        Ok(chain) => return Ok(peer.judged_again(chain)),
        Err(rejection) => rejection,
    };
    let loss = |kind, rejection| Err(TrustLoss { kind, rejection: Box::new(rejection) });
    if !rejection.is_of_time() {
        return loss(LossKind::Distrusted, rejection);
    }
    let last_good = peer.trusted_until();
    // An expired certificate must not hide that the CA is gone, or that the peer is revoked. There may be no time at
    // which all of it is valid: the CA may have been renewed after the leaf expired.
    let without_time = verifier.verify_but_for_time(chain, peer.role(), last_good);
    let has_expired = !matches!(rejection, Rejection::NotYetValid { .. });
    match without_time {
        // The certificates that the peer was accepted by are still valid: the time has not changed, but the trust has.
        Ok(()) if has_expired && now <= last_good => loss(LossKind::Distrusted, rejection),
        Ok(()) if has_expired => loss(LossKind::Expired, rejection),
        Ok(()) => loss(LossKind::NotYetValid, rejection),
        // The certificates that the peer was accepted by were valid then: they are no longer trusted, and no others
        // were valid.
        Err(other) if other.is_of_time() => loss(LossKind::Distrusted, rejection),
        Err(other) => loss(LossKind::Distrusted, other),
    }
}

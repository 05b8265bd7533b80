//! Whether the peer of a live connection would still be accepted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls_pki_types::{CertificateDer, UnixTime};

use crate::verifier::{Rejection, Rule, VerifiedPeer, usable_certificates};

/// The latest verdict on the peer of a live connection.
pub(crate) struct TrustState {
    /// The certificates that a path of the peer can use. Connections with the same chain share them.
    pub(super) chain: Arc<[CertificateDer<'static>]>,
    latest: Mutex<Latest>,
}

struct Latest {
    /// The generation of the configuration that last judged the peer.
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
    /// The peer is rejected for a reason other than the time.
    Distrusted,
    /// A certificate has expired, and nothing else is wrong.
    Expired,
    /// A certificate is not valid yet, because a clock was turned back. Nothing else is wrong.
    NotYetValid,
}

impl TrustState {
    /// The state of a peer that the configuration of this generation has accepted.
    pub(crate) fn new(peer: VerifiedPeer, chain: &[CertificateDer<'static>], generation: u64) -> Self {
        let chain = usable_certificates(chain).into();
        Self { chain, latest: Mutex::new(Latest { generation, peer, loss: None }) }
    }

    /// The peer, as it was last accepted.
    pub(crate) fn peer(&self) -> VerifiedPeer {
        self.latest().peer.clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.latest().generation
    }

    /// Why the latest verdict rejects the peer, if it does.
    pub(crate) fn loss(&self) -> Option<TrustLoss> {
        self.latest().loss.clone()
    }

    /// Whether the peer must be judged again for this generation at this time.
    pub(super) fn is_due(&self, generation: u64, now: UnixTime) -> bool {
        let latest = self.latest();
        let in_time = now <= latest.peer.trusted_until();
        // A peer that a newer configuration has already judged is not due for an older one.
        latest.generation < generation
            || latest.generation == generation
                && match latest.loss.as_ref().map(|loss| loss.kind) {
                    None => !in_time,
                    Some(LossKind::Expired) => in_time,
                    Some(LossKind::NotYetValid) => true,
                    Some(LossKind::Distrusted) => false,
                }
    }

    /// Records a verdict. Returns the loss if it is of another kind than the previous one.
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

/// Judges a `chain` as a handshake would. Its `peer` was accepted before.
pub(super) fn judge(
    rule: &impl Rule,
    chain: &[CertificateDer<'_>],
    peer: &VerifiedPeer,
    now: UnixTime,
) -> Result<VerifiedPeer, TrustLoss> {
    let loss = |kind, rejection| Err(TrustLoss { kind, rejection: Box::new(rejection) });
    let Some(requirement) = rule.requirement(peer) else {
        // Never seen: a peer of this end was accepted by the same rule.
        return loss(LossKind::Distrusted, Rejection::NoCertificate);
    };
    let verifier = rule.chains();
    let rejection = match verifier.verify(chain, peer.role(), requirement, now) {
        Ok(chain) => return Ok(peer.judged_again(chain)),
        Err(rejection) => rejection,
    };
    if !rejection.is_of_time() {
        return loss(LossKind::Distrusted, rejection);
    }
    let last_good = peer.trusted_until();
    // An expired certificate must not hide a removed CA or a revoked peer. There may be no time at which the whole
    // chain is valid: the CA may have been renewed after the leaf expired.
    let without_time = verifier.verify_but_for_time(chain, peer.role(), requirement, last_good);
    let has_expired = !matches!(rejection, Rejection::NotYetValid { .. });
    match without_time {
        // The certificates that the peer was accepted by are still valid: the trust has changed, not the time.
        Ok(()) if has_expired && now <= last_good => loss(LossKind::Distrusted, rejection),
        Ok(()) if has_expired => loss(LossKind::Expired, rejection),
        Ok(()) => loss(LossKind::NotYetValid, rejection),
        // The certificates that the peer was accepted by were valid at that time. They are no longer trusted, and no
        // others were valid then.
        Err(other) if other.is_of_time() => loss(LossKind::Distrusted, rejection),
        Err(other) => loss(LossKind::Distrusted, other),
    }
}

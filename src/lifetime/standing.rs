//! Whether the peer of a live connection would still be accepted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls_pki_types::{CertificateDer, UnixTime};

use crate::stream::AuthenticatedStream;
use crate::tls_context::TlsContext;
use crate::verifier::{PeerVerifier, Rejection, VerifiedPeer};

/// What a live connection's peer was judged by, and what came of it.
#[derive(Debug)]
pub(crate) struct Standing {
    /// The chain, as the peer sent it.
    chain: Box<[CertificateDer<'static>]>,
    latest: Mutex<Latest>,
}

/// The latest judgement.
#[derive(Debug)]
struct Latest {
    generation: u64,
    /// The peer, as it was accepted last.
    peer: VerifiedPeer,
    loss: Option<Loss>,
}

/// Why a peer that was accepted once would not be any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Loss {
    /// It is only the time: something has expired.
    Expired(Box<Rejection>),
    /// It is only the time, but nothing has expired: a clock was turned back.
    NotYetValid(Box<Rejection>),
    Trust(Box<Rejection>),
}

impl Loss {
    pub(crate) fn rejection(&self) -> &Rejection {
        match self {
            Self::Expired(rejection) | Self::NotYetValid(rejection) | Self::Trust(rejection) => rejection,
        }
    }
}

/// What a judgement says, for all who present the same chain.
pub(crate) type Judgement = Result<VerifiedPeer, Loss>;

impl Standing {
    /// Of a peer that this generation has accepted.
    pub(crate) fn new(peer: VerifiedPeer, chain: &[CertificateDer<'static>], generation: u64) -> Self {
        Self { chain: chain.into(), latest: Mutex::new(Latest { generation, peer, loss: None }) }
    }

    pub(crate) fn of<IO>(stream: &AuthenticatedStream<IO>) -> Self {
        Self::new(stream.peer().clone(), stream.peer_certificates(), stream.generation())
    }

    /// The peer, as it was accepted last.
    pub(crate) fn peer(&self) -> VerifiedPeer {
        self.latest().peer.clone()
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The generation that has judged last.
    pub(crate) fn generation(&self) -> u64 {
        self.latest().generation
    }

    /// The last moment for which the peer was accepted.
    pub(crate) fn trusted_until(&self) -> UnixTime {
        self.latest().peer.trusted_until()
    }

    /// Why the peer would not be accepted, by the latest judgement.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.latest().loss.clone()
    }

    /// Whether the latest judgement may not hold under this generation at this time.
    pub(crate) fn is_due(&self, generation: u64, now: UnixTime) -> bool {
        let latest = self.latest();
        let in_time = now <= latest.peer.trusted_until();
        // One that was judged by a newer configuration already is none of this one's business.
        latest.generation < generation
            || latest.generation == generation
                && match latest.loss {
                    None => !in_time,
                    Some(Loss::Expired(_)) => in_time,
                    Some(Loss::NotYetValid(_)) => true,
                    Some(Loss::Trust(_)) => false,
                }
    }

    /// Judges the peer as the verifier of `context` would in a handshake.
    pub(crate) fn judge<C>(&self, context: &TlsContext<C>, now: UnixTime) -> Judgement {
        judge(&context.verifier, &self.chain, &self.peer(), now)
    }

    /// Notes a judgement by a generation. `Some` if it is a loss that was not known before.
    pub(crate) fn note(&self, generation: u64, judgement: &Judgement) -> Option<Loss> {
        let mut latest = self.latest();
        latest.generation = generation;
        match judgement {
            Ok(peer) => {
                (latest.peer, latest.loss) = (peer.clone(), None);
                None
            }
            Err(loss) => {
                let is_new = latest
                    .loss
                    .as_ref()
                    .is_none_or(|known| std::mem::discriminant(known) != std::mem::discriminant(loss));
                latest.loss = Some(loss.clone());
                is_new.then(|| loss.clone())
            }
        }
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge(
    verifier: &PeerVerifier,
    chain: &[CertificateDer<'_>],
    peer: &VerifiedPeer,
    now: UnixTime,
) -> Judgement {
    let rejection = match verifier.verify(chain, peer.role(), now) {
        Ok(peer) => return Ok(peer),
        Err(rejection) => rejection,
    };
    if !rejection.is_of_time() {
        return Err(Loss::Trust(Box::new(rejection)));
    }
    let last_good = peer.trusted_until();
    // That something has expired must not hide that the CA is gone, or that the peer is revoked. There may be no time
    // at which all of it is valid: the CA may have been renewed after the leaf expired.
    let then = match verifier.verify_as_of(chain, peer.role(), last_good) {
        // Most often, and mostly without a look at a signature.
        Ok(()) => Ok(()),
        Err(_) => verifier.verify_but_for_time(chain, peer.role(), last_good),
    };
    let has_expired = !matches!(rejection, Rejection::NotYetValid { .. });
    Err(match then {
        // What it was trusted by lasts longer than that, so that it is not the time that has changed.
        Ok(()) if has_expired && now <= last_good => Loss::Trust(Box::new(rejection)),
        Ok(()) if has_expired => Loss::Expired(Box::new(rejection)),
        Ok(()) => Loss::NotYetValid(Box::new(rejection)),
        // What it was accepted by was valid then: it is not trusted any more, and what there is otherwise was not
        // valid.
        Err(other) if other.is_of_time() => Loss::Trust(Box::new(rejection)),
        Err(other) => Loss::Trust(Box::new(other)),
    })
}

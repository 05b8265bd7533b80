//! The transfer of the verdict from rustls's verifier to the handshake.
//!
//! rustls passes its verifier nothing about the connection, but calls it while the connection's future is polled. A
//! task-local slot for that future lets all connections share one rustls configuration, and each peer is verified only
//! once. If rustls some day returns the result of its verifier, this file can be removed.

use std::cell::RefCell;
use std::future::Future;

use super::cache::Accepted;
use super::rejected::RejectedPeer;

/// The results of rustls's calls in one handshake.
#[derive(Default)]
pub(crate) struct Verdict {
    /// The verifier's result; `None` if it was not called. The rejection is boxed, because this is moved each time the
    /// handshake is polled.
    pub(crate) peer: Option<Result<Accepted, Box<RejectedPeer>>>,
    /// The client's end only: whether the server requested a certificate.
    pub(crate) certificate_requested: bool,
    /// Typha's end only: the application protocols that Felix offers if none of them is ours, at most [`MAX_OFFERED`].
    pub(crate) offered: Option<Box<[String]>>,
}

/// The most protocols that are recorded; a client may offer tens of thousands.
pub(super) const MAX_OFFERED: usize = 8;

tokio::task_local! {
    static VERDICT: RefCell<Verdict>;
}

/// Runs a handshake and returns its output with the verdict.
pub(crate) async fn with_verdict<F: Future>(handshake: F) -> (F::Output, Verdict) {
    let scoped = async {
        let output = handshake.await;
        (output, VERDICT.with(RefCell::take))
    };
    VERDICT.scope(RefCell::default(), scoped).await
}

/// Changes the verdict of the handshake that is being polled. Returns `Err` outside of a handshake of this crate.
pub(super) fn note(note: impl FnOnce(&mut Verdict)) -> Result<(), rustls::Error> {
    VERDICT
        .try_with(|verdict| note(&mut verdict.borrow_mut()))
        .map_err(|_| rustls::Error::General("the handshake was not started by this crate".to_owned()))
}

/// Whether the peer of the handshake that is being polled has no application protocol of ours.
pub(super) fn is_without_protocol() -> bool {
    VERDICT.try_with(|verdict| verdict.borrow().offered.is_some()).unwrap_or(true)
}

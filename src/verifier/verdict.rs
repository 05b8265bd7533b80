//! How the verdict gets from rustls's verifier to the handshake.
//!
//! rustls tells its verifier nothing of the connection, but calls it from within the poll of the connection's future.
//! Scoping a slot to that future lets all connections share one rustls configuration, and judges no peer twice. If
//! rustls's verifier returns what it knows of the peer, this file can go.

use std::cell::RefCell;
use std::future::Future;

use super::cache::Accepted;
use super::rejection::Rejection;

/// What rustls asked us in one handshake, and what we answered.
#[derive(Default)]
pub(crate) struct Verdict {
    /// What the verifier found; `None` if it was not reached. Boxed, as this is moved each time the handshake is
    /// polled.
    pub(crate) peer: Option<Result<Accepted, Box<Rejection>>>,
    /// Felix's end only: whether Typha requested a certificate.
    pub(crate) certificate_requested: bool,
    /// Typha's end only: the application protocols that Felix offers if none of them is ours, at most [`MAX_OFFERED`].
    pub(crate) offered: Option<Box<[String]>>,
}

/// A client may offer tens of thousands of protocols.
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

/// Notes something in the verdict of the handshake that is being polled. `Err` outside of a handshake of this crate.
pub(super) fn note(note: impl FnOnce(&mut Verdict)) -> Result<(), rustls::Error> {
    VERDICT
        .try_with(|verdict| note(&mut verdict.borrow_mut()))
        .map_err(|_| rustls::Error::General("the handshake was not started by this crate".to_owned()))
}

/// Whether the peer of the handshake that is being polled has no application protocol of ours.
pub(super) fn is_without_protocol() -> bool {
    VERDICT.try_with(|verdict| verdict.borrow().offered.is_some()).unwrap_or(true)
}

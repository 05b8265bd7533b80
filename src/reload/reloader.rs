//! The handle to a task that follows a source.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use super::following::{Following, ReloadOptions, Request};
use super::source::TlsConfigSource;
use super::state::{ReloadError, ReloadState, Reloaded};
use crate::tls_context::{End, InForce};

/// Handle to a task that follows a [source](TlsConfigSource) and puts its configurations in force. Clones share the
/// task; it runs as long as one clone exists.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use typha_tls::config::{Sources, TyphaConfig};
/// use typha_tls::reload::ReloadOptions;
///
/// let config = TyphaConfig::load(&Sources::typha())?;
/// let acceptor = config.acceptor()?;
/// let reloader = acceptor.follow(config.source(), ReloadOptions::default());
/// # Ok(())
/// # }
/// ```
///
/// The task loads from the source when it starts, at the [polling interval](ReloadOptions::poll_interval), when the
/// source [reports a change](TlsConfigSource::changed), and on [`reload_now`](Self::reload_now). A load that returns
/// the configuration in force does nothing.
///
/// - **Settling.** A new configuration or a new error must stay the same for the source's [settle
///   time](TlsConfigSource::settle_time) before it is put in force or reported. So half-written files are ignored.
///   Contents that differ at every load are never put in force; after ten loads that is an error. `reload_now` does not
///   wait.
/// - **Validation.** A reload accepts what a start accepts, with these exceptions. A new chain of our own must be one
///   that peers accept now. If the bundle in force has an entry that is valid now, the new bundle must have one, too. A
///   revocation list must not refuse every peer, nor be older than the newest list of its CA that was in force since
///   the acceptor or connector was made. If a CA is trusted and had a list in force, the new lists must have one of it,
///   unless [`allow_missing_lists`](ReloadOptions::allow_missing_lists) is set. Material that is in force already may
///   stay as it is: an expired leaf does not prevent the removal of a CA. An entry of the bundle that is no CA causes a
///   warning, as at the start.
/// - **Failures.** An error changes nothing: the configuration in force stays. Each problem is logged once, at level
///   warn; [`state`](Self::state) reports it until it is fixed.
/// - **Replacement by the program.** After [`TyphaAcceptor::replace`](crate::TyphaAcceptor::replace) or
///   [`FelixConnector::replace`](crate::FelixConnector::replace), the next load is compared with the program's
///   configuration. If the source gives a different one, the source's is put in force.
///
/// Each replacement is an event at level info. Each failure is an event at level warn with `reason`
/// ([`ReloadError::label`]) and `detail`. Warnings about a certificate in force come 30, 7 and 1 days before its
/// expiry, at the expiry, and every day after it. If a third of the lifetime is less than 30 days, they come at the
/// last third, sixth and twelfth instead. No file is ever written.
///
/// # Security
///
/// Live connections of a [`TyphaListener`](crate::TyphaListener) or a [`FelixDialer`](crate::FelixDialer) are [judged
/// again](crate::lifetime). Streams that an acceptor or a connector has returned stay connected: their owner must judge
/// them.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    requests: mpsc::UnboundedSender<Request>,
    state: watch::Receiver<ReloadState>,
    _task: AbortOnDropHandle<()>,
}

impl Reloader {
    /// Starts the task for `TyphaAcceptor::follow` and `FelixConnector::follow`.
    pub(crate) fn start<E: End>(
        in_force: &InForce<E>,
        source: impl TlsConfigSource<E::Config> + 'static,
        options: ReloadOptions,
    ) -> Self {
        let (requests, asked) = mpsc::unbounded_channel();
        let (following, state) = Following::new(in_force.clone(), source, options);
        let task = AbortOnDropHandle::new(tokio::spawn(following.run(asked)));
        Self(Arc::new(Inner { requests, state, _task: task }))
    }

    /// Loads at once and puts the result in force without waiting for it to settle: the caller declares it complete.
    ///
    /// The load begins after the call, so it sees all earlier changes. Concurrent calls share the next load. The future
    /// may be dropped at any time; the load may then still happen.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]; the configuration in force stays.
    pub async fn reload_now(&self) -> Result<Reloaded, Arc<ReloadError>> {
        let stopped = || Arc::new(ReloadError::Stopped);
        let (request, outcome) = oneshot::channel();
        self.0.requests.send(request).map_err(|_| stopped())?;
        outcome.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Whether its runtime has ended. Then nothing is loaded any more, and the configuration in force stays.
    pub fn is_stopped(&self) -> bool {
        self.0.requests.is_closed()
    }

    /// The state of the task, now and after each change.
    pub fn state(&self) -> watch::Receiver<ReloadState> {
        self.0.state.clone()
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reloader").field(&*self.0.state.borrow()).finish()
    }
}

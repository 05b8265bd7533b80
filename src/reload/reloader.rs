//! The handle to a task that follows a source.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use super::following::{Following, ReloadOptions, Request};
use super::source::TlsConfigSource;
use super::state::{ReloadError, ReloadState, Reloaded};
use crate::tls_context::{End, InForce};

/// Follows a [source](TlsConfigSource) and puts in force what it gives. Clones are the same; it works in a task as
/// long as one clone lives.
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
/// It looks at the source when it starts, at the [polling interval](ReloadOptions::poll_interval), when the source
/// [says so](TlsConfigSource::changed), and on [`reload_now`](Self::reload_now). A look that finds what is in force
/// does nothing.
///
/// - **Settling.** What a look by itself finds new, good or bad, must be found the same again after the [settle
///   time](TlsConfigSource::settle_time) of the source before it is put in force or reported: files that are caught
///   half-written are passed over. What is different at every look is never put in force, and after ten looks said to
///   be so.
/// - **What is new must be right.** A new leaf must be valid now, allow the use of its end, and be no CA; a new entry
///   of the bundle must be a CA. What is in force already may stay as it is, so that an expired leaf keeps nobody from
///   removing a CA.
/// - **What is bad changes nothing.** The configuration in force stays. There is one warning in the log for each
///   change for the worse, not for each look; [`state`](Self::state) shows it until it is mended.
/// - What the program puts in force itself, by [`TyphaAcceptor::replace`](crate::TyphaAcceptor::replace) or
///   [`FelixConnector::replace`](crate::FelixConnector::replace), is what the next look compares with. If the source
///   gives something else, that takes its place.
///
/// Each replacement is an event on the level info, each failure one on the level warn with `reason`
/// ([`ReloadError::label`]) and `detail`. A certificate in force that expires is warned of, too: 30, 7 and 1
/// days before, at the expiry and every day after it. If a third of its lifetime is less than 30 days, it is the last
/// third, sixth and twelfth of the lifetime. No file is ever written.
///
/// # Security
///
/// Live connections of a [`TyphaListener`](crate::TyphaListener) or a [`FelixDialer`](crate::FelixDialer) are [judged
/// again](crate::lifetime). What an acceptor or a connector alone has yielded stays connected whatever comes: that is
/// for its owner to judge.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    requests: mpsc::UnboundedSender<Request>,
    state: watch::Receiver<ReloadState>,
    _task: AbortOnDropHandle<()>,
}

impl Reloader {
    /// What `TyphaAcceptor::follow` and `FelixConnector::follow` do.
    pub(crate) fn start<C: End>(
        in_force: &InForce<C>,
        source: impl TlsConfigSource + 'static,
        options: ReloadOptions,
    ) -> Self {
        let (requests, asked) = mpsc::unbounded_channel();
        let (following, state) = Following::new(in_force.clone(), source, options);
        let task = AbortOnDropHandle::new(tokio::spawn(following.run(asked)));
        Self(Arc::new(Inner { requests, state, _task: task }))
    }

    /// Looks at once, and puts in force what it finds without waiting for it to settle: whoever asks says that it is
    /// complete.
    ///
    /// The look begins after the call, so that it sees all that was there at the call. Calls that come meanwhile share
    /// the next look. May be dropped at any time; the look may then happen nevertheless.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]; what was in force still is.
    pub async fn reload_now(&self) -> Result<Reloaded, Arc<ReloadError>> {
        let stopped = || Arc::new(ReloadError::Stopped);
        let (request, outcome) = oneshot::channel();
        self.0.requests.send(request).map_err(|_| stopped())?;
        outcome.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Whether its runtime has ended.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.requests.is_closed()
    }

    /// What it has done, now and whenever that changes.
    pub fn state(&self) -> watch::Receiver<ReloadState> {
        self.0.state.clone()
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reloader").field(&*self.0.state.borrow()).finish()
    }
}

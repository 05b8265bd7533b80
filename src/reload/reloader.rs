//! The handle to a task that follows a source.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use super::error::ReloadError;
use super::following::{Following, Request};
use super::options::ReloadOptions;
use super::source::SnapshotSource;
use super::state::{ReloadState, Reloaded};
use crate::snapshot::SnapshotEnd;
use crate::snapshot_handle::SnapshotHandle;

/// Follows a [source](SnapshotSource) and puts in force what it gives. Clones are the same; it works in a task as long
/// as one clone lives.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use typha_tls::config::{Sources, TyphaConfig, TyphaConfigSource};
/// use typha_tls::reload::{ReloadOptions, Reloader};
///
/// let sources = Sources::typha();
/// let config = TyphaConfig::load(&sources)?;
/// let acceptor = config.acceptor()?.ok_or("TLS is not configured")?;
/// let source = TyphaConfigSource::new(sources, &config);
/// let reloader = Reloader::start(acceptor.snapshots(), source, ReloadOptions::default());
/// # Ok(())
/// # }
/// ```
///
/// It looks at the source when it starts, at the [polling interval](ReloadOptions::poll_interval), when the source
/// [says so](SnapshotSource::changed), and on [`reload_now`](Self::reload_now). A look that finds what is in force does
/// nothing.
///
/// - **Settling.** What a look by itself finds new, good or bad, must be found the same again after the [settle
///   time](SnapshotSource::settle_time) of the source before it is put in force or reported: files that are caught
///   half-written are passed over. What is different at every look is never put in force, and after ten looks said to
///   be so.
/// - **What is new must be right.** A new leaf must be valid now, allow the use of its end, and be no CA; a new entry
///   of the bundle must be a CA. What is in force already may stay as it is, so that an expired leaf keeps nobody from
///   removing a CA.
/// - **What is bad changes nothing.** The snapshot in force stays. There is one warning in the log for each change for
///   the worse, not for each look; [`state`](Self::state) shows it until it is mended.
/// - What the program puts in force itself, by [`SnapshotHandle::replace`], is what the next look compares with. If the
///   source gives something else, that takes its place.
///
/// Each replacement is an event on the level info, each failure one on the level warn with `reason`
/// ([`ReloadError::as_str`]) and `detail`. Certificates in force that [are about to expire](super::ExpiryWarnings) are
/// warned of, too. No file is ever written.
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
    /// Starts to follow `source`, for all that begins its handshakes with `snapshots`. Dropping the last clone of what
    /// it returns ends that at once, even in the middle of a look.
    ///
    /// One handle is for one reloader: two with different sources would take turns in replacing what the other has put
    /// in force.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which must have its clock enabled.
    #[must_use = "nothing is followed once it is dropped"]
    pub fn start<C: SnapshotEnd>(
        snapshots: &SnapshotHandle<C>,
        source: impl SnapshotSource + 'static,
        options: ReloadOptions,
    ) -> Self {
        let (requests, asked) = mpsc::unbounded_channel();
        let (following, state) = Following::new(snapshots.clone(), source, options);
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

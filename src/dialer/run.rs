//! Keeps one connection to a Typha alive.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::FelixDialer;
use super::attempts::Progress;
use super::limits::Backoff;
use super::state::{DialerError, DialerPhase, Reporter};
use crate::connection::{CLIENT_GRACE, Connection};
use crate::lifetime::{CloseReason, Connections, Entry};
use crate::text::WithCauses;
use crate::time::deadline_in;

/// How long a handler may take to end by itself after the dialer was cancelled: 1 s, enough to close its connection.
const HANDLER_GRACE: Duration = Duration::from_secs(1);

/// So many connections in a row that lasted no longer than the `backoff_cap` make a dialer prefer other Typhas.
const SHORT_LIVED_CONNECTIONS: u32 = 3;

impl FelixDialer {
    /// Keeps one connection to a Typha alive until `cancel` is cancelled.
    ///
    /// The dialer connects and passes the connection to `handler`. It connects again when the handler has returned, or
    /// when it could not connect. Before that it waits for a delay with jitter, so that Felixes that have lost one
    /// Typha do not reconnect at the same moments. The delay grows from
    /// [`backoff_first`](super::DialerLimits::backoff_first) to [`backoff_cap`](super::DialerLimits::backoff_cap). It
    /// starts again at the first delay after a connection that has lived longer than the cap.
    ///
    /// If the handler returns an error, the dialer avoids this Typha as after [`report_bad`](Self::report_bad). I/O
    /// errors that only report the end of the connection are an exception. After them, the dialer does not avoid Typha
    /// if it sent `close_notify`, or if the connection lasted longer than the `backoff_cap`. If the handler returns
    /// `Ok`, the next connection may go to any Typha, also the same one. After three connections in a row to one Typha
    /// that were no longer than the `backoff_cap`, the dialer tries the other Typhas first.
    ///
    /// To spawn it, pass an `async fn`, or an `async move |connection|` closure that owns what it uses. `tokio::spawn`
    /// does not accept an async closure that borrows ("implementation of `Send` is not general enough").
    ///
    /// When `cancel` is cancelled, a handler has 1 s to return by itself; then it is dropped. It may hold a clone of
    /// `cancel` to notice. The same applies to a handler that keeps a connection which was [closed on our
    /// side](crate::lifetime). Dropping the future also stops the dialer, at once, and so does a handler that panics.
    /// [`state`](Self::state) shows the current state; errors are logged. A dialer and its clones share one state, so
    /// `run` should run only once at a time.
    ///
    /// ```no_run
    /// # async fn example(dialer: typha_tls::dialer::FelixDialer) {
    /// use tokio::io::AsyncReadExt as _;
    /// use typha_tls::CancellationToken;
    ///
    /// let cancel = CancellationToken::new();
    /// dialer
    ///     .run(cancel.clone(), async |mut connection| {
    ///         let mut buffer = [0; 4096];
    ///         while connection.read(&mut buffer).await? > 0 { /* … */ }
    ///         connection.close().await
    ///     })
    ///     .await;
    /// # }
    /// ```
    pub async fn run<H, E>(&self, cancel: CancellationToken, mut handler: H)
    where
        H: AsyncFnMut(Connection) -> Result<(), E>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let reporter = Reporter(&self.shared.state);
        let progress = |progress| match progress {
            Progress::Dialling(endpoint) => {
                reporter.phase(DialerPhase::Connecting { endpoint: Some(endpoint) });
            }
            Progress::Failed(attempt) => reporter.attempt_failed(attempt),
            Progress::BackingOff { until } => reporter.phase(DialerPhase::BackingOff { until }),
        };
        let mut backoff = Backoff::new(&self.limits);
        // The Typha that ended the latest connection after a short time, and how often in a row it did.
        let mut short_lived = (None, 0);
        loop {
            reporter.phase(DialerPhase::Connecting { endpoint: None });
            let connected = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                connected = self.connect_with_progress(&progress) => connected,
            };
            let failed = match connected {
                Err(error) => {
                    let text = WithCauses(&error);
                    warn!(reason = error.label(), error = %text, "connecting failed; the dialer goes on trying");
                    Some(DialerError::Dial(error))
                }
                Ok((endpoint, connection)) => {
                    let peer = connection.peer().identity().clone();
                    let (entry, connections) = (connection.entry().clone(), connection.connections().clone());
                    let since = Instant::now();
                    reporter.phase(DialerPhase::Connected { endpoint: endpoint.clone(), peer });
                    let mut handled = pin!(handler(connection));
                    let ended = tokio::select! {
                        biased;
                        ended = &mut handled => ended.map_err(Into::into),
                        () = overdue(&entry, &connections) => {
                            Err("the handler kept a connection that was ended on our side".into())
                        }
                        () = cancel.cancelled() => {
                            // The result of the handler is no longer used.
                            let _ = timeout(HANDLER_GRACE, handled).await;
                            return;
                        }
                    };
                    let was_long = since.elapsed() > self.limits.backoff_cap;
                    if was_long {
                        backoff.reset();
                        short_lived = (None, 0);
                    } else if short_lived.0 == Some(endpoint.address) {
                        short_lived.1 += 1;
                    } else {
                        short_lived = (Some(endpoint.address), 1);
                    }
                    // It may be healthy, but it does not keep us: a Felix must not stay with the Typha of its own node
                    // for ever that closes each connection.
                    if short_lived.1 >= SHORT_LIVED_CONNECTIONS {
                        info!(%endpoint, "the connections to this Typha are short: other Typhas come first");
                        self.report_bad(endpoint.address);
                        short_lived = (None, 0);
                    }
                    match ended {
                        Ok(()) => {
                            info!(%endpoint, "the connection to Typha has ended");
                            None
                        }
                        Err(error) if entry.close_reason() == Some(CloseReason::MaxAge) => {
                            debug!(error = %WithCauses(&*error), "the handler failed");
                            info!(%endpoint, "the connection to Typha has reached its maximum age");
                            None
                        }
                        Err(error) if entry.close_reason().is_none() && is_end(&*error, &entry, was_long) => {
                            info!(%endpoint, error = %WithCauses(&*error), "Typha has ended the connection");
                            None
                        }
                        Err(error) => {
                            self.report_bad(endpoint.address);
                            let error = DialerError::Handler { endpoint, source: error };
                            warn!(error = %WithCauses(&error), "the connection to Typha has failed");
                            Some(error)
                        }
                    }
                }
            };
            let until = deadline_in(backoff.next());
            let waiting = DialerPhase::BackingOff { until };
            match failed {
                Some(error) => reporter.failed(error, waiting),
                None => reporter.phase(waiting),
            }
            debug!(delay = ?until.saturating_duration_since(Instant::now()), "connecting again");
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = sleep_until(until) => {}
            }
        }
    }
}

/// Returns when a handler has not dropped its connection in time. A handler that has dropped it may continue.
async fn overdue(entry: &Arc<Entry>, connections: &Connections) {
    entry.close_requested().cancelled().await;
    sleep(CLIENT_GRACE + HANDLER_GRACE).await;
    if !connections.contains(entry) {
        std::future::pending::<()>().await;
    }
}

/// Whether the error of a handler only means that Typha or the network has ended the connection: in order, or after
/// long use. A Typha that ends new connections without `close_notify` must be avoided.
fn is_end(error: &(dyn Error + 'static), entry: &Entry, was_long: bool) -> bool {
    let mut next = Some(error);
    let io = loop {
        match next {
            Some(error) if error.is::<io::Error>() => break error.downcast_ref::<io::Error>(),
            Some(error) => next = error.source(),
            None => break None,
        }
    };
    let is_end = io.is_some_and(|io| {
        matches!(
            io.kind(),
            io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::NotConnected
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::WriteZero
        )
    });
    is_end && (was_long || entry.is_closed_by_peer.load(Ordering::Relaxed))
}

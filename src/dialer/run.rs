//! Keeping one connection alive.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::connecting::Progress;
use super::connection::FelixConnection;
use super::felix_dialer::FelixDialer;
use super::review::GRACE;
use super::state::{DialerError, DialerPhase, Reporter};
use crate::lifetime::{DropReason, Ending};
use crate::text::WithCauses;
use crate::time::deadline_in;

/// How long a handler may take to end by itself once the dialer is to stop: enough for a goodbye.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl FelixDialer {
    /// Keeps one connection to a Typha alive until `cancel` is cancelled.
    ///
    /// Connects, gives the connection to `handler`, and connects again when the handler has returned, or when it could
    /// not connect: after a delay that is jittered, so that Felixes that have lost one Typha do not come back in step,
    /// and that grows from [`backoff_first`](super::DialerLimits::backoff_first) to
    /// [`backoff_cap`](super::DialerLimits::backoff_cap), beginning anew after a connection that has lived longer than
    /// that cap.
    ///
    /// A handler that returns an error has found that this Typha is no good: it is avoided as after
    /// [`report_bad`](Self::report_bad). One that returns `Ok` is content, and any Typha may be next, the same one too.
    ///
    /// When `cancel` is cancelled, a handler has 1 s to return by itself, for which it may hold a clone of `cancel`;
    /// then it is dropped. The same goes for a handler that holds on to a connection which was [ended on our
    /// side](crate::lifetime). Dropping the future stops it too, at once, and so does a handler that panics.
    /// [`state`](Self::state) says what it is doing; what goes wrong is logged. It is meant to run once at a time for a
    /// dialer and its clones, since they share one state.
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
    ///         std::io::Result::Ok(())
    ///     })
    ///     .await;
    /// # }
    /// ```
    pub async fn run<H, E>(&self, cancel: CancellationToken, mut handler: H)
    where
        H: AsyncFnMut(FelixConnection) -> Result<(), E>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let reporter = Reporter(self.state_sender());
        let progress = |progress| match progress {
            Progress::Dialling(endpoint) => {
                reporter.phase(DialerPhase::Connecting { endpoint: Some(endpoint) });
            }
            Progress::Failed(attempt) => reporter.attempt_failed(attempt),
            Progress::BackingOff { until } => reporter.phase(DialerPhase::BackingOff { until }),
        };
        let mut backoff = Backoff::new(self.limits());
        loop {
            reporter.phase(DialerPhase::Connecting { endpoint: None });
            let connected = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                connected = self.connect_reporting(&progress) => connected,
            };
            let failed = match connected {
                Err(error) => {
                    warn!(reason = error.reason(), error = %WithCauses(&error), "no Typha could be connected to");
                    Some(DialerError::Dial(error))
                }
                Ok(connection) => {
                    let (endpoint, since) = (connection.endpoint().clone(), Instant::now());
                    let peer = connection.peer().identity().clone();
                    let ending = connection.ending().clone();
                    reporter.phase(DialerPhase::Connected { endpoint: endpoint.clone(), peer });
                    let mut handled = pin!(handler(connection));
                    let ended = tokio::select! {
                        biased;
                        ended = &mut handled => ended.map_err(Into::into),
                        () = overdue(&ending) => Err("the handler held on to a connection that was ended on our \
                                                      side".into()),
                        () = cancel.cancelled() => {
                            // Whatever it returns, nobody asks any more.
                            let _ = timeout(LAST_WORDS, handled).await;
                            return;
                        }
                    };
                    if since.elapsed() > self.limits().backoff_cap {
                        backoff.reset();
                    }
                    match ended {
                        Ok(()) => {
                            info!(%endpoint, "the connection to Typha has ended");
                            None
                        }
                        // Reading or writing has failed by our own doing, and Typha is as good as it was.
                        Err(_) if ending.reason() == Some(DropReason::MaxAge) => {
                            info!(%endpoint, "the connection to Typha has reached its maximum age");
                            None
                        }
                        Err(error) => {
                            self.report_bad(&endpoint);
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

/// Ends when a handler ought to have let go of its connection, and has not.
async fn overdue(ending: &Arc<Ending>) {
    ending.told().cancelled().await;
    sleep(GRACE + LAST_WORDS).await;
    // The connection shares it. Who has let go of that may take the time that it takes.
    if Arc::strong_count(ending) == 1 {
        std::future::pending::<()>().await;
    }
}

//! The task: wait, look, settle, act.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::changes::{changes, own_issuer};
use super::expiry::ExpiryWatch;
use super::files::SETTLE_TIME;
use super::settling::{Decision, Found, PAUSE, Settling, settle};
use super::source::{SourceError, TlsConfigSource};
use super::state::{ReloadError, ReloadState, Reloaded};
use super::validation;
use crate::detached::text_of;
use crate::text::WithCauses;
use crate::time::deadline_in;
use crate::tls_config::TlsConfig;
use crate::tls_context::{End, InForce};

/// How often expiry is looked at.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// How often in a row a look is made again because the program put something in force meanwhile.
const LOOKS_OVERTAKEN: u32 = 10;

/// Whence comes what the source did not give.
const THE_PROGRAM: &str = "the program";

/// How a [`Reloader`](super::Reloader) goes about it. [`Default`] has the values named below.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReloadOptions {
    /// How long after a look the next one comes; 30 s by default, which is little work for a few files, and soon enough
    /// for what is renewed days ahead. Where the source tells of changes, they are seen at once. Less than 100 ms is
    /// taken as 100 ms, but [`Duration::ZERO`] means: never by itself, only on
    /// [`reload_now`](super::Reloader::reload_now).
    pub poll_interval: Duration,
    /// How long the source may take; 10 s by default. Longer is an error of that look, since a file system that hangs
    /// should be noticed.
    pub load_timeout: Duration,
}

impl Default for ReloadOptions {
    fn default() -> Self {
        Self { poll_interval: Duration::from_secs(30), load_timeout: Duration::from_secs(10) }
    }
}

/// Where the outcome of a look that was asked for goes.
pub(super) type Request = oneshot::Sender<Result<Reloaded, Arc<ReloadError>>>;

/// What the task has.
pub(super) struct Following<C, S> {
    in_force: InForce<C>,
    source: S,
    description: String,
    options: ReloadOptions,
    state: watch::Sender<ReloadState>,
    expiry: ExpiryWatch,
    settling: Option<Settling>,
}

impl<C: End, S: TlsConfigSource> Following<C, S> {
    pub(super) fn new(
        in_force: InForce<C>,
        source: S,
        mut options: ReloadOptions,
    ) -> (Self, watch::Receiver<ReloadState>) {
        if !options.poll_interval.is_zero() {
            options.poll_interval = options.poll_interval.max(PAUSE);
        }
        let current = in_force.current();
        let state = watch::Sender::new(ReloadState::new(current.generation, &current.config, THE_PROGRAM));
        let receiver = state.subscribe();
        let description = source.description();
        (
            Self {
                in_force,
                source,
                description,
                options,
                state,
                expiry: ExpiryWatch::default(),
                settling: None,
            },
            receiver,
        )
    }

    /// Returns when the last clone of the reloader is gone.
    pub(super) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let poll = self.options.poll_interval;
        let mut generations = self.in_force.generations();
        let mut next_look = Instant::now();
        let mut hints_from = next_look;
        let mut gives_hints = !poll.is_zero();
        loop {
            self.follow_generation();
            let current = self.in_force.current();
            self.expiry.warn(current.generation, &current.config, &self.state.borrow().certificates);
            let hint = async {
                sleep_until(hints_from).await;
                surviving(self.source.changed()).await
            };
            let asked = tokio::select! {
                biased;
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    // All that were made before the look begins are answered by it.
                    let mut asked = vec![request];
                    asked.extend(std::iter::from_fn(|| requests.try_recv().ok()));
                    asked.retain(|request| !request.is_closed());
                    if asked.is_empty() {
                        continue;
                    }
                    asked
                }
                () = sleep_until(next_look), if !poll.is_zero() => Vec::new(),
                // While something settles it is looked at soon enough, and that does not have to wait for the last of
                // many changes.
                hint = hint, if gives_hints && self.settling.is_none() => match hint {
                    Ok(()) => Vec::new(),
                    Err(_) => {
                        warn!(source = self.description, "the source panicked when asked for changes, and is polled \
                                                          only from now on");
                        gives_hints = false;
                        continue;
                    }
                },
                _ = generations.changed() => continue,
                () = sleep(EXPIRY_INTERVAL) => continue,
            };
            let found = self.look().await;
            self.follow_generation();
            let settling = self.settling.take();
            let wait = if asked.is_empty() {
                let reported = self.state.borrow().last_error.clone();
                let settle_time = surviving(async { self.source.settle_time() }).await.unwrap_or(SETTLE_TIME);
                let now = Instant::now().into_std();
                match settle(settling, found, reported.as_deref(), now, settle_time, poll) {
                    Decision::Act(found) => {
                        let _ = self.act(found);
                        poll
                    }
                    Decision::Wait(settling, wait) => {
                        self.settling = Some(settling);
                        wait
                    }
                    Decision::Report(error, settling, wait) => {
                        self.failed(error);
                        self.settling = Some(settling);
                        wait
                    }
                }
            } else {
                let outcome = self.act(found);
                for request in asked {
                    let _ = request.send(outcome.clone());
                }
                poll
            };
            next_look = deadline_in(wait);
            hints_from = deadline_in(PAUSE);
        }
    }

    /// What the program puts in force during a look may be newer than what that look found: then the source is asked
    /// again.
    async fn look(&self) -> Found {
        let mut attempts = LOOKS_OVERTAKEN;
        loop {
            let generation = self.in_force.current().generation;
            let found = match surviving(self.ask()).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => Found::Bad(Arc::new(error)),
                Err(panic) => {
                    Found::Bad(Arc::new(SourceError::new(format!("the source panicked: {panic}")).into()))
                }
            };
            self.change_state(|state| state.looks += 1);
            let is_overtaken = self.in_force.current().generation != generation;
            if !is_overtaken || !matches!(found, Found::New(_)) || attempts == 0 {
                return found;
            }
            attempts -= 1;
        }
    }

    /// Asks the source, and judges what it gives.
    async fn ask(&self) -> Result<Found, ReloadError> {
        let at_most = self.options.load_timeout;
        let config =
            timeout(at_most, self.source.load()).await.map_err(|_| ReloadError::TimedOut(at_most))??;
        let in_force = self.in_force.current();
        if config.is_same_as(&in_force.config) {
            return Ok(Found::Unchanged);
        }
        validation::check(&config, &in_force.config, C::LOCAL)?;
        Ok(Found::New(config))
    }

    /// Acts on what a look found.
    fn act(&mut self, found: Found) -> Result<Reloaded, Arc<ReloadError>> {
        match found {
            Found::Bad(error) => Err(self.failed(error)),
            Found::New(config) => Ok(Reloaded::Replaced { generation: self.put_in_force(config) }),
            Found::Unchanged => {
                if self.state.borrow().last_error.is_some() {
                    info!(source = self.description, "what is there is what is in force, again");
                    self.change_state(|state| state.last_error = None);
                }
                Ok(Reloaded::Unchanged)
            }
        }
    }

    /// Reports a failure, unless it has been. Returns it as it was reported.
    fn failed(&mut self, error: Arc<ReloadError>) -> Arc<ReloadError> {
        let reported = self.state.borrow().last_error.clone();
        if let Some(reported) = reported.filter(|reported| reported.reads_as(&error)) {
            return reported;
        }
        warn!(
            source = self.description,
            reason = error.label(),
            detail = %WithCauses(&*error),
            generation = self.state.borrow().generation,
            "what is new can not be used; the configuration in force stays"
        );
        self.change_state(|state| {
            state.failures += 1;
            state.last_error = Some(error.clone());
        });
        error
    }

    fn put_in_force(&mut self, new: TlsConfig) -> u64 {
        let old = self.in_force.current();
        let generation = self.in_force.replace(new.clone());
        let changes = changes(&old.config, &new);
        info!(generation, source = self.description, changes = %changes, "configuration replaced");
        if let Some(problem) = own_issuer(&old.config, &new, C::LOCAL) {
            warn!(generation, "{problem}");
        }
        new.log_warnings(C::LOCAL);
        self.change_state(|state| {
            state.put_in_force(generation, &new, &self.description);
            state.reloads += 1;
            state.last_error = None;
        });
        generation
    }

    /// Takes note of what the program put in force itself.
    fn follow_generation(&self) {
        let current = self.in_force.current();
        if current.generation != self.state.borrow().generation {
            self.change_state(|state| state.put_in_force(current.generation, &current.config, THE_PROGRAM));
        }
    }

    /// The only place where the state changes, so that the metrics follow from it.
    fn change_state(&self, change: impl FnOnce(&mut ReloadState)) {
        let before = self.state.borrow().clone();
        self.state.send_modify(change);
        let now = self.state.borrow().clone();
        now.record_since(&before);
    }
}

/// Survives a panic of the source's code, and gives its text: a daemon follows its source for as long as it lives.
async fn surviving<T>(source: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(source).catch_unwind().await.map_err(|panic| text_of(&*panic).to_owned())
}

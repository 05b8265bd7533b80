//! The task of a reloader: wait, load, settle, act.

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
use crate::config_parts::EndConfig as _;
use crate::detached::text_of;
use crate::text::WithCauses;
use crate::time::deadline_in;
use crate::tls_context::{End, InForce};

/// How often the expiry of certificates is checked.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// How often in a row a load is repeated because the program replaced the configuration meanwhile.
const MAX_REPEATS: u32 = 10;

/// The origin of a configuration that did not come from the source.
const THE_PROGRAM: &str = "the program";

/// The options of a [`Reloader`](super::Reloader). [`Default`] has the values named below.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReloadOptions {
    /// The time from one load to the next; 30 s by default. That is little work for a few files, and early enough for
    /// certificates that are renewed days ahead. If the source reports changes, it is loaded at once. Less than 100 ms
    /// is taken as 100 ms. [`Duration::ZERO`] means: only on [`reload_now`](super::Reloader::reload_now).
    pub poll_interval: Duration,
    /// The bound on a load; 10 s by default. A load that takes longer fails, so that a hanging file system is noticed.
    pub load_timeout: Duration,
    /// Whether a revocation list may disappear while its CA is still trusted; `false` by default: the configuration in
    /// force stays, with
    /// [`RevocationListMissing`](crate::material::MaterialWarning::RevocationListMissing). Instead of setting this, a
    /// program can call [`TyphaAcceptor::replace`](crate::TyphaAcceptor::replace) or
    /// [`FelixConnector::replace`](crate::FelixConnector::replace) once.
    ///
    /// # Security
    ///
    /// With `true`, a revoked peer is accepted again as soon as the source gives no list of its CA. Half of a list file
    /// that has several lists is a valid file, so an interrupted write is enough for that. Set it only if the source
    /// itself makes sure that all lists are there.
    pub allow_missing_lists: bool,
}

impl Default for ReloadOptions {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(30),
            load_timeout: Duration::from_secs(10),
            allow_missing_lists: false,
        }
    }
}

/// Receives the outcome of a requested load.
pub(super) type Request = oneshot::Sender<Result<Reloaded, Arc<ReloadError>>>;

/// The state of the task.
pub(super) struct Following<E: End, S> {
    in_force: InForce<E>,
    source: S,
    description: String,
    options: ReloadOptions,
    state: watch::Sender<ReloadState>,
    expiry: ExpiryWatch,
    settling: Option<Settling<E::Config>>,
}

impl<E: End, S: TlsConfigSource<E::Config>> Following<E, S> {
    pub(super) fn new(
        in_force: InForce<E>,
        source: S,
        mut options: ReloadOptions,
    ) -> (Self, watch::Receiver<ReloadState>) {
        if !options.poll_interval.is_zero() {
            options.poll_interval = options.poll_interval.max(PAUSE);
        }
        let current = in_force.current();
        let state =
            watch::Sender::new(ReloadState::new(current.generation, current.config.parts(), THE_PROGRAM));
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

    /// Runs until the last clone of the reloader is dropped.
    pub(super) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let poll = self.options.poll_interval;
        let mut generations = self.in_force.generations();
        let mut next_load = Instant::now();
        let mut hints_from = next_load;
        let mut gives_hints = !poll.is_zero();
        loop {
            self.follow_generation();
            let current = self.in_force.current();
            self.expiry.warn(current.generation, current.config.parts(), &self.state.borrow().certificates);
            let hint = async {
                sleep_until(hints_from).await;
                surviving(self.source.changed()).await
            };
            let asked = tokio::select! {
                biased;
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    // This load answers all requests that were made before it begins.
                    let mut asked = vec![request];
                    asked.extend(std::iter::from_fn(|| requests.try_recv().ok()));
                    asked.retain(|request| !request.is_closed());
                    if asked.is_empty() {
                        continue;
                    }
                    asked
                }
                () = sleep_until(next_load), if !poll.is_zero() => Vec::new(),
                // While a change settles, the next load comes soon enough. It does not have to wait for the last of
                // many changes.
                hint = hint, if gives_hints && self.settling.is_none() => match hint {
                    Ok(()) => Vec::new(),
                    Err(_) => {
                        warn!(source = self.description, "the source panicked in changed(); it is only polled from \
                                                          now on");
                        gives_hints = false;
                        continue;
                    }
                },
                _ = generations.changed() => continue,
                () = sleep(EXPIRY_INTERVAL) => continue,
            };
            let found = self.load().await;
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
            next_load = deadline_in(wait);
            hints_from = deadline_in(PAUSE);
        }
    }

    /// Loads from the source. If the program replaces the configuration during the load, the result may be older than
    /// that: the load is repeated.
    async fn load(&self) -> Found<E::Config> {
        let mut attempts = MAX_REPEATS;
        loop {
            let generation = self.in_force.current().generation;
            let found = match surviving(self.load_once()).await {
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

    /// Loads from the source and validates the result.
    async fn load_once(&self) -> Result<Found<E::Config>, ReloadError> {
        let at_most = self.options.load_timeout;
        let config =
            timeout(at_most, self.source.load()).await.map_err(|_| ReloadError::TimedOut(at_most))??;
        let in_force = self.in_force.current();
        if config.parts().is_same_as(in_force.config.parts()) {
            return Ok(Found::Unchanged);
        }
        validation::check(config.parts(), &in_force, self.options.allow_missing_lists)?;
        Ok(Found::New(config))
    }

    /// Acts on the result of a load.
    fn act(&mut self, found: Found<E::Config>) -> Result<Reloaded, Arc<ReloadError>> {
        match found {
            Found::Bad(error) => Err(self.failed(error)),
            Found::New(config) => Ok(Reloaded::Replaced { generation: self.put_in_force(config) }),
            Found::Unchanged => {
                if self.state.borrow().last_error.is_some() {
                    info!(source = self.description, "the source matches the active configuration again");
                    self.change_state(|state| state.last_error = None);
                }
                Ok(Reloaded::Unchanged)
            }
        }
    }

    /// Reports an error, unless it was reported already. Returns the error as it was reported.
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
            "the new configuration can not be used; the configuration in force stays"
        );
        self.change_state(|state| {
            state.failures += 1;
            state.last_error = Some(error.clone());
        });
        error
    }

    fn put_in_force(&mut self, new: E::Config) -> u64 {
        let old = self.in_force.current();
        let generation = self.in_force.replace(new.clone());
        let (old, now) = (old.config.parts(), new.parts());
        let changes = changes(old, now);
        info!(generation, source = self.description, changes = %changes, "configuration replaced");
        if let Some(problem) = own_issuer(old, now, E::LOCAL) {
            warn!(generation, "{problem}");
        }
        now.log_warnings(E::LOCAL);
        self.change_state(|state| {
            state.put_in_force(generation, now, &self.description);
            state.reloads += 1;
            state.last_error = None;
        });
        generation
    }

    /// Records a configuration that the program put in force itself.
    fn follow_generation(&self) {
        let current = self.in_force.current();
        if current.generation != self.state.borrow().generation {
            self.change_state(|state| {
                state.put_in_force(current.generation, current.config.parts(), THE_PROGRAM);
            });
        }
    }

    /// Changes the state. It is the only place that does, so that the metrics always follow.
    fn change_state(&self, change: impl FnOnce(&mut ReloadState)) {
        let before = self.state.borrow().clone();
        self.state.send_modify(change);
        let now = self.state.borrow().clone();
        now.record_since(&before);
    }
}

/// Catches a panic of the source's code and returns its text: a daemon follows its source for as long as it runs.
async fn surviving<T>(source: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(source).catch_unwind().await.map_err(|panic| text_of(&*panic).to_owned())
}

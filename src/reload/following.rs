//! The task: when to look, what has settled, and what becomes of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rustls_pki_types::UnixTime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::changes::Changes;
use super::error::ReloadError;
use super::expiry::ExpiryWatch;
use super::facade::Facade;
use super::files::SETTLE_TIME;
use super::look::{Found, look};
use super::options::ReloadOptions;
use super::source::TlsConfigSource;
use super::state::{CertificateLifetime, ReloadState, Reloaded};
use crate::text::WithCauses;
use crate::time::deadline_in;
use crate::tls_config::TlsConfig;
use crate::tls_context::{End, InForce, TlsContext};

/// The shortest time between two looks that nobody asked for.
const PAUSE: Duration = Duration::from_millis(100);
/// How often expiry is looked at.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
/// After so many looks that found something else each it is said so.
const UNSETTLED_LOOKS: u32 = 10;

/// How often in a row a look is made again because the program put something in force meanwhile.
const LOOKS_OVERTAKEN: u32 = 10;

/// Whence comes what the source did not give.
const THE_PROGRAM: &str = "the program";

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
    facade: Facade,
    settling: Option<Settling>,
}

/// What is new, and has to be found again.
struct Settling {
    found: Found,
    since: Instant,
    /// How many looks in a row found something else than the look before, this one included.
    looks: u32,
    /// Whether they found nothing but errors.
    only_errors: bool,
}

enum Wake {
    Asked(Request),
    Due,
    Idle,
    Stopped,
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
        let state = watch::Sender::new(ReloadState {
            generation: current.generation,
            loaded_at: now(&current),
            loaded_from: THE_PROGRAM.to_owned(),
            looks: 0,
            reloads: 0,
            failures: 0,
            last_error: None,
            certificates: CertificateLifetime::all_of(&current.config),
        });
        let receiver = state.subscribe();
        let mut expiry = ExpiryWatch::new(options.expiry_warnings.clone());
        expiry.begin_lists(&current.config.material.revocation_lists, now(&current));
        let description = source.description();
        let following = Self {
            in_force,
            source,
            description,
            options,
            state,
            expiry,
            facade: Facade::new(),
            settling: None,
        };
        (following, receiver)
    }

    pub(super) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let by_itself = !self.options.poll_interval.is_zero();
        let mut generations = self.in_force.generations();
        let mut next_look = Instant::now();
        let mut hints_from = next_look;
        let mut gives_hints = true;
        loop {
            self.follow_generation();
            self.facade.tell(&self.state.borrow());
            let current = self.in_force.current();
            if let Some(now) = current.now() {
                self.expiry.warn(&self.state.borrow().certificates, now);
                self.expiry.warn_of_lists(&current.config.material.revocation_lists, now);
            }
            // While something settles it is looked at soon enough, and that does not have to wait for the last of many
            // changes.
            let takes_hints = by_itself && gives_hints && self.settling.is_none();
            let wake = {
                let source = &self.source;
                let changed = async move {
                    sleep_until(hints_from).await;
                    AssertUnwindSafe(source.changed()).catch_unwind().await
                };
                tokio::select! {
                    biased;
                    request = requests.recv() => request.map_or(Wake::Stopped, Wake::Asked),
                    () = sleep_until(next_look), if by_itself => Wake::Due,
                    hint = changed, if takes_hints => match hint {
                        Ok(()) => Wake::Due,
                        Err(_) => {
                            warn!(source = self.description, "the source panicked when asked for changes, and is \
                                                              polled only from now on");
                            gives_hints = false;
                            Wake::Idle
                        }
                    },
                    _ = generations.changed() => Wake::Idle,
                    () = tokio::time::sleep(EXPIRY_INTERVAL) => Wake::Idle,
                }
            };
            let asked = match wake {
                Wake::Stopped => return,
                Wake::Idle => continue,
                Wake::Asked(request) => {
                    // All that were made before the look begins are answered by it.
                    let mut asked = vec![request];
                    asked.extend(std::iter::from_fn(|| requests.try_recv().ok()));
                    asked.retain(|request| !request.is_closed());
                    if asked.is_empty() {
                        continue;
                    }
                    asked
                }
                Wake::Due => Vec::new(),
            };
            let found = self.look().await;
            self.follow_generation();
            let wait = if asked.is_empty() {
                self.consider(found)
            } else {
                self.settling = None;
                let outcome = self.settled(found);
                for request in asked {
                    let _ = request.send(outcome.clone());
                }
                self.options.poll_interval
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
            let found = look(&self.source, &self.in_force, self.options.load_timeout).await;
            self.state.send_modify(|state| state.looks += 1);
            let is_overtaken = self.in_force.current().generation != generation;
            if !is_overtaken || !matches!(found, Found::New(_)) || attempts == 0 {
                return found;
            }
            attempts -= 1;
        }
    }

    /// That of the source; if it panics, one that does for files.
    fn settle_time(&self) -> Duration {
        std::panic::catch_unwind(AssertUnwindSafe(|| self.source.settle_time())).unwrap_or(SETTLE_TIME)
    }

    /// What a look by itself found. Returns when to look again.
    fn consider(&mut self, found: Found) -> Duration {
        let (poll, settle) = (self.options.poll_interval, self.settle_time());
        let before = self.settling.take();
        if settle.is_zero() || matches!(found, Found::Unchanged) || self.is_known(&found) {
            let _ = self.settled(found);
            return poll;
        }
        let mut settling = match before {
            Some(before) if before.found.is_same_as(&found) => before,
            before => {
                let (looks, only_errors) =
                    before.map_or((0, true), |before| (before.looks, before.only_errors));
                let only_errors = only_errors && matches!(found, Found::Bad(_));
                Settling { found, since: Instant::now(), looks: looks.saturating_add(1), only_errors }
            }
        };
        let waited = settling.since.elapsed();
        if waited >= settle {
            let _ = self.settled(settling.found);
            return poll;
        }
        let left = settle.saturating_sub(waited).max(PAUSE.min(settle));
        let wait = if settling.looks < UNSETTLED_LOOKS { left } else { left.max(poll) };
        if settling.looks == UNSETTLED_LOOKS {
            let error = match &settling.found {
                // It says more, also if it reads otherwise each time: by the number of a request, say.
                Found::Bad(error) if settling.only_errors => error.clone(),
                _ => Arc::new(ReloadError::Unsettled { looks: UNSETTLED_LOOKS }),
            };
            let _ = self.failed(error);
            settling.looks = settling.looks.saturating_add(1);
        }
        self.settling = Some(settling);
        wait
    }

    /// Whether it is a failure that has been reported.
    fn is_known(&self, found: &Found) -> bool {
        match (found, &self.state.borrow().last_error) {
            (Found::Bad(error), Some(reported)) => error.reads_as(reported),
            _ => false,
        }
    }
}

impl<C: End, S: TlsConfigSource> Following<C, S> {
    /// Acts on what a look found.
    fn settled(&mut self, found: Found) -> Result<Reloaded, Arc<ReloadError>> {
        match found {
            Found::Bad(error) => Err(self.failed(error)),
            Found::New(config) => Ok(Reloaded::Replaced { generation: self.put_in_force(config) }),
            Found::Unchanged => {
                if self.state.borrow().last_error.is_some() {
                    info!(source = self.description, "what is there is what is in force, again");
                    self.state.send_modify(|state| state.last_error = None);
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
            reason = error.as_str(),
            detail = %WithCauses(&*error),
            generation = self.state.borrow().generation,
            "what is new can not be used; the configuration in force stays"
        );
        self.state.send_modify(|state| {
            state.failures += 1;
            state.last_error = Some(error.clone());
        });
        error
    }

    fn put_in_force(&mut self, new: TlsConfig) -> u64 {
        let old = self.in_force.current();
        let generation = self.in_force.replace(new.clone());
        let loaded_at = now(&self.in_force.current());
        let changes = Changes::between(&old.config, &new);
        info!(generation, source = self.description, changes = %changes, "configuration replaced");
        if let Some(issuer) = changes.own_issuer(C::LOCAL, loaded_at) {
            warn!(generation, "{issuer}");
        }
        new.log_warnings(C::LOCAL);
        self.expiry.begin_lists(&new.material.revocation_lists, loaded_at);
        self.state.send_modify(|state| {
            state.reloads += 1;
            state.last_error = None;
            state.generation = generation;
            state.loaded_at = loaded_at;
            state.loaded_from.clone_from(&self.description);
            state.certificates = CertificateLifetime::all_of(&new);
        });
        generation
    }

    /// Takes note of what the program put in force itself.
    fn follow_generation(&mut self) {
        let current = self.in_force.current();
        if current.generation == self.state.borrow().generation {
            return;
        }
        self.state.send_modify(|state| {
            state.generation = current.generation;
            state.loaded_at = now(&current);
            state.loaded_from = THE_PROGRAM.to_owned();
            state.certificates = CertificateLifetime::all_of(&current.config);
        });
        // What is known of its lists was said when it was made.
        self.expiry.begin_lists(&current.config.material.revocation_lists, now(&current));
    }
}

/// By the clock of its policy, or else by ours.
fn now<C>(context: &TlsContext<C>) -> UnixTime {
    context.now().unwrap_or_else(UnixTime::now)
}

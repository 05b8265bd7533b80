//! One `connect`: the Typhas that it tries, and when.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rustls_pki_types::UnixTime;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::endpoint::{AnySource, DiscoveryError, Search, TyphaEndpoint};
use super::error::{AttemptError, DialError, FailedAttempt};
use super::known::{Known, Round};
use super::limits::{Backoff, DialerLimits};
use crate::connector::FelixConnector;
use crate::error::HandshakeError;
use crate::identity::PeerIdentity;
use crate::stream::{AuthenticatedStream, SharedTcpStream};
use crate::text::WithCauses;
use crate::time::deadline_in;

/// The input of a `connect`.
pub(super) struct Context<'a, T> {
    pub(super) transport: &'a T,
    pub(super) source: &'a Arc<dyn AnySource>,
    pub(super) known: &'a Mutex<Known>,
    pub(super) limits: &'a DialerLimits,
    pub(super) own_node: Option<&'a str>,
    /// Called with the progress.
    pub(super) progress: &'a (dyn Fn(Progress) + Sync),
}

pub(super) enum Progress {
    Dialling(TyphaEndpoint),
    Failed(FailedAttempt),
    BackingOff { until: Instant },
}

/// One `connect`.
///
/// Between rounds it backs off. In a round, every known Typha has one turn. It is dialled, beside those that have not
/// answered within their head start. Only the first that answers gets a handshake. After each failure the source is
/// queried again.
pub(super) struct Attempts<'a, T> {
    context: Context<'a, T>,
    search: Search,
    search_error: Option<DiscoveryError>,
    round: Round,
    attempts: Vec<FailedAttempt>,
    /// The number of Typhas that determines the number of tries: known at the beginning or found by one search,
    /// whichever is more. Not the number that is known now: a source that returns another Typha each time would raise
    /// it for ever.
    typhas: usize,
    deadline: Instant,
    random: Rng,
}

/// A TCP connection and its attempt.
struct Dialled<Tcp> {
    tcp: Tcp,
    attempt: Attempt,
}

struct Attempt {
    endpoint: TyphaEndpoint,
    started: Instant,
    bound: Duration,
}

impl<'a, T: Transport> Attempts<'a, T> {
    pub(super) fn new(context: Context<'a, T>) -> Self {
        Self {
            search: Search::new(context.source.clone()),
            search_error: None,
            round: Round::default(),
            attempts: Vec::new(),
            typhas: lock(context.known).len(),
            deadline: deadline_in(context.limits.connect_timeout),
            random: Rng::new(),
            context,
        }
    }

    pub(super) async fn connect(mut self) -> Result<(TyphaEndpoint, T::Stream), DialError> {
        let mut backoff = Backoff::new(self.context.limits);
        let mut rounds = 0;
        self.search();
        loop {
            if let Some(dialled) = self.dial().await? {
                if let Some(connected) = self.handshake(dialled).await? {
                    return Ok(connected);
                }
                continue;
            }
            rounds += 1;
            if self.context.limits.max_rounds.is_some_and(|most| rounds >= most) {
                return Err(self.tries_used_up());
            }
            self.back_off(backoff.next()).await;
        }
    }

    /// Races for a TCP connection, as in RFC 8305 (happy eyeballs). Dials the Typhas that have not had their turn until
    /// one answers. `None` if none is left.
    async fn dial(&mut self) -> Result<Option<Dialled<T::Tcp>>, DialError> {
        let Context { transport, limits, .. } = self.context;
        let mut dials = FuturesUnordered::new();
        let mut under_way: Vec<TyphaEndpoint> = Vec::new();
        let mut head_start_until = Instant::now();
        loop {
            let now = Instant::now();
            let next_dial_at =
                self.search.wait_until().map_or(head_start_until, |at| at.max(head_start_until));
            let known = self.known().len();
            if known == 0 && under_way.is_empty() && self.search.wait_until().is_none() {
                return Err(self.no_endpoints());
            }
            let mut wait = None;
            if now >= self.deadline {
                if under_way.is_empty() {
                    return Err(self.timed_out());
                }
            } else if now < next_dial_at {
                wait = Some(next_dial_at.min(self.deadline));
            } else {
                if let Some(slow) = under_way.last() {
                    self.round.is_slow(slow.address);
                }
                if self.attempts.len() + under_way.len() < limits.tries(self.typhas) {
                    if let Some(endpoint) = self.next(now) {
                        debug!(%endpoint, beside = under_way.len(), "dialling Typha");
                        self.round.begin_turn(endpoint.address);
                        (self.context.progress)(Progress::Dialling(endpoint.clone()));
                        under_way.push(endpoint.clone());
                        let bound = self.bound(now);
                        dials.push(async move {
                            let outcome = timeout(bound, transport.dial(endpoint.address)).await;
                            (Attempt { endpoint, started: now, bound }, outcome)
                        });
                        head_start_until = deadline_in(limits.head_start);
                        continue;
                    }
                    if under_way.is_empty() {
                        return Ok(None);
                    }
                } else if under_way.is_empty() {
                    return Err(self.tries_used_up());
                }
            }
            tokio::select! {
                biased;
                found = self.search.outcome() => self.take_in(found),
                Some((attempt, outcome)) = dials.next() => {
                    under_way.retain(|endpoint| endpoint.address != attempt.endpoint.address);
                    let error = match outcome {
                        Ok(Ok(tcp)) => {
                            for slower in under_way {
                                self.round.take_turn_back(slower.address);
                            }
                            return Ok(Some(Dialled { tcp, attempt }));
                        }
                        Ok(Err(error)) => AttemptError::Dial(error),
                        Err(_) => AttemptError::DialTimedOut { after: attempt.bound },
                    };
                    debug!(endpoint = %attempt.endpoint, error = %WithCauses(&error), "no TCP connection to Typha");
                    self.failed(attempt, error);
                    head_start_until = now;
                }
                () = sleep_until(wait.unwrap_or(now)), if wait.is_some() => {}
            }
        }
    }

    /// Performs the handshake. `None` if it failed and another Typha can be tried.
    async fn handshake(
        &mut self,
        dialled: Dialled<T::Tcp>,
    ) -> Result<Option<(TyphaEndpoint, T::Stream)>, DialError> {
        let Dialled { tcp, attempt } = dialled;
        let transport = self.context.transport;
        (self.context.progress)(Progress::Dialling(attempt.endpoint.clone()));
        let deadline = attempt.started + attempt.bound;
        let mut handshake = pin!(transport.handshake(tcp, attempt.bound, deadline));
        let error = loop {
            tokio::select! {
                biased;
                outcome = &mut handshake => match outcome {
                    Ok(stream) => return Ok(Some((attempt.endpoint, stream))),
                    Err(error) => break error,
                },
                found = self.search.outcome() => self.take_in(found),
            }
        };
        let refused_us = matches!(error, HandshakeError::RefusedByPeer { .. });
        if refused_us && let Some(leaf) = transport.invalid_own_leaf() {
            self.attempts.push(attempt.failed(AttemptError::Handshake(error)));
            return Err(DialError::OwnCertificate {
                certificate: Box::new(leaf.identity.clone()),
                not_before: leaf.not_before,
                not_after: leaf.not_after,
                attempts: std::mem::take(&mut self.attempts),
            });
        }
        self.failed(attempt, AttemptError::Handshake(error));
        Ok(None)
    }

    /// Waits between two rounds. Returns early if a Typha is found that can have its turn at once.
    async fn back_off(&mut self, delay: Duration) {
        let until = deadline_in(delay).min(self.deadline);
        debug!(?delay, "could not connect to any Typha, waiting");
        (self.context.progress)(Progress::BackingOff { until });
        loop {
            tokio::select! {
                biased;
                found = self.search.outcome() => {
                    self.take_in(found);
                    if self.next(Instant::now()).is_some() {
                        return;
                    }
                }
                () = sleep_until(until) => break,
            }
        }
        self.round = Round::default();
        if self.known().is_empty() {
            self.search();
        }
    }

    fn search(&mut self) {
        let bound = self.bound(Instant::now());
        // Without a Typha to try, there is nothing to do but wait.
        let wait = if self.known().is_empty() { Duration::MAX } else { self.context.limits.head_start };
        self.search.begin(bound, wait);
    }

    fn take_in(&mut self, found: Result<Vec<TyphaEndpoint>, DiscoveryError>) {
        match found {
            Ok(endpoints) => {
                self.search_error = None;
                self.typhas = self.typhas.max(endpoints.len());
                self.known().found(endpoints, Instant::now(), self.context.limits.forget_after);
            }
            Err(error) => {
                warn!(error = %WithCauses(&error), "the search for Typhas failed");
                self.search_error = Some(error);
            }
        }
    }

    fn next(&mut self, now: Instant) -> Option<TyphaEndpoint> {
        lock(self.context.known).next(&self.round, self.context.own_node, now, &mut self.random)
    }

    fn failed(&mut self, attempt: Attempt, error: AttemptError) {
        // A Typha is not bad if the overall timeout shortened its attempt.
        if attempt.bound >= self.context.limits.attempt_timeout || !error.is_timeout() {
            self.known().avoid(attempt.endpoint.address, deadline_in(self.context.limits.avoid_bad_for));
        }
        let attempt = attempt.failed(error);
        (self.context.progress)(Progress::Failed(attempt.clone()));
        self.attempts.push(attempt);
        self.search();
    }

    /// The timeout of an attempt that begins now.
    fn bound(&self, now: Instant) -> Duration {
        self.context.limits.attempt_timeout.min(self.deadline.saturating_duration_since(now))
    }

    fn known(&self) -> MutexGuard<'a, Known> {
        lock(self.context.known)
    }

    fn no_endpoints(&mut self) -> DialError {
        let none = || DiscoveryError::new("the endpoint source returned no Typha");
        let source = self.search_error.take().unwrap_or_else(none);
        DialError::NoEndpoints { source, attempts: std::mem::take(&mut self.attempts) }
    }

    fn timed_out(&mut self) -> DialError {
        DialError::TimedOut {
            after: self.context.limits.connect_timeout,
            attempts: std::mem::take(&mut self.attempts),
            discovery: self.search_error.take(),
        }
    }

    fn tries_used_up(&mut self) -> DialError {
        DialError::TriesUsedUp {
            attempts: std::mem::take(&mut self.attempts),
            discovery: self.search_error.take(),
        }
    }
}

impl Attempt {
    fn failed(self, error: AttemptError) -> FailedAttempt {
        FailedAttempt { endpoint: self.endpoint, error: Arc::new(error), took: self.started.elapsed() }
    }
}

/// Ignores poisoning: code that holds the lock does not panic half-way.
pub(super) fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Our own leaf certificate.
#[derive(Clone)]
pub(super) struct OwnLeaf {
    pub(super) identity: PeerIdentity,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
}

/// TCP and TLS, replaceable in tests.
pub(super) trait Transport: Send + Sync {
    type Tcp: Send;
    type Stream: Send;

    fn dial(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Tcp>> + Send;

    /// Ends at `deadline`, when `bound` is over.
    fn handshake(
        &self,
        tcp: Self::Tcp,
        bound: Duration,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Stream, HandshakeError>> + Send;

    /// Our own leaf certificate, if it is not valid now. A Typha that refuses us then is right.
    fn invalid_own_leaf(&self) -> Option<OwnLeaf>;
}

impl Transport for FelixConnector {
    type Tcp = TcpStream;
    type Stream = AuthenticatedStream<SharedTcpStream>;

    fn dial(&self, address: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> + Send {
        TcpStream::connect(address)
    }

    fn handshake(
        &self,
        tcp: TcpStream,
        bound: Duration,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Stream, HandshakeError>> + Send {
        self.connect_tcp_until(tcp, bound, deadline)
    }

    fn invalid_own_leaf(&self) -> Option<OwnLeaf> {
        let context = self.in_force.current();
        let own = &context.config.material.credentials;
        let (not_before, not_after) = (own.not_before(), own.not_after());
        let is_valid = (not_before..=not_after).contains(&context.now()?);
        (!is_valid).then(|| OwnLeaf { identity: own.identity().clone(), not_before, not_after })
    }
}

#[cfg(test)]
#[path = "attempts_tests.rs"]
mod tests;

//! One `connect`: whom it tries, and when.

mod race;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::backoff::Backoff;
use super::endpoint::{DiscoveryError, TyphaEndpoint};
use super::error::{AttemptError, DialError, FailedAttempt};
use super::known::{Known, Round};
use super::limits::DialerLimits;
use super::search::{AnySource, Search};
use super::transport::Transport;
use crate::error::HandshakeError;
use crate::text::WithCauses;
use crate::time::deadline_in;

/// What a `connect` works with.
pub(super) struct Means<'a, T> {
    pub(super) transport: &'a T,
    pub(super) source: &'a Arc<dyn AnySource>,
    pub(super) known: &'a Mutex<Known>,
    pub(super) limits: &'a DialerLimits,
    pub(super) own_node: Option<&'a str>,
    pub(super) first_message: &'a [u8],
    /// Told what is being done.
    pub(super) progress: &'a (dyn Fn(Progress) + Sync),
}

pub(super) enum Progress {
    Dialling(TyphaEndpoint),
    Failed(FailedAttempt),
    BackingOff { until: Instant },
}

/// One `connect`.
///
/// Rounds follow each other at the pace of the back-off. In a round every Typha that is known has one turn: it is
/// dialled, beside those that have not answered within their head start, and the first that answers is spoken to,
/// alone. After each failure the source is asked again.
pub(super) struct Connecting<'a, T> {
    means: Means<'a, T>,
    search: Search,
    search_error: Option<DiscoveryError>,
    round: Round,
    attempts: Vec<FailedAttempt>,
    /// What the number of tries goes by: as many Typhas as were known at the beginning, or were found at a time. Not
    /// those that are known now: with a source that finds another one each time these are always more than were tried.
    typhas: usize,
    deadline: Instant,
    random: Rng,
}

/// A TCP connection, and the time that its attempt has.
struct Dialled<Tcp> {
    tcp: Tcp,
    attempt: Attempt,
}

struct Attempt {
    endpoint: TyphaEndpoint,
    started: Instant,
    bound: Duration,
}

impl<'a, T: Transport> Connecting<'a, T> {
    pub(super) fn new(means: Means<'a, T>) -> Self {
        Self {
            search: Search::new(means.source.clone()),
            search_error: None,
            round: Round::default(),
            attempts: Vec::new(),
            typhas: lock(means.known).len(),
            deadline: deadline_in(means.limits.connect_timeout),
            random: Rng::new(),
            means,
        }
    }

    pub(super) async fn connect(mut self) -> Result<(TyphaEndpoint, T::Stream), DialError> {
        let mut backoff = Backoff::new(self.means.limits);
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
            if self.means.limits.max_rounds.is_some_and(|most| rounds >= most) {
                return Err(self.tries_used_up());
            }
            self.back_off(backoff.next()).await;
        }
    }

    /// `None` if it failed and another Typha is worth a try.
    async fn handshake(
        &mut self,
        dialled: Dialled<T::Tcp>,
    ) -> Result<Option<(TyphaEndpoint, T::Stream)>, DialError> {
        let Dialled { tcp, attempt } = dialled;
        let Means { transport, first_message, .. } = self.means;
        (self.means.progress)(Progress::Dialling(attempt.endpoint.clone()));
        let deadline = attempt.started + attempt.bound;
        let mut handshake = pin!(transport.handshake(tcp, first_message.to_vec(), attempt.bound, deadline));
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

    /// Waits between two rounds. A Typha that is found meanwhile has its turn at once.
    async fn back_off(&mut self, delay: Duration) {
        let until = deadline_in(delay).min(self.deadline);
        debug!(?delay, "no Typha could be connected to, waiting");
        (self.means.progress)(Progress::BackingOff { until });
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
        // Without a Typha to try there is nothing else to do meanwhile.
        let wait = if self.known().is_empty() { Duration::MAX } else { self.means.limits.head_start };
        self.search.begin(bound, wait);
    }

    fn take_in(&mut self, found: Result<Vec<TyphaEndpoint>, DiscoveryError>) {
        match found {
            Ok(endpoints) => {
                self.search_error = None;
                self.typhas = self.typhas.max(endpoints.len());
                self.known().found(endpoints, Instant::now(), self.means.limits.forget_after);
            }
            Err(error) => {
                warn!(error = %WithCauses(&error), "the search for Typhas failed");
                self.search_error = Some(error);
            }
        }
    }

    fn next(&mut self, now: Instant) -> Option<TyphaEndpoint> {
        lock(self.means.known).next(&self.round, self.means.own_node, now, &mut self.random)
    }

    fn failed(&mut self, attempt: Attempt, error: AttemptError) {
        // One whose time was cut by the overall timeout has not been given its chance.
        if attempt.bound >= self.means.limits.attempt_timeout || !error.is_timeout() {
            self.known().avoid(attempt.endpoint.address, deadline_in(self.means.limits.avoid_bad_for));
        }
        let attempt = attempt.failed(error);
        (self.means.progress)(Progress::Failed(attempt.clone()));
        self.attempts.push(attempt);
        self.search();
    }

    /// The time that an attempt has which begins now.
    fn bound(&self, now: Instant) -> Duration {
        self.means.limits.attempt_timeout.min(self.deadline.saturating_duration_since(now))
    }

    fn known(&self) -> MutexGuard<'a, Known> {
        lock(self.means.known)
    }

    fn no_endpoints(&mut self) -> DialError {
        let source =
            self.search_error.take().unwrap_or_else(|| DiscoveryError::new("the source knows no Typha"));
        DialError::NoEndpoints { source, attempts: std::mem::take(&mut self.attempts) }
    }

    fn timed_out(&mut self) -> DialError {
        DialError::TimedOut {
            after: self.means.limits.connect_timeout,
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

/// Nothing that holds the lock panics half-way.
pub(super) fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

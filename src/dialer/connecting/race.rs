//! The race for a TCP connection, as RFC 8305 (happy eyeballs) has it.

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::{Attempt, Connecting, Dialled, Means, Progress};
use crate::dialer::endpoint::TyphaEndpoint;
use crate::dialer::error::{AttemptError, DialError};
use crate::dialer::transport::Transport;
use crate::text::WithCauses;
use crate::time::deadline_in;

impl<T: Transport> Connecting<'_, T> {
    /// Dials the Typhas that have not had their turn, until one answers. `None` when none is left.
    pub(super) async fn dial(&mut self) -> Result<Option<Dialled<T::Tcp>>, DialError> {
        let Means { transport, limits, .. } = self.means;
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
                        (self.means.progress)(Progress::Dialling(endpoint.clone()));
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
}

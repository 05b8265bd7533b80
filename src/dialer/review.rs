//! Judges the Typha of a live connection again: under a new configuration, and when something has expired.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::endpoint::TyphaEndpoint;
use crate::lifetime::{ConnectionLifetime, DropReason, Ending, LOOK_INTERVAL, Standing};
use crate::tls_context::InForce;

/// For how long a connection that is to end still works, as on Typha's end.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// What one connection is judged by.
pub(super) struct Review {
    pub(super) endpoint: TyphaEndpoint,
    pub(super) standing: Arc<Standing>,
    pub(super) ending: Arc<Ending>,
    pub(super) in_force: InForce<rustls::ClientConfig>,
    pub(super) lifetime: ConnectionLifetime,
}

impl Review {
    /// Goes on until the connection is to end.
    pub(super) async fn run(self) {
        let reason = self.reason_to_end().await;
        self.ending.tell(reason);
        sleep(GRACE).await;
        self.ending.cut();
    }

    async fn reason_to_end(&self) -> DropReason {
        let mut generations = self.in_force.generations();
        let retires_at = self.lifetime.age_limit().map(|age| Instant::now() + age);
        let mut closes_at = None;
        loop {
            generations.mark_unchanged();
            self.judge();
            let now = Instant::now();
            let loss = self.standing.loss();
            let closing = loss.as_ref().and_then(|loss| self.lifetime.closing(loss));
            // Who is trusted again before its turn stays.
            closes_at = closing.map(|_| closes_at.unwrap_or_else(|| now + self.moment()));
            match closing {
                Some(reason) if closes_at.is_some_and(|at| at <= now) => return reason,
                _ if retires_at.is_some_and(|at| at <= now) => return DropReason::MaxAge,
                _ => {}
            }
            let wake = [closes_at, retires_at].into_iter().flatten().fold(now + LOOK_INTERVAL, Instant::min);
            tokio::select! {
                _ = generations.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    fn judge(&self) {
        let context = self.in_force.current();
        let generation = context.generation;
        let Some(now) = context.now().filter(|now| self.standing.is_due(generation, *now)) else { return };
        let judgement = self.standing.judge(&context, now);
        if let Some(loss) = self.standing.note(generation, &judgement) {
            let rejection = loss.rejection();
            warn!(
                endpoint = %self.endpoint,
                generation,
                reason = rejection.reason(),
                detail = %rejection,
                closes = self.lifetime.closing(&loss).is_some(),
                "the Typha that we are connected to is trusted no longer; if it is not meant, put back what was \
                 trusted before"
            );
        }
    }

    /// At random, so that not all Felixes come back at the same time.
    fn moment(&self) -> Duration {
        self.lifetime.spread().mul_f64(fastrand::f64())
    }
}

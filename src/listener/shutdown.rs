//! The graceful shutdown: connections are dropped one by one, spread over most of the time that it may take.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::info;

use super::reports::ShutdownReport;
use super::shared::Shared;
use crate::lifetime::DropReason;
use crate::time::{FAR, deadline_in};

/// Runs once.
pub(super) async fn shut_down(shared: Arc<Shared>) -> ShutdownReport {
    shared.stop();
    let timeout = shared.limits.shutdown_timeout.min(FAR);
    let (began, deadline) = (Instant::now(), deadline_in(timeout));
    // Those that accept and perform handshakes end at once. Only then does nothing come to the connections any more.
    shared.tasks.close();
    let _ = timeout_at(began + timeout / 100, shared.tasks.wait()).await;
    let count = shared.roll.staying();
    let interval = drop_interval(timeout, shared.limits.shutdown_drop_interval_max, count);
    // What is left of the timeout after the last one was told.
    let grace = shared.limits.drop_grace.min(timeout / 25);
    info!(connections = count, ?timeout, ?interval, "shutting down");
    let mut dropped = 0;
    let dropping = async {
        while shared.roll.staying() > 0 {
            let due = due(began.elapsed(), interval, dropped + shared.roll.staying()).saturating_sub(dropped);
            dropped += shared.drop_random(due, DropReason::Shutdown, grace);
            let after = interval.saturating_mul(u32::try_from(dropped).unwrap_or(u32::MAX));
            let next = began + after.min(FAR);
            tokio::select! {
                () = sleep_until(next) => {}
                () = shared.roll.empty() => {}
            }
        }
        shared.roll.empty().await;
    };
    // The last ones get their alert out before the time is over.
    let last_call = began + timeout.mul_f64(0.99);
    if timeout_at(last_call, dropping).await.is_err() {
        dropped += shared.drop_random(usize::MAX, DropReason::Shutdown, Duration::ZERO);
        shared.roll.cut_leaving();
        let _ = timeout_at(deadline, shared.roll.empty()).await;
    }
    let _ = timeout_at(deadline, shared.tasks.wait()).await;
    let report = ShutdownReport { dropped, left: shared.roll.count() };
    info!(dropped = report.dropped, left = report.left, "shut down");
    report
}

/// Spread over 95 % of the timeout, but not slower than this.
fn drop_interval(timeout: Duration, at_most: Duration, connections: usize) -> Duration {
    let connections = u32::try_from(connections.max(1)).unwrap_or(u32::MAX);
    (timeout.mul_f64(0.95) / connections).min(at_most)
}

/// How many are to be told after so long; the first one at once.
fn due(elapsed: Duration, interval: Duration, count: usize) -> usize {
    match elapsed.as_nanos().checked_div(interval.as_nanos()) {
        Some(intervals) => usize::try_from(intervals).unwrap_or(usize::MAX).saturating_add(1).min(count),
        None => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn connections_are_dropped_within_most_of_the_timeout() {
        assert_eq!(drop_interval(300 * SECOND, SECOND, 10_000), Duration::from_micros(28_500));
        assert_eq!(drop_interval(300 * SECOND, SECOND, 285), SECOND);
        assert_eq!(drop_interval(300 * SECOND, SECOND, 10), SECOND);
        assert_eq!(drop_interval(300 * SECOND, SECOND, 0), SECOND);
        assert_eq!(drop_interval(Duration::ZERO, SECOND, 5), Duration::ZERO);
    }

    #[test]
    fn those_that_are_due_include_the_first() {
        assert_eq!(due(Duration::ZERO, SECOND, 10), 1);
        assert_eq!(due(SECOND, SECOND, 10), 2);
        assert_eq!(due(SECOND * 100, SECOND, 10), 10);
        assert_eq!(due(Duration::ZERO, Duration::ZERO, 10), 10);
    }
}

//! Measures how long a handshake waits for its peer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How long one handshake has waited for its peer in total.
#[derive(Debug)]
pub(super) struct PeerWait {
    began: Instant,
    /// Nanoseconds.
    waited: AtomicU64,
    /// When the current wait began, in nanoseconds since `began` plus 1; 0 while the handshake does not wait.
    waits_since: AtomicU64,
}

impl PeerWait {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, waited: AtomicU64::new(0), waits_since: AtomicU64::new(0) }
    }

    pub(super) fn total(&self, now: Instant) -> Duration {
        let since = match self.waits_since.load(Relaxed) {
            0 => 0,
            since => self.nanos(now).saturating_sub(since),
        };
        Duration::from_nanos(self.waited.load(Relaxed).saturating_add(since))
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from((now - self.began).as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn begin(&self) {
        self.end();
        self.waits_since.store(self.nanos(Instant::now()), Relaxed);
    }

    fn end(&self) {
        let since = self.waits_since.swap(0, Relaxed);
        if since != 0 {
            self.waited.fetch_add(self.nanos(Instant::now()).saturating_sub(since), Relaxed);
        }
    }
}

/// A handshake whose waiting is measured. A wait lasts from the end of a poll until the task is woken, not until the
/// task runs again. So on a busy processor, the measurement tells a slow peer from a slow Typha.
pub(super) struct Measured<F> {
    handshake: F,
    wait: Arc<PeerWait>,
    /// The waker of the task, and ours around it.
    wakers: Option<(Waker, Waker)>,
}

impl<F> Measured<F> {
    pub(super) fn new(handshake: F, wait: Arc<PeerWait>) -> Self {
        Self { handshake, wait, wakers: None }
    }
}

impl<F: Future + Unpin> Future for Measured<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let wakers = this.wakers.take().filter(|(task, _)| task.will_wake(cx.waker())).unwrap_or_else(|| {
            let task = cx.waker().clone();
            let ours = Arc::new(MeasuringWaker { task: task.clone(), wait: this.wait.clone() });
            (task, ours.into())
        });
        let (_, ours) = this.wakers.insert(wakers);
        // The wait begins before the poll: the wake-up may come before the poll returns.
        this.wait.begin();
        let outcome = Pin::new(&mut this.handshake).poll(&mut Context::from_waker(ours));
        if outcome.is_ready() {
            this.wait.end();
        }
        outcome
    }
}

struct MeasuringWaker {
    task: Waker,
    wait: Arc<PeerWait>,
}

impl Wake for MeasuringWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wait.end();
        self.task.wake_by_ref();
    }
}

//! Measures for how long a handshake waits for its peer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// For how long one handshake has waited for its peer, in all.
#[derive(Debug)]
pub(super) struct PeerWait {
    began: Instant,
    /// Nanoseconds.
    waited: AtomicU64,
    /// Since when the handshake waits for the peer, in nanoseconds after one before `began`; 0 while it does not.
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

/// A handshake whose waiting is measured: from the end of a poll until its task is woken, not until the task runs
/// again. On a busy processor, the difference tells a slow peer from a slow Typha.
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
        // Before the poll: the wake may come before it returns.
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

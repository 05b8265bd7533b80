//! What the listener and the task of one connection tell each other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::shed::ShedCause;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stand {
    /// It waits for its handshake.
    Queued,
    /// It has its handshake.
    Started,
    /// It is to end.
    Shed(ShedCause),
}

/// One connection's stand, and for how long its handshake has waited for the peer.
#[derive(Debug)]
pub(super) struct Signal {
    stand: Mutex<Stand>,
    changed: Notify,
    began: Instant,
    /// Nanoseconds.
    waited: AtomicU64,
    /// Since when the handshake waits for the peer, in nanoseconds after one before `began`; 0 while it does not.
    waits_since: AtomicU64,
}

impl Signal {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            stand: Mutex::new(Stand::Queued),
            changed: Notify::new(),
            began: now,
            waited: AtomicU64::new(0),
            waits_since: AtomicU64::new(0),
        }
    }

    /// When the connection came.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn stand(&self) -> Stand {
        *self.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, stand: Stand) {
        *self.stand.lock().unwrap_or_else(PoisonError::into_inner) = stand;
        // Kept if the task is not listening at the moment: there is only one.
        self.changed.notify_one();
    }

    /// Waits until the stand is another than this one.
    pub(super) async fn left(&self, stand: Stand) -> Stand {
        loop {
            let now = self.stand();
            if now != stand {
                return now;
            }
            self.changed.notified().await;
        }
    }

    /// For how long the handshake has waited for the peer, in all.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        let before = Duration::from_nanos(self.waited.load(Ordering::Relaxed));
        match self.waits_since.load(Ordering::Relaxed) {
            0 => before,
            since => before + Duration::from_nanos(self.nanos(now).saturating_sub(since)),
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from((now - self.began).as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn waits(&self) {
        self.stops_waiting();
        self.waits_since.store(self.nanos(Instant::now()), Ordering::Relaxed);
    }

    fn stops_waiting(&self) {
        let since = self.waits_since.swap(0, Ordering::Relaxed);
        if since != 0 {
            self.waited.fetch_add(self.nanos(Instant::now()).saturating_sub(since), Ordering::Relaxed);
        }
    }
}

/// A handshake whose waiting for the peer is measured: from the end of a poll until its task is woken, not until it
/// runs again. On a busy processor the difference is what tells a slow peer from a slow Typha.
pub(super) struct Timed<F> {
    handshake: F,
    signal: Arc<Signal>,
    waker: Option<(Waker, Waker)>,
}

impl<F> Timed<F> {
    pub(super) fn new(handshake: F, signal: Arc<Signal>) -> Self {
        Self { handshake, signal, waker: None }
    }
}

impl<F: Future + Unpin> Future for Timed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let signal = &this.signal;
        let waker = match this.waker.take() {
            Some((task, ours)) if task.will_wake(cx.waker()) => (task, ours),
            _ => {
                let task = cx.waker().clone();
                let ours = Arc::new(TimedWaker { task: task.clone(), signal: signal.clone() });
                (task, ours.into())
            }
        };
        let (_, ours) = this.waker.insert(waker);
        // Before the poll: the wake may come before it returns.
        signal.waits();
        let outcome = Pin::new(&mut this.handshake).poll(&mut Context::from_waker(ours));
        if outcome.is_ready() {
            signal.stops_waiting();
        }
        outcome
    }
}

struct TimedWaker {
    task: Waker,
    signal: Arc<Signal>,
}

impl Wake for TimedWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.signal.stops_waiting();
        self.task.wake_by_ref();
    }
}

//! The live connections of a listener or a dialer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{CloseReason, ConnectionLifetime, LostTrust, TrustState};

/// Receives the events of live connections, to count them. A dialer counts nothing.
pub(crate) trait Observer: Send + Sync {
    /// A connection was added or removed. `connections` is the new number.
    fn active(&self, connections: usize);
    /// The owners of `connections` connections were asked to close them.
    fn close_requested(&self, reason: CloseReason, connections: usize);
    fn lost_trust(&self, lost: LostTrust);
}

impl Observer for () {
    fn active(&self, _: usize) {}
    fn close_requested(&self, _: CloseReason, _: usize) {}
    fn lost_trust(&self, _: LostTrust) {}
}

/// The live connections of a listener, or the one of a dialer.
pub(crate) struct Connections {
    lists: Mutex<Lists>,
    active: Arc<AtomicUsize>,
    emptied: Notify,
    /// A connection was added whose configuration is no longer in force.
    pub(super) outdated: Notify,
    generations: watch::Receiver<u64>,
    pub(crate) lifetime: ConnectionLifetime,
    /// How long a connection still works after its owner was asked to close it.
    grace: Duration,
    pub(super) observer: Box<dyn Observer>,
    /// The runtime that waits for the end of the grace: owners may be asked from outside of any runtime.
    runtime: Handle,
}

#[derive(Default)]
struct Lists {
    /// Connections whose owners were not asked to close them.
    staying: Vec<Arc<Entry>>,
    closing: Vec<Arc<Entry>>,
}

/// One live connection.
pub(crate) struct Entry {
    /// The position in its list. It changes only while the lists are locked.
    index: AtomicUsize,
    pub(crate) peer_address: SocketAddr,
    pub(crate) trust: TrustState,
    /// When the connection reaches its maximum age.
    pub(super) retires_at: Option<Instant>,
    close_requested: CancellationToken,
    reason: OnceLock<CloseReason>,
    is_force_closed: AtomicBool,
    /// The tasks that read from the connection and write to it.
    pub(crate) reader: AtomicWaker,
    pub(crate) writer: AtomicWaker,
    /// Whether the peer has sent `close_notify`.
    pub(crate) is_closed_by_peer: AtomicBool,
}

impl Entry {
    /// Cancelled when the owner is asked to close the connection.
    pub(crate) fn close_requested(&self) -> &CancellationToken {
        &self.close_requested
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.reason.get().copied()
    }

    pub(crate) fn is_force_closed(&self) -> bool {
        self.is_force_closed.load(Ordering::Acquire)
    }

    /// Registers `waker` to be woken when the connection is force-closed. Returns `true` if it is already.
    pub(crate) fn is_force_closed_or_wakes(&self, waiting: &AtomicWaker, waker: &Waker) -> bool {
        waiting.register(waker);
        self.is_force_closed()
    }

    /// Asks the owner to close the connection. The first reason stays.
    fn request_close(&self, reason: CloseReason) {
        let _ = self.reason.set(reason);
        self.close_requested.cancel();
    }

    /// Ends the use of the connection, and wakes the tasks that read or write so that they notice.
    fn force_close(&self) {
        self.is_force_closed.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }
}

impl Connections {
    /// # Panics
    ///
    /// If called outside of a tokio runtime.
    pub(crate) fn new(
        generations: watch::Receiver<u64>,
        lifetime: ConnectionLifetime,
        grace: Duration,
        observer: Box<dyn Observer>,
    ) -> Self {
        Self {
            lists: Mutex::default(),
            active: Arc::default(),
            emptied: Notify::new(),
            outdated: Notify::new(),
            generations,
            lifetime,
            grace,
            observer,
            runtime: Handle::current(),
        }
    }

    /// The number of connections, as a shared counter.
    pub(crate) fn active(&self) -> &Arc<AtomicUsize> {
        &self.active
    }

    pub(crate) fn count(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    pub(crate) fn contains(&self, entry: &Arc<Entry>) -> bool {
        let lists = self.lists();
        entry.is_in(&lists.staying) || entry.is_in(&lists.closing)
    }

    /// How many connections have owners that were not asked to close them.
    pub(crate) fn staying_count(&self) -> usize {
        self.lists().staying.len()
    }

    /// The connections whose owners were not asked to close them.
    pub(crate) fn staying(&self) -> Vec<Arc<Entry>> {
        self.lists().staying.clone()
    }

    pub(crate) fn add(&self, peer_address: SocketAddr, trust: TrustState) -> Arc<Entry> {
        let generation = trust.generation();
        let entry = Arc::new(Entry {
            index: AtomicUsize::default(),
            peer_address,
            trust,
            retires_at: self.lifetime.age_limit().map(|age| Instant::now() + age),
            close_requested: CancellationToken::new(),
            reason: OnceLock::new(),
            is_force_closed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            is_closed_by_peer: AtomicBool::new(false),
        });
        let mut lists = self.lists();
        push(&mut lists.staying, entry.clone());
        self.set_active(&lists);
        drop(lists);
        // If the configuration is replaced after this, the review finds the connection in the list.
        if generation != *self.generations.borrow() {
            self.outdated.notify_one();
        }
        entry
    }

    /// Removes a connection that has ended.
    pub(crate) fn remove(&self, entry: &Arc<Entry>) {
        let mut lists = self.lists();
        if take(&mut lists.staying, entry) || take(&mut lists.closing, entry) {
            self.set_active(&lists);
        }
        if lists.staying.is_empty() && lists.closing.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// Asks the owners of `count` connections, chosen at random, to close them. Force-closes the connections after
    /// `grace`. Returns the number of owners that were asked.
    pub(crate) fn close_random(&self, count: usize, reason: CloseReason, grace: Duration) -> usize {
        let mut lists = self.lists();
        let mut chosen = Vec::with_capacity(count.min(lists.staying.len()));
        while chosen.len() < count
            && let Some(entry) = fastrand::choice(&lists.staying).cloned()
        {
            lists.begin_closing(&entry);
            chosen.push(entry);
        }
        drop(lists);
        self.close(chosen, reason, grace)
    }

    /// Asks the owners of these connections to close them, and force-closes the connections after the grace. Skips
    /// connections that have ended or whose owners were already asked.
    pub(super) fn close_these(&self, mut entries: Vec<Arc<Entry>>, reason: CloseReason) {
        let mut lists = self.lists();
        entries.retain(|entry| lists.begin_closing(entry));
        drop(lists);
        self.close(entries, reason, self.grace);
    }

    fn close(&self, entries: Vec<Arc<Entry>>, reason: CloseReason, grace: Duration) -> usize {
        let count = entries.len();
        if count > 0 {
            entries.iter().for_each(|entry| entry.request_close(reason));
            self.observer.close_requested(reason, count);
            self.runtime.spawn(async move {
                sleep(grace).await;
                entries.iter().for_each(|entry| entry.force_close());
            });
        }
        count
    }

    /// Force-closes all connections whose owners were asked to close them.
    pub(crate) fn force_close_all(&self) {
        let closing = self.lists().closing.clone();
        closing.iter().for_each(|entry| entry.force_close());
    }

    /// Waits until there are no connections.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_active(&self, lists: &Lists) {
        let count = lists.staying.len() + lists.closing.len();
        self.active.store(count, Ordering::Release);
        self.observer.active(count);
    }
}

impl Lists {
    /// Returns whether the connection was staying.
    fn begin_closing(&mut self, entry: &Arc<Entry>) -> bool {
        let stayed = take(&mut self.staying, entry);
        if stayed {
            push(&mut self.closing, entry.clone());
        }
        stayed
    }
}

impl Entry {
    fn is_in(self: &Arc<Self>, list: &[Arc<Self>]) -> bool {
        list.get(self.index.load(Ordering::Relaxed)).is_some_and(|there| Arc::ptr_eq(there, self))
    }
}

fn push(list: &mut Vec<Arc<Entry>>, entry: Arc<Entry>) {
    entry.index.store(list.len(), Ordering::Relaxed);
    list.push(entry);
}

/// Removes the connection from the list. Returns whether it was there.
fn take(list: &mut Vec<Arc<Entry>>, entry: &Arc<Entry>) -> bool {
    if !entry.is_in(list) {
        return false;
    }
    let index = entry.index.load(Ordering::Relaxed);
    list.swap_remove(index);
    if let Some(moved) = list.get(index) {
        moved.index.store(index, Ordering::Relaxed);
    }
    // A list that grew in a connection storm shrinks again.
    if list.len() < list.capacity() / 4 {
        list.shrink_to(list.capacity() / 2);
    }
    true
}

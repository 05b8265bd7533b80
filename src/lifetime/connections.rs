//! The live connections of a listener or a dialer.

use std::collections::HashMap;
use std::collections::hash_map::Entry::Occupied;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use atomic_waker::AtomicWaker;
use rustls_pki_types::CertificateDer;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{CloseReason, ConnectionLifetime, InService, LostTrust, TrustState};
use crate::stream::TcpShutdown;

/// How long a force-closed connection may take to send its last bytes, such as `close_notify`. Then its socket is shut
/// down, because its owner may never use it again.
const LAST_BYTES: Duration = Duration::from_millis(250);

/// Receives the events of live connections, to count them. A dialer counts nothing.
pub(crate) trait Observer: Send + Sync {
    /// The number of connections in service, and of those that have ended and that their owners still hold.
    fn numbers(&self, active: usize, unreleased: usize);
    /// The owners of `connections` connections were asked to close them.
    fn close_requested(&self, reason: CloseReason, connections: usize);
    fn lost_trust(&self, lost: LostTrust);
}

impl Observer for () {
    fn numbers(&self, _: usize, _: usize) {}
    fn close_requested(&self, _: CloseReason, _: usize) {}
    fn lost_trust(&self, _: LostTrust) {}
}

/// The live connections of a listener, or the one of a dialer.
pub(crate) struct Connections {
    lists: Mutex<Lists>,
    in_service: Arc<InService>,
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
    /// Connections that are no longer in service: their sockets were shut down, and their owners still hold them.
    ended: Vec<Arc<Entry>>,
    /// The chain of each leaf, by its SHA-256 digest, and how many connections have it. Equal chains are kept once: the
    /// Felixes of a cluster often share a certificate.
    chains: HashMap<[u8; 32], (Arc<[CertificateDer<'static>]>, usize)>,
}

/// One live connection.
pub(crate) struct Entry {
    /// The position in its list. It changes only while the lists are locked.
    index: AtomicUsize,
    pub(crate) peer_address: SocketAddr,
    pub(crate) trust: TrustState,
    socket: TcpShutdown,
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
            in_service: Arc::default(),
            emptied: Notify::new(),
            outdated: Notify::new(),
            generations,
            lifetime,
            grace,
            observer,
            runtime: Handle::current(),
        }
    }

    pub(crate) fn in_service(&self) -> &Arc<InService> {
        &self.in_service
    }

    /// The number of connections in service.
    pub(crate) fn count(&self) -> usize {
        self.in_service.total()
    }

    /// Whether the owner still holds the connection.
    pub(crate) fn contains(&self, entry: &Arc<Entry>) -> bool {
        let lists = self.lists();
        [&lists.staying, &lists.closing, &lists.ended].into_iter().any(|list| entry.is_in(list))
    }

    /// The connections that have ended and that their owners still hold.
    pub(crate) fn unreleased_count(&self) -> usize {
        self.lists().ended.len()
    }

    /// How many connections have owners that were not asked to close them.
    pub(crate) fn staying_count(&self) -> usize {
        self.lists().staying.len()
    }

    /// The connections whose owners were not asked to close them.
    pub(crate) fn staying(&self) -> Vec<Arc<Entry>> {
        self.lists().staying.clone()
    }

    pub(crate) fn add(
        &self,
        peer_address: SocketAddr,
        mut trust: TrustState,
        socket: TcpShutdown,
    ) -> Arc<Entry> {
        let generation = trust.generation();
        let mut lists = self.lists();
        lists.share_chain(&mut trust);
        let entry = Arc::new(Entry {
            index: AtomicUsize::default(),
            peer_address,
            trust,
            socket,
            retires_at: self.lifetime.age_limit().map(|age| Instant::now() + age),
            close_requested: CancellationToken::new(),
            reason: OnceLock::new(),
            is_force_closed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            is_closed_by_peer: AtomicBool::new(false),
        });
        push(&mut lists.staying, entry.clone());
        self.in_service.add(peer_address.ip());
        self.report_numbers(&lists);
        drop(lists);
        // If the configuration is replaced after this, the review finds the connection in the list.
        if generation != *self.generations.borrow() {
            self.outdated.notify_one();
        }
        entry
    }

    /// Removes a connection that its owner has dropped.
    pub(crate) fn remove(&self, entry: &Arc<Entry>) {
        let mut lists = self.lists();
        if !self.end(&mut lists, entry) {
            take(&mut lists.ended, entry);
        }
        self.report_numbers(&lists);
        lists.unshare_chain(&entry.trust);
    }

    /// Asks the owners of `count` connections, chosen at random, to close them. Force-closes the connections after
    /// `grace`. Returns the number of owners that were asked.
    pub(crate) fn close_random(
        self: &Arc<Self>,
        count: usize,
        reason: CloseReason,
        grace: Duration,
    ) -> usize {
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
    /// connections that have ended or whose owners were already asked. Returns the number of owners that were asked.
    pub(crate) fn close_these(self: &Arc<Self>, mut entries: Vec<Arc<Entry>>, reason: CloseReason) -> usize {
        let mut lists = self.lists();
        entries.retain(|entry| lists.begin_closing(entry));
        drop(lists);
        self.close(entries, reason, self.grace)
    }

    fn close(self: &Arc<Self>, entries: Vec<Arc<Entry>>, reason: CloseReason, grace: Duration) -> usize {
        let count = entries.len();
        if count > 0 {
            entries.iter().for_each(|entry| entry.request_close(reason));
            self.observer.close_requested(reason, count);
            let connections = self.clone();
            self.runtime.spawn(async move {
                sleep(grace).await;
                entries.iter().for_each(|entry| entry.force_close());
                sleep(LAST_BYTES).await;
                connections.shut_down(&entries);
            });
        }
        count
    }

    /// Force-closes all connections whose owners were asked to close them.
    pub(crate) fn force_close_all(&self) {
        let closing = self.lists().closing.clone();
        closing.iter().for_each(|entry| entry.force_close());
    }

    /// Shuts down the sockets of all connections whose owners were asked to close them.
    pub(crate) fn shut_down_all(&self) {
        let closing = self.lists().closing.clone();
        self.shut_down(&closing);
    }

    /// Shuts down the sockets of connections that are still in service, and takes them out of service.
    fn shut_down(&self, entries: &[Arc<Entry>]) {
        let mut lists = self.lists();
        for entry in entries {
            if self.end(&mut lists, entry) {
                entry.socket.shut_down();
                push(&mut lists.ended, entry.clone());
            }
        }
        self.report_numbers(&lists);
    }

    fn report_numbers(&self, lists: &Lists) {
        self.observer.numbers(self.count(), lists.ended.len());
    }

    /// Takes a connection out of service. Returns whether it was in service.
    fn end(&self, lists: &mut Lists, entry: &Arc<Entry>) -> bool {
        let was_in_service = take(&mut lists.staying, entry) || take(&mut lists.closing, entry);
        if was_in_service {
            self.in_service.remove(entry.peer_address.ip());
            if self.count() == 0 {
                self.emptied.notify_waiters();
            }
        }
        was_in_service
    }

    /// Waits until no connection is in service.
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
}

impl Lists {
    /// If another connection has the same chain, takes that one.
    fn share_chain(&mut self, trust: &mut TrustState) {
        let leaf = *trust.peer().leaf_digest();
        let (known, users) = self.chains.entry(leaf).or_insert_with(|| (trust.chain.clone(), 0));
        if *known == trust.chain {
            trust.chain = known.clone();
            *users += 1;
        }
    }

    /// Forgets the chain of a connection, if no other connection has it.
    fn unshare_chain(&mut self, trust: &TrustState) {
        if let Occupied(mut shared) = self.chains.entry(*trust.peer().leaf_digest())
            && Arc::ptr_eq(&shared.get().0, &trust.chain)
        {
            shared.get_mut().1 -= 1;
            if shared.get().1 == 0 {
                shared.remove();
            }
        }
    }

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

//! The connections in service, and who of them is told to go.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lifetime::{ConnectionLifetime, DropReason, Ending, Standing};

/// All connections in service.
#[derive(Debug, Default)]
pub(super) struct Roll {
    lists: Mutex<Lists>,
    active: Arc<AtomicUsize>,
    /// Told when the last one has gone.
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Lists {
    /// Those that nobody has told to go.
    staying: Vec<Arc<Entry>>,
    leaving: Vec<Arc<Entry>>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where it is in its list; changed only with the lists locked.
    index: AtomicUsize,
    pub(super) ending: Arc<Ending>,
    pub(super) standing: Standing,
    pub(super) peer_address: SocketAddr,
    /// When it is too old.
    pub(super) retires_at: Option<Instant>,
}

impl Entry {
    pub(super) fn new(peer_address: SocketAddr, standing: Standing, lifetime: &ConnectionLifetime) -> Self {
        Self {
            index: AtomicUsize::default(),
            ending: Arc::default(),
            standing,
            peer_address,
            retires_at: lifetime.age_limit().map(|age| Instant::now() + age),
        }
    }
}

impl Roll {
    /// How many there are, shared.
    pub(super) fn active(&self) -> &Arc<AtomicUsize> {
        &self.active
    }

    pub(super) fn count(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    /// How many of them nobody has told to go.
    pub(super) fn staying(&self) -> usize {
        self.lists().staying.len()
    }

    /// Those that nobody has told to go.
    pub(super) fn staying_entries(&self) -> Vec<Arc<Entry>> {
        self.lists().staying.clone()
    }

    pub(super) fn add(&self, entry: &Arc<Entry>) {
        let mut lists = self.lists();
        push(&mut lists.staying, entry.clone());
        self.active.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes one out that has ended.
    pub(super) fn remove(&self, entry: &Arc<Entry>) {
        let mut lists = self.lists();
        let Lists { staying, leaving } = &mut *lists;
        let is_last = take(staying, entry) | take(leaving, entry) && staying.is_empty() && leaving.is_empty();
        self.active.store(staying.len() + leaving.len(), Ordering::Release);
        drop(lists);
        if is_last {
            self.emptied.notify_waiters();
        }
    }

    /// Tells so many to go, chosen at random. Returns those that were there to be told.
    pub(super) fn tell(&self, count: usize, reason: DropReason) -> Vec<Arc<Entry>> {
        let mut lists = self.lists();
        let mut told = Vec::with_capacity(count.min(lists.staying.len()));
        for _ in 0..count {
            let Some(chosen) = random_index(lists.staying.len()) else { break };
            let Some(entry) = lists.staying.get(chosen).cloned() else { break };
            lists.leave(&entry);
            told.push(entry);
        }
        drop(lists);
        tell_all(&told, reason);
        told
    }

    /// Tells these to go, except for those that have gone or been told already, who are taken out.
    pub(super) fn tell_these(&self, entries: &mut Vec<Arc<Entry>>, reason: DropReason) {
        let mut lists = self.lists();
        entries.retain(|entry| lists.leave(entry));
        drop(lists);
        tell_all(entries, reason);
    }

    /// Ends the use of all that were told to go.
    pub(super) fn cut_leaving(&self) {
        let leaving = self.lists().leaving.clone();
        for entry in leaving {
            entry.ending.cut();
        }
    }

    /// Waits until there is none.
    pub(super) async fn empty(&self) {
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
    /// Whether it was staying.
    fn leave(&mut self, entry: &Arc<Entry>) -> bool {
        let stayed = take(&mut self.staying, entry);
        if stayed {
            push(&mut self.leaving, entry.clone());
        }
        stayed
    }
}

fn tell_all(entries: &[Arc<Entry>], reason: DropReason) {
    for entry in entries {
        entry.ending.tell(reason);
    }
}

fn random_index(length: usize) -> Option<usize> {
    (length > 0).then(|| fastrand::usize(..length))
}

fn push(list: &mut Vec<Arc<Entry>>, entry: Arc<Entry>) {
    entry.index.store(list.len(), Ordering::Relaxed);
    list.push(entry);
}

/// Whether it was in this list.
fn take(list: &mut Vec<Arc<Entry>>, entry: &Arc<Entry>) -> bool {
    let index = entry.index.load(Ordering::Relaxed);
    if !list.get(index).is_some_and(|there| Arc::ptr_eq(there, entry)) {
        return false;
    }
    list.swap_remove(index);
    if let Some(moved) = list.get(index) {
        moved.index.store(index, Ordering::Relaxed);
    }
    // What grew in a storm does not stay that large.
    if list.len() < list.capacity() / 4 {
        list.shrink_to(list.capacity() / 2);
    }
    true
}

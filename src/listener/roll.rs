//! The connections in service, and who of them is told to go.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::connection::DropReason;

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
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Where it is in its list; changed only with the lists locked.
    index: AtomicUsize,
    pub(super) told: CancellationToken,
    reason: OnceLock<DropReason>,
    cut: AtomicBool,
    pub(super) reader: AtomicWaker,
    pub(super) writer: AtomicWaker,
}

impl Entry {
    pub(super) fn reason(&self) -> Option<DropReason> {
        self.reason.get().copied()
    }

    /// Whether it may not be used any longer.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Ends its use: whoever reads or writes is woken to learn of it.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    /// Remembers who waits; `true` if that came too late.
    pub(super) fn is_cut_now(&self, waiting: &AtomicWaker, waker: &Waker) -> bool {
        waiting.register(waker);
        self.is_cut()
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

    pub(super) fn add(&self) -> Arc<Entry> {
        let entry = Arc::new(Entry::default());
        let mut lists = self.lists();
        push(&mut lists.staying, entry.clone());
        self.active.fetch_add(1, Ordering::AcqRel);
        entry
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
            take(&mut lists.staying, &entry);
            push(&mut lists.leaving, entry.clone());
            told.push(entry);
        }
        drop(lists);
        for entry in &told {
            let _ = entry.reason.set(reason);
            entry.told.cancel();
        }
        told
    }

    /// Ends the use of all that were told to go.
    pub(super) fn cut_leaving(&self) {
        let leaving = self.lists().leaving.clone();
        for entry in leaving {
            entry.cut();
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

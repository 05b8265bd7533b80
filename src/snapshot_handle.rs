//! The snapshot that is in force, and its replacement while connections come and go.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;

use crate::snapshot::{Snapshot, SnapshotEnd};

/// The snapshot that Typha's handshakes begin with.
pub type TyphaSnapshotHandle = SnapshotHandle<ServerConfig>;
/// The snapshot that Felix's handshakes begin with.
pub type FelixSnapshotHandle = SnapshotHandle<ClientConfig>;

/// The snapshot that handshakes begin with, until it is replaced. Clones are the same handle.
///
/// A handshake is judged by the snapshot in force when it began, as a whole, even if that is replaced before its end.
/// Its [generation](Snapshot::generation) is what the stream [remembers](crate::AuthenticatedStream::generation). The
/// live connections of a listener or a dialer are [judged again](crate::lifetime).
///
/// ```no_run
/// # fn example(acceptor: typha_tls::TyphaAcceptor, renewed: typha_tls::TyphaSnapshot) {
/// let generation = acceptor.snapshots().replace(renewed);
/// println!("new connections are judged by generation {generation}");
/// # }
/// ```
pub struct SnapshotHandle<C>(Arc<InForce<C>>);

struct InForce<C> {
    snapshot: ArcSwap<Snapshot<C>>,
    generation: watch::Sender<u64>,
}

impl<C> SnapshotHandle<C> {
    /// With this snapshot in force, as the first generation.
    pub fn new(snapshot: Snapshot<C>) -> Self {
        let snapshot = ArcSwap::from_pointee(snapshot.of_generation(FIRST));
        Self(Arc::new(InForce { snapshot, generation: watch::Sender::new(FIRST) }))
    }

    /// The snapshot in force.
    pub fn current(&self) -> Arc<Snapshot<C>> {
        self.0.snapshot.load_full()
    }

    /// Puts another snapshot in force, and returns its generation.
    ///
    /// What was verified under the old one is remembered only if the new one has the same CAs, revocation lists,
    /// required identity and policy, so that its verdict would be the same.
    pub fn replace(&self, snapshot: Snapshot<C>) -> u64
    where
        C: SnapshotEnd,
    {
        let mut generation = 0;
        // Under the lock of the watch, so that it shows generations in their order, and none before it is in force.
        self.0.generation.send_modify(|latest| {
            *latest += 1;
            generation = *latest;
            let snapshot = snapshot.inheriting(&self.current()).of_generation(generation);
            self.0.snapshot.store(Arc::new(snapshot));
        });
        generation
    }

    /// The generation in force, now and whenever another one is.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }
}

/// 0 is a snapshot that was never in force.
const FIRST: u64 = 1;

impl<C> Clone for SnapshotHandle<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> From<Snapshot<C>> for SnapshotHandle<C> {
    fn from(snapshot: Snapshot<C>) -> Self {
        Self::new(snapshot)
    }
}

impl<C> fmt::Debug for SnapshotHandle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SnapshotHandle").field(&*self.current()).finish()
    }
}

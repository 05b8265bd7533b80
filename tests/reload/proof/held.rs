//! A source of snapshots in memory, and a reloader that looks only when it is told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::timeout;
use typha_tls::SnapshotHandle;
use typha_tls::reload::{ReloadOptions, Reloaded, Reloader, SnapshotSource, SourceError};
use typha_tls::snapshot::{SnapshotEnd, SnapshotParts};

/// Gives what it was given. Clones hold the same.
#[derive(Clone)]
pub(crate) struct Held(Arc<Mutex<SnapshotParts>>);

impl Held {
    pub(crate) fn new(parts: SnapshotParts) -> Self {
        Self(Arc::new(Mutex::new(parts)))
    }

    pub(crate) fn set(&self, parts: SnapshotParts) {
        *self.0.lock().unwrap() = parts;
    }
}

impl SnapshotSource for Held {
    async fn load(&self) -> Result<SnapshotParts, SourceError> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn description(&self) -> String {
        "memory".to_owned()
    }
}

/// Looks only on [`Reloader::reload_now`].
pub(crate) fn follow<C: SnapshotEnd>(
    snapshots: &SnapshotHandle<C>,
    source: impl SnapshotSource + 'static,
) -> Reloader {
    let mut options = ReloadOptions::default();
    options.poll_interval = Duration::ZERO;
    Reloader::start(snapshots, source, options)
}

/// Reloads, and expects that it puts this generation in force.
pub(crate) async fn replaced(reloader: &Reloader, generation: u64) {
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation });
}

/// Far more than anything here takes.
pub(crate) async fn bounded<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("it takes too long")
}

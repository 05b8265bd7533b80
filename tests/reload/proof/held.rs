//! A source of configurations in memory, and a reloader that looks only when it is told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::timeout;
use typha_tls::TlsConfig;
use typha_tls::reload::{ReloadOptions, Reloaded, Reloader, SourceError, TlsConfigSource};

/// Gives what it was given. Clones hold the same.
#[derive(Clone)]
pub(crate) struct Held(Arc<Mutex<TlsConfig>>);

impl Held {
    pub(crate) fn new(config: TlsConfig) -> Self {
        Self(Arc::new(Mutex::new(config)))
    }

    pub(crate) fn set(&self, config: TlsConfig) {
        *self.0.lock().unwrap() = config;
    }
}

impl TlsConfigSource for Held {
    async fn load(&self) -> Result<TlsConfig, SourceError> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn description(&self) -> String {
        "memory".to_owned()
    }
}

/// Looks only on [`Reloader::reload_now`].
pub(crate) fn when_asked() -> ReloadOptions {
    let mut options = ReloadOptions::default();
    options.poll_interval = Duration::ZERO;
    options
}

/// Reloads, and expects that it puts this generation in force.
pub(crate) async fn replaced(reloader: &Reloader, generation: u64) {
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation });
}

/// Far more than anything here takes.
pub(crate) async fn bounded<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("it takes too long")
}

//! Where configurations come from.

use std::error::Error;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::material::MaterialError;
use crate::tls_config::TlsConfig;

/// A source of configurations: files, the SPIFFE Workload API, or your own secret store. `C` is a [`TlsConfig`] for an
/// acceptor or a `FelixConnector`, and a [`HostTlsConfig`](crate::host::HostTlsConfig) for a `HostConnector`.
///
/// ```
/// use std::sync::Mutex;
///
/// use tokio::sync::Notify;
/// use typha_tls::TlsConfig;
/// use typha_tls::reload::{SourceError, TlsConfigSource};
///
/// /// The last answer of a secret store.
/// struct Pushed {
///     latest: Mutex<Result<TlsConfig, String>>,
///     arrived: Notify, // by `notify_one`, which is kept for a `changed` that comes later
/// }
///
/// impl TlsConfigSource for Pushed {
///     async fn load(&self) -> Result<TlsConfig, SourceError> {
///         let latest = self.latest.lock().map_err(|_| SourceError::new("its task has panicked"))?;
///         latest.clone().map_err(SourceError::new)
///     }
///
///     async fn changed(&self) {
///         self.arrived.notified().await;
///     }
///
///     fn description(&self) -> String {
///         "the secret store".to_owned()
///     }
/// }
/// ```
pub trait TlsConfigSource<C = TlsConfig>: Send + Sync {
    /// Returns the current configuration. It is called at the polling interval, and when [`changed`](Self::changed)
    /// ends. If the result is the same as before, nothing has changed.
    ///
    /// The future may be dropped early if it takes too long.
    ///
    /// # Errors
    ///
    /// The reason why there is no configuration. The configuration in force stays.
    fn load(&self) -> impl Future<Output = Result<C, SourceError>> + Send;

    /// Ends when a [`load`](Self::load) before the next poll is worthwhile; by default never. The future may be dropped
    /// and created again at any time; a change since the last `load` must not be lost by that.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// How long a new configuration must stay the same before it is put in force; by default zero. Files that are being
    /// written need it, because half a bundle can be valid.
    fn settle_time(&self) -> Duration {
        Duration::ZERO
    }

    /// The name of the source in logs and in the state.
    fn description(&self) -> String;
}

/// A program can keep a clone of the `Arc` to use its source while a reloader follows it.
impl<C, S: TlsConfigSource<C>> TlsConfigSource<C> for Arc<S> {
    fn load(&self) -> impl Future<Output = Result<C, SourceError>> + Send {
        S::load(self)
    }

    fn changed(&self) -> impl Future<Output = ()> + Send {
        S::changed(self)
    }

    fn settle_time(&self) -> Duration {
        S::settle_time(self)
    }

    fn description(&self) -> String {
        S::description(self)
    }
}

/// Why a [`TlsConfigSource`] gives no configuration.
#[derive(Clone, Debug, Error)]
#[error(transparent)]
pub struct SourceError(Arc<dyn Error + Send + Sync>);

impl SourceError {
    /// Wraps an error of your own source, or a text.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into().into())
    }

    /// The error of the source. Find its type with `error.get_ref().downcast_ref::<MaterialError>()`.
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl From<MaterialError> for SourceError {
    fn from(error: MaterialError) -> Self {
        Self::new(error)
    }
}

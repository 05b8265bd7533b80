//! Where configurations come from.

use std::error::Error;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::material::MaterialError;
use crate::tls_config::TlsConfig;

/// Where a configuration comes from: files, the SPIFFE Workload API, a secret store of one's own.
///
/// ```
/// use std::sync::Mutex;
///
/// use tokio::sync::Notify;
/// use typha_tls::TlsConfig;
/// use typha_tls::reload::{SourceError, TlsConfigSource};
///
/// /// What a secret store has sent last.
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
pub trait TlsConfigSource: Send + Sync {
    /// What there is now. It is asked at the polling interval, and when [`changed`](Self::changed) ends; the same
    /// again means that nothing has changed.
    ///
    /// May be dropped before its end, when it takes too long.
    ///
    /// # Errors
    ///
    /// What is wrong. The configuration in force stays.
    fn load(&self) -> impl Future<Output = Result<TlsConfig, SourceError>> + Send;

    /// Ends when it is worth to [`load`](Self::load) before the next poll; by default never. It may be dropped and
    /// called again at any time: a change since the last `load` must not be lost by that.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// For how long what is new must stay the same before it is put in force, by default not at all. Files that are
    /// being written need it: half a bundle can be a good one.
    fn settle_time(&self) -> Duration {
        Duration::ZERO
    }

    /// Where it comes from, for logs and the state.
    fn description(&self) -> String;
}

/// For a program that has something to ask of its source while a reloader follows it.
impl<S: TlsConfigSource> TlsConfigSource for Arc<S> {
    fn load(&self) -> impl Future<Output = Result<TlsConfig, SourceError>> + Send {
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

/// Why a [`TlsConfigSource`] gives nothing.
#[derive(Clone, Debug, Error)]
#[error(transparent)]
pub struct SourceError(Arc<dyn Error + Send + Sync>);

impl SourceError {
    /// An error of a source of one's own, or a text.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into().into())
    }

    /// The error of the source, to be told by its type: `error.get_ref().downcast_ref::<MaterialError>()`.
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl From<MaterialError> for SourceError {
    fn from(error: MaterialError) -> Self {
        Self::new(error)
    }
}

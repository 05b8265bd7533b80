//! Configurations from the SPIFFE Workload API, as SPIRE's agent serves it on each node.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use typha_tls::TlsConfig;
use typha_tls::reload::{SourceError, TlsConfigSource};

use crate::error::SpiffeError;
use crate::follower::Known;

/// Our X.509-SVID and the trust bundle for our peer, as the SPIFFE Workload API rotates them.
///
/// Each answer of the agent is used as a whole: an SVID is never combined with the bundle of another answer. While the
/// agent is away, its last answer stays in use; the source reconnects when it is back. If the agent denies us an
/// identity or sends unusable material, [`load`](TlsConfigSource::load) fails, and the configuration in force stays.
///
/// The trusted CAs are those of our own trust domain, and a required SPIFFE ID must be of it. For another trust domain
/// see [`with_federated_bundles`](crate::SpiffeSourceBuilder::with_federated_bundles).
///
/// ```no_run
/// use typha_tls::policy::TlsPolicy;
/// use typha_tls::reload::{ReloadOptions, TlsConfigSource as _};
/// use typha_tls::{RequiredIdentity, TyphaAcceptor};
/// use typha_tls_spiffe::SpiffeSource;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let felix = RequiredIdentity::uri_san("spiffe://cluster.local/ns/calico-system/sa/calico-node")?;
/// let source = SpiffeSource::builder(felix, TlsPolicy::builder().build()?)
///     .endpoint("unix:///run/spire/agent-sockets/spire-agent.sock")
///     .connect()
///     .await?;
/// let acceptor = TyphaAcceptor::new(source.load().await?);
/// let _reloader = acceptor.follow(source, ReloadOptions::default());
/// # Ok(())
/// # }
/// ```
///
/// # Security
///
/// A process with access to the socket decides our identity and our trusted CAs. Mount it read-only, from a directory
/// that only the agent can write. SPIFFE ends SVIDs by short lifetimes; revocation lists from the agent are not used.
/// While the agent is away, its last answer stays in force. So a withdrawn identity stays valid until the SVID expires.
pub struct SpiffeSource {
    endpoint: String,
    known: watch::Receiver<Known>,
    loaded: AtomicU64,
    follower: AbortOnDropHandle<()>,
}

impl SpiffeSource {
    pub(crate) fn new(
        endpoint: String,
        known: watch::Receiver<Known>,
        follower: AbortOnDropHandle<()>,
    ) -> Self {
        Self { endpoint, known, loaded: AtomicU64::new(0), follower }
    }

    /// The current problem with the agent, if there is one. It includes a lost connection, which is no error of
    /// [`load`](TlsConfigSource::load). Each problem is also logged once.
    pub fn problem(&self) -> Option<SpiffeError> {
        self.known.borrow().problem.clone()
    }
}

impl TlsConfigSource for SpiffeSource {
    /// The last answer of the agent.
    async fn load(&self) -> Result<TlsConfig, SourceError> {
        let known = self.known.borrow();
        self.loaded.fetch_max(known.revision, Ordering::Relaxed);
        if self.follower.is_finished() {
            return Err(SourceError::new(SpiffeError::Stopped));
        }
        match &known.answer {
            Some(answer) => answer.clone().map_err(SourceError::new),
            // A source only exists after the first answer.
            None => Err(SourceError::new(SpiffeError::Stopped)),
        }
    }

    /// Ends when the agent has sent a different answer than the one loaded last.
    async fn changed(&self) {
        let mut known = self.known.clone();
        let is_new = |known: &Known| known.revision > self.loaded.load(Ordering::Relaxed);
        if known.wait_for(is_new).await.is_err() {
            // The task has ended; the next poll gets that as an error.
            std::future::pending::<()>().await;
        }
    }

    fn description(&self) -> String {
        format!("SPIFFE Workload API at {}", self.endpoint)
    }
}

impl fmt::Debug for SpiffeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpiffeSource").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

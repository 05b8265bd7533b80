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
/// What the agent says is put in force as a whole: an SVID never comes with the bundle of another answer. While the
/// agent is away, what it said last stays; it is followed again when it is back. When it denies us an identity or sends
/// what can not be used, [`load`](TlsConfigSource::load) fails, and the configuration in force stays.
///
/// The CAs that count are those of our own trust domain, and a required SPIFFE ID must be of it; for one of another
/// trust domain see [`with_federated_bundles`](crate::SpiffeSourceBuilder::with_federated_bundles).
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
/// Whoever holds the socket decides who we are and whom we trust: mount it read-only, from a directory that only the
/// agent writes. SPIFFE leaves it to short lifetimes to end an SVID; revocation lists that an agent may send are not
/// used. What an agent said last stays in force without it, until the SVID expires: an identity that is taken away is
/// not lost before.
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

    /// What is wrong with the agent now, if anything is: also a lost connection, of which
    /// [`load`](TlsConfigSource::load) says nothing. It is logged when it begins, too.
    pub fn problem(&self) -> Option<SpiffeError> {
        self.known.borrow().problem.clone()
    }
}

impl TlsConfigSource for SpiffeSource {
    /// What the agent said last.
    async fn load(&self) -> Result<TlsConfig, SourceError> {
        let known = self.known.borrow();
        self.loaded.fetch_max(known.revision, Ordering::Relaxed);
        if self.follower.is_finished() {
            return Err(SourceError::new(SpiffeError::Stopped));
        }
        match &known.answer {
            Some(answer) => answer.clone().map_err(SourceError::new),
            // There is no source before the first answer.
            None => Err(SourceError::new(SpiffeError::Stopped)),
        }
    }

    /// Ends when the agent has said something else than what was loaded last.
    async fn changed(&self) {
        let mut known = self.known.clone();
        let is_new = |known: &Known| known.revision > self.loaded.load(Ordering::Relaxed);
        if known.wait_for(is_new).await.is_err() {
            // Nothing follows the agent any more, which the next poll is told.
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

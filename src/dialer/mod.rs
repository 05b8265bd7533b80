//! [`FelixDialer`]: finds a Typha and keeps a Felix connected to one.

mod attempts;
mod dns;
mod endpoint;
mod error;
mod host_port;
mod known;
mod limits;
mod run;
mod state;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::debug;

pub use dns::DnsEndpoints;
pub use endpoint::{DiscoveryError, EndpointSource, TyphaEndpoint};
pub use error::{AttemptError, DialError, FailedAttempt};
pub(crate) use host_port::HostPort;
pub use host_port::InvalidAddress;
pub use limits::DialerLimits;
pub use state::{DialerError, DialerPhase, DialerState};

use crate::connection::Connection;
use crate::connector::FelixConnector;
use crate::lifetime::ConnectionLifetime;
use crate::reload::{ReloadOptions, Reloader, TlsConfigSource};
use crate::time::deadline_in;
use attempts::{Attempts, Context, Progress, lock};
use endpoint::AnySource;
use known::Known;

/// Connects a Felix to one of several Typhas. It decides the order, the number and the pace of the attempts, and which
/// Typhas to avoid for a while. Cheap to clone; clones share their knowledge of the Typhas.
///
/// - Order: Typhas on our own node first, then the others in random order, then those that failed recently. The dialer
///   tries every Typha once, without a delay, before it tries any of them twice. Between such rounds it backs off.
/// - The dialer queries the source before the first attempt and after each failure. It tries new Typhas at once. It
///   keeps Typhas that the source no longer returns for some time, as a last resort. A failed query does not matter
///   while a Typha is known.
/// - If a Typha does not answer within a head start, the dialer also dials the next one, as RFC 8305 does for
///   addresses. It continues with the first Typha that answers: there is one TLS handshake at a time.
///
/// ```no_run
/// # async fn example(connector: typha_tls::FelixConnector) -> Result<(), Box<dyn std::error::Error>> {
/// use typha_tls::dialer::{DnsEndpoints, FelixDialer};
///
/// let dialer = FelixDialer::new(connector, DnsEndpoints::new("typha.example:5473")?);
/// let connection = dialer.connect().await?;
/// println!("connected to {} at {}", connection.peer(), connection.peer_address());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FelixDialer {
    connector: FelixConnector,
    limits: DialerLimits,
    lifetime: ConnectionLifetime,
    node_name: Option<String>,
    following: Arc<Mutex<Option<Following>>>,
    shared: Arc<Shared>,
}

/// The source of the configuration that a dialer follows from its first use.
struct Following {
    start: Box<dyn Fn(&FelixConnector) -> Reloader + Send>,
    reloader: Option<Reloader>,
}

/// The part of a dialer that clones share.
struct Shared {
    source: Arc<dyn AnySource>,
    known: Mutex<Known>,
    state: watch::Sender<DialerState>,
}

impl FelixDialer {
    /// A dialer with [default limits](DialerLimits) and no node name, so it prefers no Typha.
    ///
    /// The handshake timeout of the connector applies in addition to [`DialerLimits::attempt_timeout`].
    pub fn new(connector: FelixConnector, source: impl EndpointSource + 'static) -> Self {
        let shared = Shared {
            source: Arc::new(source),
            known: Mutex::default(),
            state: watch::Sender::new(DialerState::idle()),
        };
        Self {
            connector,
            limits: DialerLimits::default(),
            lifetime: ConnectionLifetime::default(),
            node_name: None,
            following: Arc::default(),
            shared: Arc::new(shared),
        }
    }

    /// Sets the name of our own Kubernetes node, whose Typhas are tried first. It must be equal to
    /// [`TyphaEndpoint::node_name`].
    #[must_use]
    pub fn with_node_name(mut self, node_name: impl Into<String>) -> Self {
        self.node_name = Some(node_name.into());
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn with_limits(mut self, limits: DialerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what happens to a connection whose Typha is no longer trusted, and the maximum age of a connection.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: ConnectionLifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Follows a `source` as [`FelixConnector::follow`] does, and replaces an earlier source. Following starts with the
    /// first connect of this dialer, or of a clone that is made later. It ends when these dialers and their connections
    /// are dropped. Call it before the first connect: a live connection keeps following the source it started with.
    ///
    /// [`FelixConfig::dialer`](crate::config::FelixConfig::dialer) sets this to the parameters and files of the
    /// configuration. Otherwise the dialer follows nothing.
    #[must_use]
    pub fn follow(mut self, source: impl TlsConfigSource + 'static, options: ReloadOptions) -> Self {
        let source = Arc::new(source);
        let start =
            Box::new(move |connector: &FelixConnector| connector.follow(source.clone(), options.clone()));
        self.following = Arc::new(Mutex::new(Some(Following { start, reloader: None })));
        self
    }

    /// Follows nothing: renewed certificates and changed CAs need a restart, or the program
    /// [replaces](FelixConnector::replace) the configuration itself.
    #[must_use]
    pub fn without_reload(mut self) -> Self {
        self.following = Arc::default();
        self
    }

    /// The reloader of the source that the dialer [follows](Self::follow). It shows the state and can check the source
    /// at once. `None` before the first connect. Following continues while the reloader is kept.
    pub fn reloader(&self) -> Option<Reloader> {
        self.following().as_ref()?.reloader.clone()
    }

    /// The connector.
    pub fn connector(&self) -> &FelixConnector {
        &self.connector
    }

    /// The limits.
    pub fn limits(&self) -> &DialerLimits {
        &self.limits
    }

    /// The name of our own Kubernetes node, if it was set.
    pub fn node_name(&self) -> Option<&str> {
        self.node_name.as_deref()
    }

    /// Connects to a Typha. When this returns, Typha has accepted us, as far as the connector's
    /// [`AcceptanceMode`](crate::AcceptanceMode) waits for that.
    ///
    /// The future ends within [`DialerLimits::connect_timeout`]. It needs a tokio runtime with timer and I/O. It can be
    /// dropped at any point, which closes every connection that it has started.
    ///
    /// # Errors
    ///
    /// [`DialError`], with every attempt. A search that finds no Typha ends it at once if none is known. So does a
    /// cause on our own side ([`DialError::is_own_fault`]).
    pub fn connect(&self) -> impl Future<Output = Result<Connection, DialError>> + Send + use<> {
        let dialer = self.clone();
        // Boxed, so that its memory is freed when it ends, even if the future around it lives as long as the
        // connection.
        Box::pin(async move { dialer.connect_with_progress(&|_| {}).await.map(|(_, connection)| connection) })
    }

    async fn connect_with_progress(
        &self,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(TyphaEndpoint, Connection), DialError> {
        let reloader = self.start_following();
        let context = Context {
            transport: &self.connector,
            source: &self.shared.source,
            known: &self.shared.known,
            limits: &self.limits,
            own_node: self.node_name(),
            progress,
        };
        let (endpoint, stream) = Attempts::new(context).connect().await?;
        debug!(%endpoint, "connected to Typha");
        let (in_force, lifetime) = (self.connector.in_force.clone(), self.lifetime.clone());
        let connection = Connection::of_client(stream, endpoint.address, in_force, lifetime, reloader);
        Ok((endpoint, connection))
    }

    /// Starts to follow, if that was not done yet or its runtime has ended.
    fn start_following(&self) -> Option<Reloader> {
        let mut following = self.following();
        let following = following.as_mut()?;
        if following.reloader.as_ref().is_none_or(Reloader::is_stopped) {
            following.reloader = Some((following.start)(&self.connector));
        }
        following.reloader.clone()
    }

    fn following(&self) -> MutexGuard<'_, Option<Following>> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a Typha as bad, because it sends invalid data for example. It is tried after all others for
    /// [`DialerLimits::avoid_bad_for`], and still used if no other accepts a connection. An unknown Typha is ignored.
    pub fn report_bad(&self, address: SocketAddr) {
        lock(&self.shared.known).avoid(address, deadline_in(self.limits.avoid_bad_for));
    }

    /// The state of [`run`](Self::run), now and after each change. It does not show separate calls of `connect`.
    pub fn state(&self) -> watch::Receiver<DialerState> {
        self.shared.state.subscribe()
    }
}

impl fmt::Debug for FelixDialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FelixDialer")
            .field("connector", &self.connector)
            .field("limits", &self.limits)
            .field("node_name", &self.node_name)
            .field("known", &*lock(&self.shared.known))
            .finish_non_exhaustive()
    }
}

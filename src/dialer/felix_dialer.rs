//! The dialer.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tracing::debug;

use super::connecting::{Connecting, Means, Progress, lock};
use super::connection::FelixConnection;
use super::endpoint::{EndpointSource, TyphaEndpoint};
use super::error::DialError;
use super::known::Known;
use super::limits::DialerLimits;
use super::search::AnySource;
use super::state::DialerState;
use crate::FelixConnector;
use crate::connector::MAX_FIRST_MESSAGE;
use crate::lifetime::ConnectionLifetime;
use crate::time::deadline_in;

/// Connects a Felix to one of several Typhas: in which order, how often, at what pace, and who is left out for a while.
/// Cheap to clone; clones share what is known of the Typhas.
///
/// - The order: Typhas of our own node first, the others in random order, and those that have failed lately last of
///   all. Every Typha is tried once before any is tried twice, without a delay; between such rounds there is a
///   back-off.
/// - The source is asked before the first attempt and after each failure. What it finds is tried at once; what it finds
///   no more is kept for some time as a last resort. That it fails does not matter while a Typha is known.
/// - A Typha that does not answer a dial within a head start has the next one dialled beside it, as RFC 8305 has it for
///   addresses. Only the first that answers is spoken to: one TLS handshake at a time.
///
/// ```no_run
/// # async fn example(connector: typha_tls::FelixConnector) -> Result<(), Box<dyn std::error::Error>> {
/// use typha_tls::dialer::{DnsEndpoints, FelixDialer};
///
/// let dialer = FelixDialer::new(connector, DnsEndpoints::new("typha.example:5473")?);
/// let connection = dialer.connect().await?;
/// println!("connected to {} at {}", connection.peer(), connection.endpoint());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FelixDialer {
    connector: FelixConnector,
    limits: DialerLimits,
    lifetime: ConnectionLifetime,
    node_name: Option<String>,
    shared: Arc<Shared>,
}

/// What clones share.
struct Shared {
    source: Arc<dyn AnySource>,
    known: Mutex<Known>,
    state: watch::Sender<DialerState>,
}

impl FelixDialer {
    /// A dialer with [default limits](DialerLimits), which knows no node name and so prefers no Typha.
    ///
    /// The bound of the connector on a handshake holds beside [`DialerLimits::attempt_timeout`].
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
            shared: Arc::new(shared),
        }
    }

    /// Sets the Kubernetes node that we are on, whose Typhas are tried first. It is compared exactly with
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

    /// Sets what becomes of a connection whose Typha is trusted no longer, and how old it may get.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: ConnectionLifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// What connects.
    pub fn connector(&self) -> &FelixConnector {
        &self.connector
    }

    /// The limits.
    pub fn limits(&self) -> &DialerLimits {
        &self.limits
    }

    /// The Kubernetes node that we are on, if it was set.
    pub fn node_name(&self) -> Option<&str> {
        self.node_name.as_deref()
    }

    /// Connects to a Typha, which has accepted us when this returns, as far as the connector's
    /// [`AcceptanceMode`](crate::AcceptanceMode) makes it wait for that.
    ///
    /// The future is bounded by [`DialerLimits::connect_timeout`], needs a tokio runtime with its timer and I/O, and
    /// can be dropped at any point: that closes every connection that it has begun and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`DialError`], with every attempt. While no Typha is known, a search that finds none ends it at once. One that
    /// is our [own fault](DialError::is_own_fault) comes at once.
    pub fn connect(&self) -> impl Future<Output = Result<FelixConnection, DialError>> + Send + use<> {
        self.connect_and_send(Vec::new())
    }

    /// As [`connect`](Self::connect), and sends `first_message`, of at most 16 KiB, with the last message of Felix's
    /// handshake; see [`FelixConnector::connect_and_send`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and [`DialError::FirstMessageTooLong`].
    ///
    /// # Security
    ///
    /// The message may be read by several Typhas: by each that refuses us afterwards, and by the one that does not. All
    /// of them are the right ones.
    pub fn connect_and_send(
        &self,
        first_message: Vec<u8>,
    ) -> impl Future<Output = Result<FelixConnection, DialError>> + Send + use<> {
        let dialer = self.clone();
        // Boxed, so that what it needs is given back when it ends, even if the future around it lives as long as the
        // connection.
        Box::pin(async move { dialer.connect_telling(&first_message, &|_| {}).await })
    }

    /// As [`connect`](Self::connect), and tells what it is doing.
    pub(super) async fn connect_reporting(
        &self,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<FelixConnection, DialError> {
        Box::pin(self.connect_telling(&[], progress)).await
    }

    async fn connect_telling(
        &self,
        first_message: &[u8],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<FelixConnection, DialError> {
        let (length, limit) = (first_message.len(), MAX_FIRST_MESSAGE);
        if length > limit {
            return Err(DialError::FirstMessageTooLong { length, limit });
        }
        let means = Means {
            transport: &self.connector,
            source: &self.shared.source,
            known: &self.shared.known,
            limits: &self.limits,
            own_node: self.node_name(),
            first_message,
            progress,
        };
        let (endpoint, stream) = Connecting::new(means).connect().await?;
        debug!(%endpoint, "connected to Typha");
        let in_force = self.connector.in_force.clone();
        Ok(FelixConnection::new(endpoint, stream, in_force, self.lifetime.clone()))
    }

    /// Has a Typha tried after all others for [`DialerLimits::avoid_bad_for`]: because what it sends makes no sense,
    /// say. It is tried all the same if no other can be connected to. A Typha that is not known is ignored.
    pub fn report_bad(&self, endpoint: &TyphaEndpoint) {
        lock(&self.shared.known).avoid(endpoint.address, deadline_in(self.limits.avoid_bad_for));
    }

    /// What [`run`](Self::run) is doing, now and whenever that changes. A `connect` of one's own does not show in it.
    pub fn state(&self) -> watch::Receiver<DialerState> {
        self.shared.state.subscribe()
    }

    pub(super) fn state_sender(&self) -> &watch::Sender<DialerState> {
        &self.shared.state
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

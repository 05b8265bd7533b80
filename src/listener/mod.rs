//! What a Typha needs around its [`TyphaAcceptor`]: accepting at scale.

mod accepting;
mod admission;
mod bind;
mod client_hello;
mod connection;
mod facade;
mod failures;
mod handle;
mod histogram;
mod incoming;
mod limits;
#[cfg(test)]
mod pacing_tests;
mod place;
mod rebalance;
mod reports;
mod review;
#[cfg(test)]
mod review_tests;
mod roll;
mod shared;
mod shed;
mod shutdown;
mod signal;
mod stats;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::mpsc;

pub use connection::TyphaConnection;
pub use handle::ListenerHandle;
pub use histogram::DurationHistogram;
pub use limits::ListenerLimits;
pub use reports::{FailedHandshake, LostTrust, ShutdownReport};
pub use shed::ShedCause;
pub use stats::ListenerStats;

pub use crate::lifetime::DropReason;

use crate::TyphaAcceptor;
use crate::lifetime::ConnectionLifetime;
use reports::{Observer, TrustObserver};
use shared::Shared;

/// Accepts Felixes at scale: yields authenticated connections, and nothing else.
///
/// Each connection waits in a bounded queue until its first message is there whole, then performs its handshake beside
/// the others, under a cap. A peer that sends nothing, or half of it, costs a socket and holds up nobody. What can not
/// be served is shed before TLS costs anything: at the bounds of the queue the connection that has been silent for
/// longest, else the newest. Addresses get their handshakes in turn and in shares; one that fails ten times in a row
/// gets one at a time, with pauses of up to 2 s. See [`ListenerLimits`].
///
/// It works in tasks of its own, as long as it is not dropped. Errors of `accept()` are counted and waited out.
/// Connections that were handed out outlive it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use typha_tls::config::{Sources, TyphaConfig};
///
/// let config = TyphaConfig::load(&Sources::typha())?;
/// let builder = config.listener()?.ok_or("TLS is not configured")?;
/// let mut listener = builder.bind(config.listen_address()).await?;
/// while let Some(connection) = listener.accept().await {
///     tokio::spawn(async move {
///         println!("{} is {}", connection.peer_address(), connection.peer());
///     });
/// }
/// # Ok(())
/// # }
/// ```
pub struct TyphaListener {
    connections: mpsc::Receiver<TyphaConnection>,
    handle: ListenerHandle,
    shared: Arc<Shared>,
}

/// Connections that wait to be taken; then their handshakes wait with them.
const WAITING_CONNECTIONS: usize = 256;

impl TyphaListener {
    /// A listener whose peers this acceptor judges, with its timeouts and keep-alive.
    pub fn builder(acceptor: TyphaAcceptor) -> TyphaListenerBuilder {
        TyphaListenerBuilder {
            acceptor,
            limits: ListenerLimits::default(),
            lifetime: ConnectionLifetime::default(),
            observer: None,
            trust_observer: None,
        }
    }

    /// The next connection; `None` when the listener has been shut down.
    ///
    /// Cancel-safe: no connection is lost when the future is dropped.
    pub async fn accept(&mut self) -> Option<TyphaConnection> {
        self.connections.recv().await
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Counts and reins, to be used from elsewhere.
    pub fn handle(&self) -> ListenerHandle {
        self.handle.clone()
    }
}

/// As [`accept`](TyphaListener::accept).
impl Stream for TyphaListener {
    type Item = TyphaConnection;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TyphaConnection>> {
        self.connections.poll_recv(cx)
    }
}

impl Drop for TyphaListener {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl fmt::Debug for TyphaListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TyphaListener").field("local_addr", &self.local_addr()).finish_non_exhaustive()
    }
}

/// What a [`TyphaListener`] is made of.
#[must_use]
pub struct TyphaListenerBuilder {
    acceptor: TyphaAcceptor,
    limits: ListenerLimits,
    lifetime: ConnectionLifetime,
    observer: Option<Observer>,
    trust_observer: Option<TrustObserver>,
}

impl TyphaListenerBuilder {
    /// The acceptor, by which the configuration in force is [replaced](TyphaAcceptor::replace) or
    /// [followed](TyphaAcceptor::follow).
    pub fn acceptor(&self) -> &TyphaAcceptor {
        &self.acceptor
    }

    /// Sets how much it takes on.
    pub fn limits(mut self, limits: ListenerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what becomes of connections whose peer is trusted no longer, and how old they may get.
    pub fn lifetime(mut self, lifetime: ConnectionLifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Calls this with every live connection whose peer would not be accepted any more. It runs within the listener's
    /// tasks, so that it must not block.
    pub fn on_lost_trust(mut self, observer: impl Fn(LostTrust) + Send + Sync + 'static) -> Self {
        self.trust_observer = Some(Box::new(observer));
        self
    }

    /// Calls this with every handshake that does not lead to a connection. It runs within the listener's tasks, so that
    /// it must not block. Connections that are shed are counted only, and probes too.
    pub fn on_failed_handshake(mut self, observer: impl Fn(FailedHandshake) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Listens, on the first of the addresses that can be listened on; port 0 takes a free one. `::` is all addresses
    /// of both families, and of IPv4 where there is no IPv6.
    ///
    /// The listener uses the tokio runtime that this is called within.
    ///
    /// # Errors
    ///
    /// With the address in its text, if there is none that can be listened on.
    pub async fn bind(self, address: impl ToSocketAddrs) -> io::Result<TyphaListener> {
        let listener = bind::bind(address, self.acceptor.keepalive()).await?;
        self.start(listener)
    }

    /// Listens on a socket that was bound elsewhere, such as one that the daemon inherited. One of tokio becomes one of
    /// the standard library by `into_std`.
    ///
    /// The listener uses the tokio runtime that this is called within.
    ///
    /// # Errors
    ///
    /// The socket can not be used.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn listen_on(self, listener: std::net::TcpListener) -> io::Result<TyphaListener> {
        let listener = bind::adopt(listener, self.acceptor.keepalive())?;
        self.start(listener)
    }

    fn shared(self) -> Arc<Shared> {
        let Self { acceptor, limits, lifetime, observer, trust_observer } = self;
        Arc::new(Shared::new(acceptor, limits, lifetime, observer, trust_observer))
    }

    fn start(self, listener: TcpListener) -> io::Result<TyphaListener> {
        let local_addr = listener.local_addr()?;
        let shared = self.shared();
        let (owners, connections) = mpsc::channel(WAITING_CONNECTIONS);
        shared.tasks.spawn(accepting::accept_all(shared.clone(), listener, owners));
        shared.tasks.spawn(rebalance::rebalance(shared.clone()));
        shared.tasks.spawn(shared.clone().keep_moving());
        // Not among the tasks that end with the listener: its connections outlive it.
        tokio::spawn(review::review(shared.clone()));
        let handle = ListenerHandle::new(shared.clone(), local_addr);
        Ok(TyphaListener { connections, handle, shared })
    }
}

impl fmt::Debug for TyphaListenerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TyphaListenerBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

//! [`TyphaListener`]: a [`TyphaAcceptor`] with everything that many connections need around it.

mod admission;
mod bind;
mod client_hello;
mod entrance;
mod failures;
mod handle;
mod limits;
#[cfg(test)]
mod pacing_tests;
mod peer_wait;
mod permit;
mod stats;
mod turns;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use entrance::FailedHandshake;
pub use handle::{ListenerHandle, ShutdownReport};
pub use limits::{ListenerLimits, ShedCause};
pub use stats::{DurationHistogram, ListenerStats};

use crate::acceptor::TyphaAcceptor;
use crate::connection::Connection;
use crate::lifetime::{self, CloseReason, ConnectionLifetime, Connections, LostTrust, review};
use crate::reload::{ReloadOptions, Reloader, TlsConfigSource};
use admission::Admission;
use entrance::{Entrance, Observer};
use stats::Counters;

/// A listener for many Felixes. It yields authenticated connections, and nothing else.
///
/// Each connection waits in a bounded queue until its whole first message has arrived. It then performs its handshake;
/// the number of concurrent handshakes is capped. A peer that sends nothing, or half a message, costs one socket and
/// delays no other peer. When the queue is full, the listener sheds a connection ([`QueueFull`](ShedCause::QueueFull)
/// has the order), before it spends anything on TLS. Free handshakes go to the addresses in turn, and each address
/// has a share. While others wait, addresses with an earlier success are preferred, and addresses whose latest
/// handshake failed come later; each kind comes first in one turn of four at least. After ten failed handshakes in a
/// row, an address gets one handshake at a time, with pauses of up to 2 s. See [`ListenerLimits`].
///
/// The listener runs in its own tasks until it is dropped. It counts errors of `accept()`, and waits before it tries
/// again. Connections that it has yielded outlive it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use typha_tls::config::{Sources, TyphaConfig};
///
/// let config = TyphaConfig::load(&Sources::typha())?;
/// let mut listener = config.listen().await?;
/// while let Some(connection) = listener.accept().await {
///     tokio::spawn(async move {
///         println!("{} is {}", connection.peer_address(), connection.peer());
///     });
/// }
/// # Ok(())
/// # }
/// ```
pub struct TyphaListener {
    handle: ListenerHandle,
    entrance: Arc<Entrance>,
    reloader: Option<Reloader>,
}

/// Accepted connections that may wait for the program to take them. When the limit is reached, further handshakes wait
/// too.
const WAITING_CONNECTIONS: usize = 256;

impl TyphaListener {
    /// Builder of a listener that performs handshakes with this acceptor, its timeouts and its keep-alive.
    pub fn builder(acceptor: TyphaAcceptor) -> TyphaListenerBuilder {
        TyphaListenerBuilder {
            acceptor,
            limits: ListenerLimits::default(),
            lifetime: ConnectionLifetime::default(),
            on_failed_handshake: None,
            on_lost_trust: None,
            follow: None,
        }
    }

    /// The next connection. `None` as soon as the listener [shuts down](ListenerHandle::shutdown) and no connection is
    /// left to take. The shutdown then goes on: await `shutdown()` before the program ends.
    ///
    /// Cancel-safe: no connection is lost if the future is dropped.
    pub async fn accept(&mut self) -> Option<Connection> {
        poll_fn(|cx| self.entrance.untaken().poll_recv(cx)).await
    }

    /// The address that the listener listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// The reloader of the source that the listener [follows](TyphaListenerBuilder::follow). It shows the state and can
    /// check the source at once. A clone keeps the reloader alive.
    pub fn reloader(&self) -> Option<&Reloader> {
        self.reloader.as_ref()
    }

    /// A handle that reads the counts, rebalances and shuts down the listener from other tasks.
    pub fn handle(&self) -> ListenerHandle {
        self.handle.clone()
    }
}

/// Yields the same connections as [`accept`](TyphaListener::accept).
impl Stream for TyphaListener {
    type Item = Connection;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        self.entrance.untaken().poll_recv(cx)
    }
}

impl Drop for TyphaListener {
    fn drop(&mut self) {
        self.entrance.stop();
        drop(self.entrance.end_untaken());
    }
}

impl fmt::Debug for TyphaListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TyphaListener").field("local_addr", &self.local_addr()).finish_non_exhaustive()
    }
}

/// Builder of a [`TyphaListener`].
#[must_use]
pub struct TyphaListenerBuilder {
    acceptor: TyphaAcceptor,
    limits: ListenerLimits,
    lifetime: ConnectionLifetime,
    on_failed_handshake: Option<Observer<FailedHandshake>>,
    on_lost_trust: Option<Observer<LostTrust>>,
    follow: Option<Follow>,
}

/// Starts to follow the source that the builder was given.
type Follow = Box<dyn FnOnce(&TyphaAcceptor) -> Reloader + Send>;

impl TyphaListenerBuilder {
    /// The acceptor. Its [`replace`](TyphaAcceptor::replace) replaces the configuration in force.
    pub fn acceptor(&self) -> &TyphaAcceptor {
        &self.acceptor
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: ListenerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what happens to connections whose peer is no longer trusted, and the maximum age of a connection.
    pub fn lifetime(mut self, lifetime: ConnectionLifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Follows a `source` as [`TyphaAcceptor::follow`] does, and replaces an earlier source. Following starts when the
    /// listener begins to listen. It ends when the listener is dropped and its last connection has ended.
    ///
    /// [`TyphaConfig::listener`](crate::config::TyphaConfig::listener) sets this to the parameters and files of the
    /// configuration. Otherwise the listener follows nothing.
    pub fn follow(mut self, source: impl TlsConfigSource + 'static, options: ReloadOptions) -> Self {
        self.follow = Some(Box::new(move |acceptor| acceptor.follow(source, options)));
        self
    }

    /// Follows nothing: renewed certificates and changed CAs need a restart, or the program
    /// [replaces](TyphaAcceptor::replace) the configuration itself.
    pub fn without_reload(mut self) -> Self {
        self.follow = None;
        self
    }

    /// Sets a function that is called for every live connection whose peer would no longer be accepted. It runs in the
    /// listener's tasks, so it must not block.
    pub fn on_lost_trust(mut self, observer: impl Fn(LostTrust) + Send + Sync + 'static) -> Self {
        self.on_lost_trust = Some(Observer(Box::new(observer)));
        self
    }

    /// Sets a function that is called for every handshake that does not lead to a connection. It runs in the listener's
    /// tasks, so it must not block. Shed connections and probes are only counted.
    pub fn on_failed_handshake(mut self, observer: impl Fn(FailedHandshake) + Send + Sync + 'static) -> Self {
        self.on_failed_handshake = Some(Observer(Box::new(observer)));
        self
    }

    /// Listens on the first of the addresses that works. Port 0 selects a free port. `::` means all addresses of both
    /// families, or all IPv4 addresses on a system without IPv6.
    ///
    /// The listener runs in the current tokio runtime.
    ///
    /// # Errors
    ///
    /// No address can be listened on. The text names the last address that was tried.
    pub async fn bind(self, address: impl ToSocketAddrs) -> io::Result<TyphaListener> {
        let listener = bind::bind(address, self.acceptor.keepalive()).await?;
        self.start(listener)
    }

    /// Listens on a socket that is already bound, such as one that the daemon inherited. `into_std` converts a tokio
    /// listener to one of the standard library.
    ///
    /// The listener runs in the current tokio runtime.
    ///
    /// # Errors
    ///
    /// The socket can not be used.
    ///
    /// # Panics
    ///
    /// If called outside of a tokio runtime.
    pub fn listen_on(self, listener: std::net::TcpListener) -> io::Result<TyphaListener> {
        let listener = bind::adopt(listener, self.acceptor.keepalive())?;
        self.start(listener)
    }

    fn start(self, listener: TcpListener) -> io::Result<TyphaListener> {
        let (owners, untaken) = mpsc::channel(WAITING_CONNECTIONS);
        let (entrance, handle, reloader) = self.build(listener.local_addr()?, untaken);
        entrance.tasks.spawn(entrance.clone().accept_all(listener, owners));
        entrance.tasks.spawn(handle.clone().keep_balanced());
        let moving = entrance.clone();
        entrance.tasks.spawn(async move {
            tokio::select! {
                () = moving.stop.cancelled() => {}
                () = moving.admission.keep_moving() => {}
            }
        });
        Ok(TyphaListener { handle, entrance, reloader })
    }

    /// Builds everything except the tasks that end with the listener.
    fn build(
        self,
        local_addr: SocketAddr,
        untaken: mpsc::Receiver<Connection>,
    ) -> (Arc<Entrance>, ListenerHandle, Option<Reloader>) {
        let Self { acceptor, limits, lifetime, on_failed_handshake, on_lost_trust, follow } = self;
        let reloader = follow.map(|follow| follow(&acceptor));
        let limits = limits.at_least_one();
        let counters = Arc::new(Counters::new());
        let observer = Box::new(ConnectionObserver { counters: counters.clone(), on_lost_trust });
        let generations = acceptor.generations();
        let connections = Arc::new(Connections::new(generations, lifetime, limits.drop_grace, observer));
        let occupancy = counters.clone();
        let admission = Admission::new(
            limits.clone(),
            connections.in_service().clone(),
            Box::new(move |now| occupancy.occupancy(now)),
        );
        let entrance = Arc::new(Entrance {
            acceptor,
            admission: Arc::new(admission),
            counters,
            observer: on_failed_handshake,
            connections: connections.clone(),
            untaken: Mutex::new(untaken),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        // Connections outlive the listener. Until the last one has ended, the reloader is kept and their peers are
        // judged again.
        let (stop, emptied, followed) = (entrance.stop.clone(), connections.clone(), reloader.clone());
        let over = async move {
            stop.cancelled().await;
            emptied.emptied().await;
            drop(followed);
        };
        tokio::spawn(review(entrance.acceptor.in_force.clone(), connections.clone(), over));
        let handle = ListenerHandle::new(local_addr, limits, entrance.clone(), connections);
        (entrance, handle, reloader)
    }
}

struct ConnectionObserver {
    counters: Arc<Counters>,
    on_lost_trust: Option<Observer<LostTrust>>,
}

impl lifetime::Observer for ConnectionObserver {
    fn numbers(&self, active: usize, unreleased: usize) {
        self.counters.numbers(active, unreleased);
    }

    fn close_requested(&self, reason: CloseReason, connections: usize) {
        self.counters.dropped(reason, connections);
    }

    fn lost_trust(&self, lost: LostTrust) {
        self.counters.lost_trust(lost.rejection.label());
        if let Some(observer) = &self.on_lost_trust {
            observer.call(lost);
        }
    }
}

impl fmt::Debug for TyphaListenerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TyphaListenerBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

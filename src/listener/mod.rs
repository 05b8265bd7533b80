//! What a Typha needs around its [`TyphaAcceptor`]: accepting at scale.

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

/// Connections that wait to be taken; then their handshakes wait with them.
const WAITING_CONNECTIONS: usize = 256;

impl TyphaListener {
    /// A listener whose peers this acceptor judges, with its timeouts and keep-alive.
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

    /// The next connection; `None` as soon as the listener [shuts down](ListenerHandle::shutdown) and no connection waits
    /// to be taken. The shutdown goes on then: a program that waits for its connections awaits `shutdown()` before it
    /// ends.
    ///
    /// Cancel-safe: no connection is lost when the future is dropped.
    pub async fn accept(&mut self) -> Option<Connection> {
        poll_fn(|cx| self.entrance.untaken().poll_recv(cx)).await
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// The reloader of what the listener [follows](TyphaListenerBuilder::follow): its state, and looking at once. A
    /// clone keeps the reloader alive.
    pub fn reloader(&self) -> Option<&Reloader> {
        self.reloader.as_ref()
    }

    /// Counts and reins, to be used from elsewhere.
    pub fn handle(&self) -> ListenerHandle {
        self.handle.clone()
    }
}

/// As [`accept`](TyphaListener::accept).
impl Stream for TyphaListener {
    type Item = Connection;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        self.entrance.untaken().poll_recv(cx)
    }
}

impl Drop for TyphaListener {
    fn drop(&mut self) {
        self.entrance.stop();
        self.entrance.drop_untaken();
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
    on_failed_handshake: Option<Observer<FailedHandshake>>,
    on_lost_trust: Option<Observer<LostTrust>>,
    follow: Option<Follow>,
}

/// Starts to follow what the builder was given.
type Follow = Box<dyn FnOnce(&TyphaAcceptor) -> Reloader + Send>;

impl TyphaListenerBuilder {
    /// The acceptor, by which the configuration in force is [replaced](TyphaAcceptor::replace).
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

    /// Follows a `source` as [`TyphaAcceptor::follow`] does, in place of what was to be followed before. The listener
    /// starts when it begins to listen. It ends when the listener is dropped and its last connection is gone.
    ///
    /// [`TyphaConfig::listener`](crate::config::TyphaConfig::listener) sets this to the parameters and files of the
    /// configuration; else nothing is followed.
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

    /// Calls this with every live connection whose peer would not be accepted any more. It runs within the listener's
    /// tasks, so that it must not block.
    pub fn on_lost_trust(mut self, observer: impl Fn(LostTrust) + Send + Sync + 'static) -> Self {
        self.on_lost_trust = Some(Observer(Box::new(observer)));
        self
    }

    /// Calls this with every handshake that does not lead to a connection. It runs within the listener's tasks, so that
    /// it must not block. Connections that are shed are counted only, and probes too.
    pub fn on_failed_handshake(mut self, observer: impl Fn(FailedHandshake) + Send + Sync + 'static) -> Self {
        self.on_failed_handshake = Some(Observer(Box::new(observer)));
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

    /// Everything but the tasks that end with the listener.
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
            connections.active().clone(),
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
        // Connections outlive their listener, and are reviewed by what it follows as long as they live.
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
    fn active(&self, connections: usize) {
        self.counters.active(connections);
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

//! Typha's end of the connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::error::HandshakeError;
use crate::events;
use crate::handshake::{self, Completed, DEFAULT_TIMEOUT};
use crate::reload::{ReloadOptions, Reloader, TlsConfigSource};
use crate::role::Role;
use crate::stream::{Acceptance, AuthenticatedStream, Timeouts, Wire};
use crate::tcp;
use crate::time::deadline_in;
use crate::tls_config::TlsConfig;
use crate::tls_context::{InForce, TlsContext};
use crate::verifier::PeerVerifier;

/// Typha's end: accepts Felixes whose certificate the [`PeerVerifier`] accepts. Cheap to clone; one serves any number
/// of handshakes at once. Clones share the configuration in force.
///
/// ```no_run
/// # async fn example(config: typha_tls::TlsConfig) -> std::io::Result<()> {
/// use typha_tls::TyphaAcceptor;
///
/// let acceptor = TyphaAcceptor::new(config);
/// let listener = tokio::net::TcpListener::bind("[::]:5473").await?;
/// loop {
///     let (tcp, address) = listener.accept().await?;
///     let handshake = acceptor.accept_tcp(tcp);
///     tokio::spawn(async move {
///         match handshake.await {
///             Ok(stream) => println!("{address} is {}", stream.peer()),
///             Err(error) => println!("no connection with {address}: {error}"),
///         }
///     });
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TyphaAcceptor {
    pub(crate) in_force: InForce<ServerConfig>,
    timeout: Duration,
    timeouts: Timeouts,
    keepalive: Option<Duration>,
}

impl TyphaAcceptor {
    /// An acceptor with Calico's defaults: a handshake bound of 10 s and no bound for reads but 120 s for writes.
    ///
    /// What is usable but probably not meant in the configuration (an expired leaf, a CA entry that is no CA) is logged
    /// as a warning.
    pub fn new(config: TlsConfig) -> Self {
        Self {
            in_force: InForce::new(config),
            timeout: DEFAULT_TIMEOUT,
            timeouts: Timeouts::TYPHA,
            keepalive: Some(tcp::DEFAULT_KEEPALIVE),
        }
    }

    /// Bounds the whole handshake, from the call of `accept` to its result, including the time in which a refused peer
    /// is listened to. Calico's `ServerHandshakeTimeoutSecs`.
    #[must_use]
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long a read may receive no byte; `None` for no bound. Then it fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut). The time begins with the first poll that finds no data, also of an
    /// earlier read that was cancelled. The default is `None`, since a Felix may be silent for long.
    #[must_use]
    pub fn with_read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.read = timeout;
        self
    }

    /// Sets for how long the peer may take no byte of a write, flush or shutdown; `None` for no bound. Then it fails
    /// with [`TimedOut`](io::ErrorKind::TimedOut), and so does every later one: the data that was sent is incomplete.
    /// The default is 120 s, as in Calico's `ServerWriteTimeoutSecs`.
    #[must_use]
    pub fn with_write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.write = timeout;
        self
    }

    /// Sets the keep-alive of TCP connections, which finds peers that have gone silently: the time without data before
    /// the first probe, and between probes. From 1 s to 9 h, and brought into that range if it is not. The default is
    /// 15 s, as in Go and so in Calico; `None` leaves the system's default.
    #[must_use]
    pub fn with_keepalive(mut self, keepalive: Option<Duration>) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// The configuration in force.
    pub fn config(&self) -> TlsConfig {
        self.in_force.current().config.clone()
    }

    /// The verifier that judges peers by the configuration in force.
    pub fn verifier(&self) -> Arc<PeerVerifier> {
        self.in_force.current().verifier.clone()
    }

    /// Puts another configuration in force, for all clones, and returns its generation: the first one has number 1.
    ///
    /// A handshake in progress is judged by the configuration that it started with, as a whole. Live connections of a
    /// [listener](crate::TyphaListener) or a [dialer](crate::FelixDialer) are [judged again](crate::lifetime). Verified
    /// chains are remembered only if the new configuration accepts the same peers.
    pub fn replace(&self, config: TlsConfig) -> u64 {
        config.log_warnings(Role::Typha);
        self.in_force.replace(config)
    }

    /// Follows a `source`, such as the files of the configuration: what it gives is put in force, for all clones of
    /// this acceptor. Dropping the last clone of the returned [`Reloader`] ends that at once.
    ///
    /// One acceptor is for one source: two would take turns in replacing what the other has put in force.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which must have its clock enabled.
    #[must_use = "nothing is followed once it is dropped"]
    pub fn follow(&self, source: impl TlsConfigSource + 'static, options: ReloadOptions) -> Reloader {
        Reloader::start(&self.in_force, source, options)
    }

    /// The generation in force, now and whenever it changes.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.in_force.generations()
    }

    /// Performs the handshake with one Felix over any I/O.
    ///
    /// Returns when Felix is accepted, or refused and told so by an alert. The future is bounded in time, needs a tokio
    /// runtime with its timer, and can be dropped at any point: that closes the connection and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]; [`Rejected`](HandshakeError::Rejected) says why Felix was refused.
    pub fn accept<IO>(
        &self,
        io: IO,
    ) -> impl Future<Output = Result<AuthenticatedStream<IO>, HandshakeError>> + use<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.clone().run(io, None, Ok(()), deadline_in(self.timeout))
    }

    /// Performs the handshake over a TCP connection, after setting `TCP_NODELAY` and keep-alive on it. Else as
    /// [`accept`](Self::accept); the events carry the peer's address.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn accept_tcp(
        &self,
        stream: TcpStream,
    ) -> impl Future<Output = Result<AuthenticatedStream<TcpStream>, HandshakeError>> + use<> {
        let peer_address = stream.peer_addr().ok();
        let configured = tcp::configure(&stream, self.keepalive);
        self.clone().run(stream, peer_address, configured, deadline_in(self.timeout))
    }

    /// As [`accept_tcp`](Self::accept_tcp), for a connection whose socket is set up and which has been waiting already.
    pub(crate) fn accept_prepared(
        &self,
        stream: TcpStream,
        peer_address: SocketAddr,
        deadline: Instant,
    ) -> Pin<Box<impl Future<Output = Result<AuthenticatedStream<TcpStream>, HandshakeError>> + use<>>> {
        self.clone().run(stream, Some(peer_address), Ok(()), deadline)
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn keepalive(&self) -> Option<Duration> {
        self.keepalive
    }

    /// The handshake is boxed: what it needs is given back when it ends, even if the future that awaits it lives as
    /// long as the connection.
    fn run<IO>(
        self,
        io: IO,
        peer_address: Option<SocketAddr>,
        configured: io::Result<()>,
        deadline: Instant,
    ) -> Pin<Box<impl Future<Output = Result<AuthenticatedStream<IO>, HandshakeError>>>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        // One for the whole handshake, whatever comes meanwhile.
        let context = self.in_force.current();
        Box::pin(async move {
            let handshake = async {
                configured.map_err(HandshakeError::Io)?;
                self.handshake(&context, io, deadline).await
            };
            events::observed(Role::Typha, peer_address, pin!(handshake)).await
        })
    }

    async fn handshake<IO>(
        &self,
        context: &TlsContext<ServerConfig>,
        io: IO,
        deadline: Instant,
    ) -> Result<AuthenticatedStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let accept = TlsAcceptor::from(context.rustls.clone()).accept(Wire::new(io)).into_fallible();
        let Completed { stream: tls, peer, facts, .. } =
            handshake::run(pin!(accept), &context.config.policy, self.timeout, deadline).await?;
        let (acceptance, generation) = (Acceptance::Confirmed, context.generation);
        Ok(AuthenticatedStream::new(tls, peer, facts, acceptance, generation, self.timeouts))
    }
}

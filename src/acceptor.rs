//! Typha's end of the connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::config_parts::EndConfig as _;
use crate::error::HandshakeError;
use crate::events;
use crate::handshake::{self, Completed, DEFAULT_TIMEOUT, Failed};
use crate::reload::{ReloadOptions, Reloader, TlsConfigSource};
use crate::role::Role;
use crate::stream::{Acceptance, AuthenticatedStream, SharedTcpStream, Timeouts, Wire};
use crate::tcp;
use crate::time::deadline_in;
use crate::tls_config::TlsConfig;
use crate::tls_context::{InForce, TlsContext, TyphaEnd};
use crate::verifier::PeerVerifier;

/// Typha's end of the connection: accepts each Felix whose certificate the [`PeerVerifier`] accepts. One acceptor
/// serves any number of handshakes at once. It is cheap to clone; clones share the configuration in force.
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
    pub(crate) in_force: InForce<TyphaEnd>,
    timeout: Duration,
    timeouts: Timeouts,
    keepalive: Option<Duration>,
}

impl TyphaAcceptor {
    /// An acceptor with Calico's defaults: 10 s for a handshake, 120 s for writes, and no timeout for reads.
    ///
    /// It logs a warning for each part of the configuration that is probably a mistake (an expired leaf, a CA entry
    /// that is no CA).
    pub fn new(config: TlsConfig) -> Self {
        Self {
            in_force: InForce::new(config),
            timeout: DEFAULT_TIMEOUT,
            timeouts: Timeouts::TYPHA,
            keepalive: Some(tcp::DEFAULT_KEEPALIVE),
        }
    }

    /// Sets the time limit of the whole handshake, from the call of `accept` to its result. It includes the time that a
    /// refused peer has to read the alert (at most 1 s). The default is 10 s, as in Calico's
    /// `ServerHandshakeTimeoutSecs`.
    #[must_use]
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long a read may wait for application data; `None` for no limit. A read that waits longer fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut). The time begins with the first poll that finds no data, even if that read
    /// was cancelled. Parts of a TLS record and other messages, such as session tickets, do not count. If more than 256
    /// KiB arrive without application data, a read fails with [`InvalidData`](io::ErrorKind::InvalidData), also without
    /// a timeout. The default is `None`, since a Felix may be silent for long.
    #[must_use]
    pub fn with_read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.read = timeout;
        self
    }

    /// Sets how long a write, flush or shutdown may wait for a peer that accepts no data; `None` for no limit. Then it
    /// fails with [`TimedOut`](io::ErrorKind::TimedOut). Every later one fails, too, because the data that was sent is
    /// incomplete. The default is 120 s, as in Calico's `ServerWriteTimeoutSecs`.
    #[must_use]
    pub fn with_write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.write = timeout;
        self
    }

    /// Sets the TCP keep-alive time: the time without data before the first probe, and between probes. Keep-alive
    /// detects peers that have disappeared. Values are limited to the range from 1 s to 9 h. The default is 15 s, as in
    /// Go and so in Calico; `None` keeps the system's default.
    #[must_use]
    pub fn with_keepalive(mut self, keepalive: Option<Duration>) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// The configuration in force.
    pub fn config(&self) -> TlsConfig {
        self.in_force.current().config.clone()
    }

    /// The verifier of the configuration in force.
    pub fn verifier(&self) -> Arc<PeerVerifier> {
        self.in_force.current().verifier.clone()
    }

    /// Puts another configuration in force for all clones. Returns its generation; the first configuration has
    /// generation 1.
    ///
    /// A handshake in progress keeps the configuration that it started with. A [listener](crate::TyphaListener) and a
    /// [dialer](crate::FelixDialer) [verify](crate::lifetime) the peers of their live connections again. The cache of
    /// verified chains is kept only if the new configuration accepts the same peers.
    pub fn replace(&self, config: TlsConfig) -> u64 {
        config.parts().log_warnings(Role::Typha);
        self.in_force.replace(config)
    }

    /// Follows a `source`, such as the files of the configuration: puts each new configuration in force for all clones
    /// of this acceptor. Dropping the last clone of the returned [`Reloader`] stops this at once.
    ///
    /// Use one source for one acceptor: two sources would replace each other's configurations.
    ///
    /// # Panics
    ///
    /// If it is called outside of a tokio runtime, or the runtime's clock is not enabled.
    #[must_use = "nothing is followed once it is dropped"]
    pub fn follow(&self, source: impl TlsConfigSource + 'static, options: ReloadOptions) -> Reloader {
        Reloader::start(&self.in_force, source, options)
    }

    /// A receiver of the generation in force; it is notified of each change.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.in_force.generations()
    }

    /// Performs the handshake with one Felix over any I/O.
    ///
    /// Returns when Felix is accepted, or is refused and has been sent an alert. The future ends within the handshake
    /// timeout and needs a tokio runtime with its timer. Dropping it at any point closes the connection and leaves
    /// nothing behind.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]; [`Rejected`](HandshakeError::Rejected) has the reason why we refused Felix.
    pub fn accept<IO>(
        &self,
        io: IO,
    ) -> impl Future<Output = Result<AuthenticatedStream<IO>, HandshakeError>> + use<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.clone().run_to_the_end(Wire::new(io), None, Ok(()))
    }

    /// Performs the handshake over a TCP connection, after setting `TCP_NODELAY` and keep-alive on it. The events carry
    /// the peer's address. Otherwise it works as [`accept`](Self::accept).
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
        self.clone().run_to_the_end(Wire::new(stream), peer_address, configured)
    }

    /// As [`accept_tcp`](Self::accept_tcp), for a connection whose socket options are set and that has already waited
    /// for its ClientHello. `received` are the bytes that the peer has sent meanwhile. A failure is returned before its
    /// alert has arrived.
    pub(crate) fn accept_prepared(
        &self,
        stream: SharedTcpStream,
        received: BytesMut,
        peer_address: SocketAddr,
        deadline: Instant,
    ) -> Pin<
        Box<
            impl Future<Output = Result<AuthenticatedStream<SharedTcpStream>, Failed<SharedTcpStream>>> + use<>,
        >,
    > {
        self.clone().run(Wire::with_received(stream, received), Some(peer_address), Ok(()), deadline)
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn keepalive(&self) -> Option<Duration> {
        self.keepalive
    }

    /// Ends when a refused peer has our alert.
    fn run_to_the_end<IO>(
        self,
        wire: Wire<IO>,
        peer_address: Option<SocketAddr>,
        configured: io::Result<()>,
    ) -> Pin<Box<impl Future<Output = Result<AuthenticatedStream<IO>, HandshakeError>> + use<IO>>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = deadline_in(self.timeout);
        let handshake = self.run(wire, peer_address, configured, deadline);
        Box::pin(async move { handshake::delivered(handshake.await, deadline).await })
    }

    /// The handshake is boxed: its memory is freed when it ends, even if the future that awaits it lives as long as the
    /// connection.
    fn run<IO>(
        self,
        wire: Wire<IO>,
        peer_address: Option<SocketAddr>,
        configured: io::Result<()>,
        deadline: Instant,
    ) -> Pin<Box<impl Future<Output = Result<AuthenticatedStream<IO>, Failed<IO>>> + use<IO>>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        // The whole handshake uses this context, even if it is replaced meanwhile.
        let context = self.in_force.current();
        Box::pin(async move {
            let handshake = async {
                configured.map_err(HandshakeError::Io)?;
                self.handshake(&context, wire, deadline).await
            };
            events::observed(Role::Typha, peer_address, pin!(handshake)).await
        })
    }

    async fn handshake<IO>(
        &self,
        context: &TlsContext<TyphaEnd>,
        wire: Wire<IO>,
        deadline: Instant,
    ) -> Result<AuthenticatedStream<IO>, Failed<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let accept = TlsAcceptor::from(context.rustls.clone()).accept(wire).into_fallible();
        let Completed { stream: tls, peer, facts, .. } =
            handshake::run(pin!(accept), &context.config.policy, self.timeout, deadline).await?;
        let (acceptance, generation) = (Acceptance::Confirmed, context.generation);
        Ok(AuthenticatedStream::new(tls, peer, facts, acceptance, generation, self.timeouts))
    }
}

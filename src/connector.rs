//! Felix's end of the connection.

use std::future::{Future, poll_fn};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{TlsConnector, TlsStream};
use tracing::warn;

use crate::error::{HandshakeError, HandshakePhase};
use crate::events;
use crate::handshake::{self, Completed, DEFAULT_TIMEOUT, into_wire};
use crate::reload::{ReloadOptions, Reloader, TlsConfigSource};
use crate::role::Role;
use crate::stream::{Acceptance, AuthenticatedStream, Timeouts, TlsFacts, Wire};
use crate::tcp;
use crate::time::deadline_in;
use crate::tls_config::TlsConfig;
use crate::tls_context::{InForce, TlsContext};
use crate::verifier::PeerVerifier;

/// Felix's end: connects to a Typha that the [`PeerVerifier`] accepts. Cheap to clone; clones share the configuration
/// in force.
///
/// In TLS 1.3 a client's handshake ends before the server has looked at the client's certificate. `connect` therefore
/// waits for Typha's acceptance, so that a refusal is its error and not that of some later read; see
/// [`AcceptanceMode`].
///
/// ```no_run
/// # async fn example(config: typha_tls::TlsConfig) -> Result<(), Box<dyn std::error::Error>> {
/// use typha_tls::FelixConnector;
///
/// let connector = FelixConnector::new(config);
/// let tcp = tokio::net::TcpStream::connect("typha.example:5473").await?;
/// let stream = connector.connect_tcp(tcp).await?;
/// println!("connected to {}", stream.peer());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FelixConnector {
    pub(crate) in_force: InForce<ClientConfig>,
    timeout: Duration,
    acceptance: AcceptanceMode,
    timeouts: Timeouts,
    keepalive: Option<Duration>,
    first_message: Arc<[u8]>,
}

/// Whether `connect` waits until Typha has accepted Felix's certificate.
///
/// In TLS 1.2 the handshake itself shows it. In TLS 1.3 the sign is the session ticket that servers send once they have
/// verified the client (rustls, Go and OpenSSL do by default), or application data. Waiting costs one round trip.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AcceptanceMode {
    /// Waits for the sign, but at most for this long after the handshake; then returns a stream that says that it is
    /// [`Unconfirmed`](Acceptance::Unconfirmed). The default, with 1 s: far longer than an honest round trip, and a
    /// Typha that never gives a sign is still usable.
    Auto(Duration),
    /// Does not wait. A refusal arrives with the first read.
    Off,
    /// Waits for the sign within the handshake timeout, and fails without it.
    Required,
}

impl Default for AcceptanceMode {
    fn default() -> Self {
        Self::Auto(Duration::from_secs(1))
    }
}

impl FelixConnector {
    /// A connector with Calico's defaults: a handshake bound of 10 s, 30 s for reads and 10 s for writes, and with
    /// [`AcceptanceMode::Auto`].
    ///
    /// What is usable but probably not meant in the configuration (an expired leaf, a CA entry that is no CA) is logged
    /// as a warning.
    pub fn new(config: TlsConfig) -> Self {
        Self {
            in_force: InForce::new(config),
            timeout: DEFAULT_TIMEOUT,
            acceptance: AcceptanceMode::default(),
            timeouts: Timeouts::FELIX,
            keepalive: Some(tcp::DEFAULT_KEEPALIVE),
            first_message: Arc::default(),
        }
    }

    /// Sends a message of at most 16 KiB with the last message of Felix's handshake. Felix speaks first, so that it
    /// always has something to send: Typha reads it one round trip earlier than data that is written to the stream
    /// afterwards. In TLS 1.2, where Felix has to wait for Typha's last message, it saves nothing.
    ///
    /// The message is sent when we have accepted Typha, never before; with a list of [application
    /// protocols](crate::policy::TlsPolicyBuilder::alpn), right after the handshake. If connecting fails afterwards, it
    /// is not known whether Typha has read it. A Typha that refuses us and closes without reading it may destroy its
    /// own alert on the way: the error is then [`HandshakeError::Io`].
    ///
    /// # Errors
    ///
    /// [`FirstMessageTooLong`]. The limit makes sure that the message does not have to wait for Typha to read.
    ///
    /// # Security
    ///
    /// A Typha that is about to refuse us may read the message, and a dialer may send it to several such Typhas. All of
    /// them have been authenticated.
    pub fn with_first_message(mut self, message: impl Into<Arc<[u8]>>) -> Result<Self, FirstMessageTooLong> {
        self.first_message = message.into();
        let length = self.first_message.len();
        if length > MAX_FIRST_MESSAGE { Err(FirstMessageTooLong(length)) } else { Ok(self) }
    }

    /// Bounds the whole handshake, from the call of `connect` to its result, including the wait for Typha's acceptance.
    #[must_use]
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets whether to wait for Typha's acceptance.
    #[must_use]
    pub fn with_acceptance(mut self, mode: AcceptanceMode) -> Self {
        self.acceptance = mode;
        self
    }

    /// Sets how long a read may receive no byte; `None` for no bound. Then it fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut). The time begins with the first poll that finds no data, also of an
    /// earlier read that was cancelled. The default is 30 s, as in Calico's `TyphaReadTimeout`: a Typha is never silent
    /// for so long.
    #[must_use]
    pub fn with_read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.read = timeout;
        self
    }

    /// Sets for how long the peer may take no byte of a write, flush or shutdown; `None` for no bound. Then it fails
    /// with [`TimedOut`](io::ErrorKind::TimedOut), and so does every later one: the data that was sent is incomplete.
    /// The default is 10 s, as in Calico's `TyphaWriteTimeout`.
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
        config.log_warnings(Role::Felix);
        self.in_force.replace(config)
    }

    /// Follows a `source`, such as the files of the configuration: what it gives is put in force, for all clones of
    /// this connector. Dropping the last clone of the returned [`Reloader`] ends that at once.
    ///
    /// One connector is for one source: two would take turns in replacing what the other has put in force.
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

    /// Performs the handshake with a Typha over any I/O.
    ///
    /// Returns when Typha has accepted us, or one end has refused the other. The future is bounded in time, needs a
    /// tokio runtime with its timer, and can be dropped at any point: that closes the connection and leaves nothing
    /// behind. What Typha sends meanwhile is kept for the first read.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]; [`Rejected`](HandshakeError::Rejected) says why Typha was refused,
    /// [`RefusedByPeer`](HandshakeError::RefusedByPeer) by which alert Typha refused us.
    pub fn connect<IO>(
        &self,
        io: IO,
    ) -> impl Future<Output = Result<AuthenticatedStream<IO>, HandshakeError>> + use<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.clone().run(io, None, Ok(()), deadline_in(self.timeout))
    }

    /// Performs the handshake over a TCP connection, after setting `TCP_NODELAY` and keep-alive on it. Else as
    /// [`connect`](Self::connect); the events carry the peer's address.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_tcp(
        &self,
        stream: TcpStream,
    ) -> impl Future<Output = Result<AuthenticatedStream<TcpStream>, HandshakeError>> + use<> {
        let peer_address = stream.peer_addr().ok();
        let configured = tcp::configure(&stream, self.keepalive);
        self.clone().run(stream, peer_address, configured, deadline_in(self.timeout))
    }

    /// As [`connect_tcp`](Self::connect_tcp), with the rest of a bound that has begun before: at most until `deadline`,
    /// which is where `bound` ends. The connector's own bound holds too.
    pub(crate) fn connect_tcp_until(
        &self,
        stream: TcpStream,
        bound: Duration,
        deadline: Instant,
    ) -> impl Future<Output = Result<AuthenticatedStream<TcpStream>, HandshakeError>> + Send + use<> {
        let own = deadline_in(self.timeout);
        let (timeout, deadline) = if own < deadline { (self.timeout, own) } else { (bound, deadline) };
        let peer_address = stream.peer_addr().ok();
        let configured = tcp::configure(&stream, self.keepalive);
        let connector = self.clone().with_handshake_timeout(timeout);
        connector.run(stream, peer_address, configured, deadline)
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
            events::observed(Role::Felix, peer_address, pin!(handshake)).await
        })
    }

    async fn handshake<IO>(
        &self,
        context: &TlsContext<ClientConfig>,
        io: IO,
        deadline: Instant,
    ) -> Result<AuthenticatedStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let policy = &context.config.policy;
        let mut queued = Ok(());
        let connect = TlsConnector::from(context.rustls.clone())
            .connect_with(no_name(), Wire::new(io), |tls| {
                // Else Typha has to agree on an application protocol first.
                if policy.alpn().len() == 0 {
                    queued = tls.writer().write_all(&self.first_message);
                }
            })
            .into_fallible();
        queued.map_err(HandshakeError::Io)?;
        let Completed { stream: mut tls, peer, facts, certificate_requested } =
            handshake::run(pin!(connect), policy, self.timeout, deadline).await?;
        let sent = if policy.alpn().len() == 0 { Ok(()) } else { self.send(&mut tls, deadline).await };
        let acceptance = match sent {
            Ok(()) if certificate_requested => self.await_acceptance(&mut tls, &facts, deadline).await,
            Ok(()) => {
                warn!("Typha did not ask for our certificate: it lets anyone in");
                Ok(Acceptance::NotAsked)
            }
            Err(error) => Err(error),
        };
        match acceptance {
            Ok(acceptance) => {
                let generation = context.generation;
                Ok(AuthenticatedStream::new(tls, peer, facts, acceptance, generation, self.timeouts))
            }
            Err(error) => {
                handshake::tell(&error, into_wire(*tls), deadline).await;
                Err(error)
            }
        }
    }

    /// Sends the first message after the handshake, in time.
    async fn send<IO>(&self, tls: &mut TlsStream<Wire<IO>>, deadline: Instant) -> Result<(), HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let phase = HandshakePhase::AwaitingAcceptance;
        let sent = async {
            tls.write_all(&self.first_message).await?;
            tls.flush().await
        };
        match timeout_at(deadline, sent).await {
            Ok(sent) => sent.map_err(|error| handshake::failure(error, phase)),
            Err(_) => Err(HandshakeError::TimedOut { phase, after: self.timeout }),
        }
    }

    async fn await_acceptance<IO>(
        &self,
        tls: &mut TlsStream<Wire<IO>>,
        facts: &TlsFacts,
        deadline: Instant,
    ) -> Result<Acceptance, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        // A TLS 1.2 server finishes after it has verified the client.
        if facts.is_tls12() {
            return Ok(Acceptance::Confirmed);
        }
        let until = match self.acceptance {
            AcceptanceMode::Auto(at_most) => deadline.min(deadline_in(at_most)),
            AcceptanceMode::Off => return Ok(Acceptance::Unconfirmed),
            AcceptanceMode::Required => deadline,
        };
        let phase = HandshakePhase::AwaitingAcceptance;
        match timeout_at(until, poll_fn(|cx| poll_sign(tls, cx))).await {
            Ok(Ok(true)) => Ok(Acceptance::Confirmed),
            Ok(Ok(false)) => Err(HandshakeError::Closed { phase }),
            Ok(Err(error)) => Err(handshake::failure(error, phase)),
            Err(_) if self.acceptance == AcceptanceMode::Required => {
                Err(HandshakeError::TimedOut { phase, after: self.timeout })
            }
            Err(_) => Ok(Acceptance::Unconfirmed),
        }
    }
}

/// The longest first message, in bytes: one TLS record. More might not fit into the buffers between the ends, and then
/// wait for a Typha that waits for us to read.
const MAX_FIRST_MESSAGE: usize = 16 * 1024;

/// A first message is longer than the 16 KiB that can be sent with the handshake.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("the first message has {0} bytes; at most {MAX_FIRST_MESSAGE} can be sent with the handshake")]
pub struct FirstMessageTooLong(usize);

/// Typha's name is neither checked nor sent: an IP address gives no server name indication.
fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into())
}

/// Ready with `true` when Typha has shown that it accepts us, with `false` when it has closed the connection instead.
/// Application data that arrives is looked at but left in place.
fn poll_sign<IO>(tls: &mut TlsStream<Wire<IO>>, cx: &mut Context<'_>) -> Poll<io::Result<bool>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    if has_ticket(tls) {
        return Poll::Ready(Ok(true));
    }
    let outcome = Pin::new(&mut *tls).poll_fill_buf(cx).map_ok(|data| !data.is_empty());
    // The ticket may have come with whatever else happened.
    if has_ticket(tls) {
        return Poll::Ready(Ok(true));
    }
    Poll::Ready(ready!(outcome))
}

fn has_ticket<IO>(tls: &TlsStream<Wire<IO>>) -> bool {
    matches!(tls, TlsStream::Client(tls) if tls.get_ref().1.tls13_tickets_received() > 0)
}

//! The client's part of a handshake that both connectors share.

use std::future::{Future, poll_fn};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{TlsConnector, TlsStream};
use tracing::warn;

use crate::config_parts::EndConfig as _;
use crate::error::{HandshakeError, HandshakePhase};
use crate::events;
use crate::handshake::{self, Completed, DEFAULT_TIMEOUT, Failed, into_wire};
use crate::role::Role;
use crate::stream::{Acceptance, AuthenticatedStream, SharedTcpStream, Timeouts, TlsFacts, Wire};
use crate::tcp;
use crate::time::deadline_in;
use crate::tls_context::{End, TlsContext};

/// How a client performs its handshakes, and the limits of its streams.
#[derive(Clone, Debug)]
pub(crate) struct ClientHandshake {
    pub(crate) timeout: Duration,
    pub(crate) acceptance: AcceptanceMode,
    pub(crate) timeouts: Timeouts,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) first_message: Arc<[u8]>,
}

/// Whether `connect` waits until the server has accepted our certificate.
///
/// In TLS 1.2, the complete handshake is the sign of acceptance. In TLS 1.3, the sign is a session ticket or
/// application data. Servers send the ticket after they have verified the client (rustls, Go and OpenSSL do so by
/// default). Waiting costs one round trip.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AcceptanceMode {
    /// Waits for the sign, at most for this long after the handshake. Without the sign, the stream is
    /// [`Unconfirmed`](Acceptance::Unconfirmed): a server that never gives a sign is still usable. This is the default,
    /// with 1 s, which is far longer than a usual round trip.
    Auto(Duration),
    /// Waits for application data, at most for this long after the handshake. Without it, the stream is
    /// [`Unconfirmed`](Acceptance::Unconfirmed). A session ticket does not count.
    ///
    /// It is for servers that speak first, as most HTTP/2 servers do, and that check more than TLS does after the
    /// handshake. For example, etcd sends a ticket, and then closes the connection of a client whose certificate is on
    /// its revocation list.
    FirstData(Duration),
    /// Does not wait. If the server refuses us, the first read fails.
    Off,
    /// Waits for the sign within the handshake timeout, and fails without it.
    Required,
}

impl Default for AcceptanceMode {
    fn default() -> Self {
        Self::Auto(Duration::from_secs(1))
    }
}

impl ClientHandshake {
    pub(crate) fn new(timeouts: Timeouts) -> Self {
        Self {
            timeout: DEFAULT_TIMEOUT,
            acceptance: AcceptanceMode::default(),
            timeouts,
            keepalive: Some(tcp::DEFAULT_KEEPALIVE),
            first_message: Arc::default(),
        }
    }

    /// Runs the handshake inside its span, and emits its event. It is boxed: its memory is freed when it ends, even if
    /// the future that awaits it lives as long as the connection. The whole handshake uses this context, even if it is
    /// replaced meanwhile.
    pub(crate) fn run<E, IO>(
        self,
        context: Arc<TlsContext<E>>,
        name: ServerName<'static>,
        io: IO,
        peer_address: Option<SocketAddr>,
        configured: io::Result<()>,
        deadline: Instant,
    ) -> Pin<Box<impl Future<Output = Result<AuthenticatedStream<IO>, HandshakeError>> + use<E, IO>>>
    where
        E: End<Rustls = ClientConfig>,
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Box::pin(async move {
            let handshake = async {
                configured.map_err(HandshakeError::Io)?;
                self.perform(&context, name, io, deadline).await
            };
            let outcome = events::observed(E::LOCAL, peer_address, pin!(handshake)).await;
            handshake::delivered(outcome, deadline).await
        })
    }

    /// As [`run`](Self::run), after setting the options of the TCP connection.
    pub(crate) fn run_over_tcp<E: End<Rustls = ClientConfig>>(
        self,
        context: Arc<TlsContext<E>>,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> impl Future<Output = Result<AuthenticatedStream<TcpStream>, HandshakeError>> + use<E> {
        let peer_address = stream.peer_addr().ok();
        let configured = tcp::configure(&stream, self.keepalive);
        let deadline = deadline_in(self.timeout);
        self.run(context, name, stream, peer_address, configured, deadline)
    }

    /// As [`run_over_tcp`](Self::run_over_tcp), but it ends at `deadline` at the latest. `bound` is the time limit that
    /// began earlier and ends at `deadline`. Our own timeout applies, too.
    pub(crate) fn run_until<E: End<Rustls = ClientConfig>>(
        mut self,
        context: Arc<TlsContext<E>>,
        name: ServerName<'static>,
        stream: TcpStream,
        bound: Duration,
        mut deadline: Instant,
    ) -> impl Future<Output = Result<AuthenticatedStream<SharedTcpStream>, HandshakeError>> + Send + use<E>
    {
        let own = deadline_in(self.timeout);
        if own < deadline {
            deadline = own;
        } else {
            self.timeout = bound;
        }
        let peer_address = stream.peer_addr().ok();
        let configured = tcp::configure(&stream, self.keepalive);
        self.run(context, name, SharedTcpStream::new(stream), peer_address, configured, deadline)
    }

    /// Performs the handshake with the server `name`. rustls sends the name if it is a DNS name and the configuration
    /// says so, and passes it to the verifier.
    async fn perform<E, IO>(
        &self,
        context: &TlsContext<E>,
        name: ServerName<'static>,
        io: IO,
        deadline: Instant,
    ) -> Result<AuthenticatedStream<IO>, Failed<IO>>
    where
        E: End<Rustls = ClientConfig>,
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let parts = context.config.parts();
        let policy = parts.policy;
        let mut queued = Ok(());
        let connect = TlsConnector::from(context.rustls.clone())
            .connect_with(name, Wire::new(io), |tls| {
                // With ALPN, the message has to wait until the server has chosen an application protocol.
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
                if E::LOCAL == Role::Felix {
                    warn!("Typha did not request our certificate: it accepts any client");
                }
                Ok(Acceptance::NotAsked)
            }
            Err(error) => Err(error),
        };
        match acceptance {
            Ok(acceptance) => {
                let generation = context.generation;
                Ok(AuthenticatedStream::new(tls, peer, facts, acceptance, generation, self.timeouts))
            }
            Err(error) => Err(Failed::new(error, into_wire(*tls))),
        }
    }

    /// Sends the first message after the handshake, before `deadline`.
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
        let needs_data = matches!(self.acceptance, AcceptanceMode::FirstData(_));
        // A TLS 1.2 server finishes after it has verified the client.
        if facts.is_tls12() && !needs_data {
            return Ok(Acceptance::Confirmed);
        }
        let until = match self.acceptance {
            AcceptanceMode::Auto(at_most) | AcceptanceMode::FirstData(at_most) => {
                deadline.min(deadline_in(at_most))
            }
            AcceptanceMode::Off => return Ok(Acceptance::Unconfirmed),
            AcceptanceMode::Required => deadline,
        };
        let phase = HandshakePhase::AwaitingAcceptance;
        match timeout_at(until, poll_fn(|cx| poll_sign(tls, needs_data, cx))).await {
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

/// Ready with `true` when the server has shown that it accepts us, and with `false` when it has closed the connection
/// instead. Application data is not consumed.
fn poll_sign<IO>(
    tls: &mut TlsStream<Wire<IO>>,
    needs_data: bool,
    cx: &mut Context<'_>,
) -> Poll<io::Result<bool>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    if !needs_data && has_ticket(tls) {
        return Poll::Ready(Ok(true));
    }
    let outcome = Pin::new(&mut *tls).poll_fill_buf(cx).map_ok(|data| !data.is_empty());
    // The ticket may have arrived with the same read.
    if !needs_data && has_ticket(tls) {
        return Poll::Ready(Ok(true));
    }
    Poll::Ready(ready!(outcome))
}

fn has_ticket<IO>(tls: &TlsStream<Wire<IO>>) -> bool {
    matches!(tls, TlsStream::Client(tls) if tls.get_ref().1.tls13_tickets_received() > 0)
}

//! Felix's end of the connection.

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::{AcceptanceMode, ClientHandshake};
use crate::config_parts::EndConfig as _;
use crate::error::HandshakeError;
use crate::reload::{ReloadOptions, Reloader, TlsConfigSource};
use crate::role::Role;
use crate::stream::{AuthenticatedStream, SharedTcpStream, Timeouts};
use crate::time::deadline_in;
use crate::tls_config::TlsConfig;
use crate::tls_context::{FelixEnd, InForce};
use crate::verifier::PeerVerifier;

/// Felix's end of the connection: connects to a Typha that the [`PeerVerifier`] accepts. It is cheap to clone; clones
/// share the configuration in force.
///
/// In TLS 1.3, the client's handshake ends before the server has verified the client's certificate. `connect` therefore
/// waits for Typha's acceptance, and returns a refusal as its own error. Without waiting, a later read would fail; see
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
    pub(crate) in_force: InForce<FelixEnd>,
    client: ClientHandshake,
}

impl FelixConnector {
    /// A connector with Calico's defaults: 10 s for a handshake, 30 s for reads and 10 s for writes. It uses
    /// [`AcceptanceMode::Auto`].
    ///
    /// It logs a warning for each part of the configuration that is probably a mistake (an expired leaf, a CA entry
    /// that is no CA).
    pub fn new(config: TlsConfig) -> Self {
        Self { in_force: InForce::new(config), client: ClientHandshake::new(Timeouts::FELIX) }
    }

    /// Sets a message of at most 16 KiB that is sent with the last message of Felix's handshake. In Calico's protocol,
    /// Felix sends the first message. Typha reads this one a round trip earlier than data that is written to the stream
    /// afterwards. In TLS 1.2 it saves nothing, because Felix has to wait for Typha's last message.
    ///
    /// The connector sends the message after it has accepted Typha, never before. With a list of [application
    /// protocols](crate::policy::TlsPolicyBuilder::alpn), it sends the message right after the handshake. If connecting
    /// fails afterwards, Typha may or may not have read the message. If Typha refuses us and closes without reading it,
    /// Typha's alert may be lost: the error is then [`HandshakeError::Io`].
    ///
    /// # Errors
    ///
    /// [`FirstMessageTooLong`] if it is longer than 16 KiB. With this limit, sending never waits until Typha reads.
    ///
    /// # Security
    ///
    /// A Typha that will refuse us may read the message. A dialer may send it to several such Typhas. All of them are
    /// authenticated.
    pub fn with_first_message(mut self, message: impl Into<Arc<[u8]>>) -> Result<Self, FirstMessageTooLong> {
        self.client.first_message = message.into();
        let length = self.client.first_message.len();
        if length > MAX_FIRST_MESSAGE { Err(FirstMessageTooLong(length)) } else { Ok(self) }
    }

    /// Sets the time limit of the whole handshake, from the call of `connect` to its result. It includes the wait for
    /// Typha's acceptance. The default is 10 s.
    #[must_use]
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.client.timeout = timeout;
        self
    }

    /// Sets whether `connect` waits for Typha's acceptance. The default is [`AcceptanceMode::Auto`] with 1 s.
    #[must_use]
    pub fn with_acceptance(mut self, mode: AcceptanceMode) -> Self {
        self.client.acceptance = mode;
        self
    }

    /// Sets how long a read may wait for application data; `None` for no limit. A read that waits longer fails with
    /// [`TimedOut`](std::io::ErrorKind::TimedOut). The time begins with the first poll that finds no data, even if
    /// that read was cancelled. Parts of a TLS record and other messages, such as session tickets, do not count. If
    /// more than 256 KiB arrive without application data, a read fails with
    /// [`InvalidData`](std::io::ErrorKind::InvalidData), also without a timeout. The default is 30 s, as in Calico's
    /// `TyphaReadTimeout`: Calico's Typha is never silent for so long. A protocol of your own that can be silent
    /// needs a longer time or `None`.
    #[must_use]
    pub fn with_read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.client.timeouts.read = timeout;
        self
    }

    /// Sets how long a write, flush or shutdown may wait for a peer that accepts no data; `None` for no limit. Then it
    /// fails with [`TimedOut`](std::io::ErrorKind::TimedOut). Every later one fails, too, because the data that was
    /// sent is incomplete. The default is 10 s, as in Calico's `TyphaWriteTimeout`.
    #[must_use]
    pub fn with_write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.client.timeouts.write = timeout;
        self
    }

    /// Sets the TCP keep-alive time: the time without data before the first probe, and between probes. Keep-alive
    /// detects peers that have disappeared. Values are limited to the range from 1 s to 9 h. The default is 15 s, as in
    /// Go and so in Calico; `None` keeps the system's default.
    #[must_use]
    pub fn with_keepalive(mut self, keepalive: Option<Duration>) -> Self {
        self.client.keepalive = keepalive;
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
        config.parts().log_warnings(Role::Felix);
        self.in_force.replace(config)
    }

    /// Follows a `source`, such as the files of the configuration: puts each new configuration in force for all clones
    /// of this connector. Dropping the last clone of the returned [`Reloader`] stops this at once.
    ///
    /// Use one source for one connector: two sources would replace each other's configurations.
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

    /// Performs the handshake with a Typha over any I/O.
    ///
    /// Returns when Typha has accepted us, or one end has refused the other. The future ends within the handshake
    /// timeout and needs a tokio runtime with its timer. Dropping it at any point closes the connection and leaves
    /// nothing behind. Data that Typha sends meanwhile is kept for the first read.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]. [`Rejected`](HandshakeError::Rejected) has the reason why we refused Typha;
    /// [`RefusedByPeer`](HandshakeError::RefusedByPeer) has the alert by which Typha refused us.
    pub fn connect<IO>(
        &self,
        io: IO,
    ) -> impl Future<Output = Result<AuthenticatedStream<IO>, HandshakeError>> + use<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = deadline_in(self.client.timeout);
        self.client.clone().run(self.in_force.current(), no_name(), io, None, Ok(()), deadline)
    }

    /// Performs the handshake over a TCP connection, after setting `TCP_NODELAY` and keep-alive on it. The events carry
    /// the peer's address. Otherwise it works as [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_tcp(
        &self,
        stream: TcpStream,
    ) -> impl Future<Output = Result<AuthenticatedStream<TcpStream>, HandshakeError>> + use<> {
        self.client.clone().run_over_tcp(self.in_force.current(), no_name(), stream)
    }

    /// As [`connect_tcp`](Self::connect_tcp), for a dialer. It ends at `deadline` at the latest. `bound` is the time
    /// limit that began earlier and ends at `deadline`. The connector's own timeout applies, too.
    pub(crate) fn connect_tcp_until(
        &self,
        stream: TcpStream,
        bound: Duration,
        deadline: Instant,
    ) -> impl Future<Output = Result<AuthenticatedStream<SharedTcpStream>, HandshakeError>> + Send + use<>
    {
        self.client.clone().run_until(self.in_force.current(), no_name(), stream, bound, deadline)
    }
}

/// The longest first message, in bytes: one TLS record. A longer one might not fit into the socket buffers, and would
/// wait for a Typha that waits for us to read.
const MAX_FIRST_MESSAGE: usize = 16 * 1024;

/// A first message is longer than the 16 KiB that can be sent with the handshake.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("the first message has {0} bytes; at most {MAX_FIRST_MESSAGE} can be sent with the handshake")]
pub struct FirstMessageTooLong(usize);

/// Typha's name is neither checked nor sent: rustls sends no server name indication for an IP address.
fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into())
}

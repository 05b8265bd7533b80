//! The client's end of a connection to a server that is verified for its host.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::dial::HostDial;
use super::error::HostDialError;
use crate::client::{AcceptanceMode, ClientHandshake};
use crate::config_parts::EndConfig as _;
use crate::connection::Connection;
use crate::error::HandshakeError;
use crate::host_config::HostTlsConfig;
use crate::identity::ServerHost;
use crate::lifetime::ConnectionLifetime;
use crate::reload::{ReloadOptions, Reloader, TlsConfigSource};
use crate::role::Role;
use crate::stream::{AuthenticatedStream, Timeouts};
use crate::time::deadline_in;
use crate::tls_context::{HostEnd, InForce};
use crate::verifier::HostVerifier;

/// Connects to servers that the [`HostVerifier`] accepts for the host that was dialled. It is cheap to clone; clones
/// share the configuration in force.
///
/// If the server requests a certificate, the connector waits until the server has accepted us, as
/// [`FelixConnector`](crate::FelixConnector) does. No session is resumed: a resumed session would not be verified.
#[derive(Clone, Debug)]
pub struct HostConnector {
    in_force: InForce<HostEnd>,
    client: ClientHandshake,
    lifetime: ConnectionLifetime,
    dial_timeout: Duration,
}

/// The dial timeout of Calico's client of etcd.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

impl HostConnector {
    /// A connector with [`AcceptanceMode::Auto`]. A [`dial`](Self::dial) may take 10 s, from the resolution of the name
    /// to the end of the handshake, and a write 10 s. Reads have no timeout.
    ///
    /// It logs a warning for each part of the configuration that is probably a mistake.
    pub fn new(config: HostTlsConfig) -> Self {
        let timeouts = Timeouts { read: None, ..Timeouts::FELIX };
        Self {
            in_force: InForce::new(config),
            client: ClientHandshake::new(timeouts),
            lifetime: ConnectionLifetime::default(),
            dial_timeout: DIAL_TIMEOUT,
        }
    }

    /// Sets the time limit of [`dial`](Self::dial): for finding the addresses, all attempts and the handshake. The
    /// default is 10 s, as in Calico's client of etcd.
    #[must_use]
    pub fn with_dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial_timeout = timeout;
        self
    }

    /// Sets the time limit of a handshake, from the call of `connect` to its result. The default is 10 s.
    #[must_use]
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.client.timeout = timeout;
        self
    }

    /// Sets whether a connection waits until the server has accepted us. The default is [`AcceptanceMode::Auto`] with 1
    /// s.
    #[must_use]
    pub fn with_acceptance(mut self, mode: AcceptanceMode) -> Self {
        self.client.acceptance = mode;
        self
    }

    /// Sets how long a read may wait for application data. The default is `None`, no limit, because a server may be
    /// silent for long. See [`FelixConnector::with_read_timeout`](crate::FelixConnector::with_read_timeout).
    #[must_use]
    pub fn with_read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.client.timeouts.read = timeout;
        self
    }

    /// Sets how long a write, flush or shutdown may wait for a server that accepts no data; `None` for no limit. The
    /// default is 10 s.
    #[must_use]
    pub fn with_write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.client.timeouts.write = timeout;
        self
    }

    /// Sets the TCP keep-alive time; see [`FelixConnector::with_keepalive`](crate::FelixConnector::with_keepalive). The
    /// default is 15 s.
    #[must_use]
    pub fn with_keepalive(mut self, keepalive: Option<Duration>) -> Self {
        self.client.keepalive = keepalive;
        self
    }

    /// Sets what happens to a connection of [`dial`](Self::dial) whose server is no longer trusted, and its maximum
    /// age.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: ConnectionLifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The configuration in force.
    pub fn config(&self) -> HostTlsConfig {
        self.in_force.current().config.clone()
    }

    /// The verifier of the configuration in force.
    pub fn verifier(&self) -> Arc<HostVerifier> {
        self.in_force.current().verifier.clone()
    }

    /// Puts another configuration in force for all clones. Returns its generation; the first configuration has
    /// generation 1.
    ///
    /// A handshake in progress keeps the configuration that it started with. The servers of live connections of
    /// [`dial`](Self::dial) are [verified](crate::lifetime) again.
    pub fn replace(&self, config: HostTlsConfig) -> u64 {
        config.parts().log_warnings(Role::Client);
        self.in_force.replace(config)
    }

    /// Follows a `source`, such as the files of the configuration: puts each new configuration in force for all clones
    /// of this connector. Dropping the last clone of the returned [`Reloader`] stops this at once.
    ///
    /// # Panics
    ///
    /// If it is called outside of a tokio runtime, or the runtime's clock is not enabled.
    #[must_use = "nothing is followed once it is dropped"]
    pub fn follow(
        &self,
        source: impl TlsConfigSource<HostTlsConfig> + 'static,
        options: ReloadOptions,
    ) -> Reloader {
        Reloader::start(&self.in_force, source, options)
    }

    /// A receiver of the generation in force; it is notified of each change.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.in_force.generations()
    }

    /// Performs the handshake with the server `host` over any I/O. A DNS name is sent to the server (server name
    /// indication).
    ///
    /// Returns when the server has accepted us, or one end has refused the other. The future ends within the handshake
    /// timeout and needs a tokio runtime with its timer. Dropping it at any point closes the connection and leaves
    /// nothing behind.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]. [`Rejected`](HandshakeError::Rejected) has the reason why we refused the server;
    /// [`RefusedByPeer`](HandshakeError::RefusedByPeer) has the alert by which the server refused us.
    pub fn connect<IO>(
        &self,
        host: &ServerHost,
        io: IO,
    ) -> impl Future<Output = Result<AuthenticatedStream<IO>, HandshakeError>> + use<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (context, name) = (self.in_force.current(), host.server_name().clone());
        let deadline = deadline_in(self.client.timeout);
        self.client.clone().run(context, name, io, None, Ok(()), deadline)
    }

    /// Performs the handshake over a TCP connection, after setting `TCP_NODELAY` and keep-alive on it. The events carry
    /// the server's address. Otherwise it works as [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_tcp(
        &self,
        host: &ServerHost,
        stream: TcpStream,
    ) -> impl Future<Output = Result<AuthenticatedStream<TcpStream>, HandshakeError>> + use<> {
        self.client.clone().run_over_tcp(self.in_force.current(), host.server_name().clone(), stream)
    }

    /// Connects to `host`: finds its addresses, and tries each once until the server at one of them is accepted and
    /// accepts us. If a TCP connection takes longer than 250 ms, the next address is dialled beside it (RFC 8305).
    /// There is one handshake at a time. A server that accepts the TCP connection and stays silent has an equal share
    /// of the time that is left. Then the next address is tried.
    ///
    /// The server of the connection is [verified again](crate::lifetime) when the configuration changes or a
    /// certificate expires. If it is not trusted any more, the connection is closed as
    /// [`with_lifetime`](Self::with_lifetime) says.
    ///
    /// The future ends within the [dial timeout](Self::with_dial_timeout). It needs a tokio runtime with timer and I/O.
    /// It can be dropped at any point, which closes every connection that it has started.
    ///
    /// # Errors
    ///
    /// [`HostDialError`], with every attempt.
    pub fn dial(
        &self,
        host: &ServerHost,
        port: u16,
    ) -> impl Future<Output = Result<Connection, HostDialError>> + Send + use<> {
        self.dial_as(host, port, host)
    }

    /// Connects to `address` as [`dial`](Self::dial) does, but verifies the server for another `host`. It is for
    /// servers behind a tunnel or a load balancer, and for the `tls-server-name` of a kubeconfig.
    ///
    /// # Errors
    ///
    /// As [`dial`](Self::dial).
    ///
    /// # Security
    ///
    /// Any server whose certificate is valid for `host` is accepted, whatever its address.
    pub fn dial_as(
        &self,
        address: &ServerHost,
        port: u16,
        host: &ServerHost,
    ) -> impl Future<Output = Result<Connection, HostDialError>> + Send + use<> {
        let dial = HostDial {
            in_force: self.in_force.clone(),
            client: self.client.clone(),
            lifetime: self.lifetime.clone(),
            address: address.clone(),
            port,
            host: host.clone(),
            bound: self.dial_timeout,
        };
        // Boxed, so that its memory is freed when it ends.
        Box::pin(dial.run())
    }
}

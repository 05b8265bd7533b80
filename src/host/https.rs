//! A connector for hyper, tonic, and every client that is built on them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection as HyperConnection};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tower_service::Service;

use super::connector::HostConnector;
use super::error::HostDialError;
use crate::connection::Connection;
use crate::identity::{InvalidHost, ServerHost};
use crate::reload::Reloader;
use crate::text::Quoted;

/// Connects to the host of an `https` URI by a [`HostConnector`], as a `tower` service. It needs the feature `hyper`.
///
/// Any client that is built on hyper 1 or tonic can use it. Its error is an [`HttpsError`], which such clients return
/// as the source of their own error.
///
/// ```no_run
/// # #[cfg(feature = "hyper")]
/// # fn example(connector: typha_tls::HostConnector) {
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use typha_tls::host::HttpsConnector;
///
/// let https = HttpsConnector::new(connector);
/// let client: Client<_, String> = Client::builder(TokioExecutor::new()).build(https);
/// # }
/// ```
///
/// # Security
///
/// A URI with another scheme than `https` is an error: nothing is sent in the clear.
#[derive(Clone, Debug)]
pub struct HttpsConnector {
    connector: HostConnector,
    server_name: Option<ServerHost>,
    _reloader: Option<Reloader>,
}

/// Why a URI can not be connected to.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum HttpsError {
    /// No server could be connected to. Label: that of the [`HostDialError`].
    #[error(transparent)]
    Dial(#[from] HostDialError),
    /// The URI has no host that a certificate could be valid for. Label: `invalid_host`.
    #[error(transparent)]
    Host(#[from] InvalidHost),
    /// The scheme is not `https`, so that everything would be sent in the clear. Label: `not_https`.
    #[error("the URI {} does not begin with https://, and nothing is sent in the clear; write https://HOST:PORT", Quoted(.0))]
    NotHttps(String),
    /// The URI has a port that is no TCP port, such as `:99999` or `:0`. Label: `invalid_port`.
    #[error(
        "the URI {} has a port that is no TCP port; write a port from 1 to 65535, or none for port 443",
        Quoted(.0)
    )]
    Port(String),
}

impl HttpsError {
    /// A stable label for logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Dial(error) => error.label(),
            Self::Host(_) => "invalid_host",
            Self::NotHttps(_) => "not_https",
            Self::Port(_) => "invalid_port",
        }
    }
}

impl HttpsConnector {
    /// A connector that uses `connector`. HTTP/2 is used if the policy has the application protocol `h2` and the server
    /// agrees on it; otherwise HTTP/1.1.
    pub fn new(connector: HostConnector) -> Self {
        Self { connector, server_name: None, _reloader: None }
    }

    /// Verifies every server for this host instead of the host of the URI, as the `tls-server-name` of a kubeconfig
    /// demands. The addresses are still those of the URI.
    ///
    /// # Security
    ///
    /// See [`HostConnector::dial_as`].
    #[must_use]
    pub fn with_server_name(mut self, server_name: ServerHost) -> Self {
        self.server_name = Some(server_name);
        self
    }

    /// Keeps a reloader as long as this connector and its clones exist, so that they follow the configuration. Get it
    /// from [`HostConnector::follow`].
    #[must_use]
    pub fn with_reloader(mut self, reloader: Reloader) -> Self {
        self._reloader = Some(reloader);
        self
    }

    /// The host and the port that a request for `uri` connects to, so that a program can check a configured URI at its
    /// start. The default port is 443. Users, paths and queries are ignored.
    ///
    /// # Errors
    ///
    /// [`Host`](HttpsError::Host), [`NotHttps`](HttpsError::NotHttps) and [`Port`](HttpsError::Port). They show the
    /// scheme and the host only, because the rest may have a secret.
    pub fn target(uri: &Uri) -> Result<(ServerHost, u16), HttpsError> {
        let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
        let shown = || format!("{scheme}://{host}");
        if scheme != "https" {
            return Err(HttpsError::NotHttps(shown()));
        }
        // `Uri::port_u16` does not tell an unusable port from none.
        let address = uri.authority().and_then(|authority| authority.as_str().rsplit('@').next());
        let port = match address.and_then(|address| address.strip_prefix(host)) {
            None | Some("" | ":") => 443,
            Some(port) => port
                .strip_prefix(':')
                .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0)
                .ok_or_else(|| HttpsError::Port(shown()))?,
        };
        Ok((ServerHost::new(host)?, port))
    }

    /// The connector that it uses.
    pub fn connector(&self) -> &HostConnector {
        &self.connector
    }
}

impl Service<Uri> for HttpsConnector {
    type Response = HttpsConnection;
    type Error = HttpsError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpsConnection, HttpsError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpsError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let (address, port) = Self::target(&uri)?;
            let host = this.server_name.as_ref().unwrap_or(&address);
            Ok(HttpsConnection(TokioIo::new(this.connector.dial_as(&address, port, host).await?)))
        })
    }
}

/// A [`Connection`] with the traits of hyper.
#[derive(Debug)]
pub struct HttpsConnection(TokioIo<Connection>);

impl HttpsConnection {
    /// The connection.
    pub fn get_ref(&self) -> &Connection {
        self.0.inner()
    }
}

impl From<Connection> for HttpsConnection {
    fn from(connection: Connection) -> Self {
        Self(TokioIo::new(connection))
    }
}

/// Lets a client of hyper use HTTP/2 if both ends have agreed on it.
impl HyperConnection for HttpsConnection {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.get_ref().tls().alpn() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl Read for HttpsConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl Write for HttpsConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

//! The connection that a listener or a dialer returns.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::lifetime::{CloseReason, ConnectionLifetime, Connections, Entry, TrustState, review};
use crate::role::Role;
use crate::stream::{AuthenticatedStream, SharedTcpStream};
use crate::tls_context::{End, InForce};
use crate::verifier::Rejection;

/// A connection of a [`TyphaListener`](crate::TyphaListener), a [`FelixDialer`](crate::FelixDialer) or a
/// [`HostConnector`](crate::HostConnector::dial). It has the methods of its [`AuthenticatedStream`], such as
/// [`peer`](AuthenticatedStream::peer) and [`tls`](AuthenticatedStream::tls).
///
/// The listener or the dialer may ask the owner to close it: when the peer is [no longer trusted](crate::lifetime), or
/// when the listener [rebalances](crate::listener::ListenerHandle::rebalance) or [shuts
/// down](crate::listener::ListenerHandle::shutdown). It then cancels [`close_requested`](Self::close_requested). The
/// owner has the [`drop_grace`](crate::listener::ListenerLimits::drop_grace) of the listener, or 1 s with a dialer or
/// a `HostConnector`, to finish its message and to [`close`](Self::close). After that the connection is force-closed:
/// reading and writing fail with [`io::ErrorKind::ConnectionAborted`]. The next read or write, or one in progress,
/// sends `close_notify` to the peer, unless a write was cut off. An owner that only reads and writes therefore needs
/// no extra code. The socket is shut down 250 ms after the force-close, even if the owner never uses the connection
/// again. From then on, the connection does not count as one in service.
pub struct Connection {
    stream: AuthenticatedStream<SharedTcpStream>,
    entry: Arc<Entry>,
    connections: Arc<Connections>,
}

/// How long the connection of a client still works after its owner was asked to close it: 1 s, as on Typha's end.
pub(crate) const CLIENT_GRACE: Duration = Duration::from_secs(1);

impl Connection {
    pub(crate) fn new(
        stream: AuthenticatedStream<SharedTcpStream>,
        peer_address: SocketAddr,
        connections: Arc<Connections>,
    ) -> Self {
        let trust = TrustState::new(stream.peer().clone(), stream.peer_certificates(), stream.generation());
        let entry = connections.add(peer_address, trust, stream.get_ref().shutdown_handle());
        Self { stream, entry, connections }
    }

    /// The connection of a client. Until it has ended, its server is judged again and `kept` is kept, even when
    /// whatever has made the connection is gone.
    pub(crate) fn of_client<E: End>(
        stream: AuthenticatedStream<SharedTcpStream>,
        peer_address: SocketAddr,
        in_force: InForce<E>,
        lifetime: ConnectionLifetime,
        kept: impl Send + 'static,
    ) -> Self {
        let connections = Connections::new(in_force.generations(), lifetime, CLIENT_GRACE, Box::new(()));
        let connections = Arc::new(connections);
        let connection = Self::new(stream, peer_address, connections.clone());
        let over = connections.clone();
        let over = async move {
            over.emptied().await;
            drop(kept);
        };
        tokio::spawn(review(in_force, connections, over));
        connection
    }

    /// The peer's address.
    pub fn peer_address(&self) -> SocketAddr {
        self.entry.peer_address
    }

    /// A token that the listener or the dialer cancels when it requests the close of this connection.
    pub fn close_requested(&self) -> &CancellationToken {
        self.entry.close_requested()
    }

    /// The reason why the listener or the dialer requested the close, if it did.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.entry.close_reason()
    }

    /// The reason why the peer would no longer be accepted; `None` if it still would be. It is set even if the
    /// connection will not be [closed](crate::lifetime::ConnectionLifetime) for it.
    pub fn lost_trust(&self) -> Option<Rejection> {
        self.entry.trust.loss().map(|loss| *loss.rejection)
    }

    /// Closes the connection in order; see [`AuthenticatedStream::close`]. It works after a force close, too.
    ///
    /// # Errors
    ///
    /// As [`AuthenticatedStream::close`].
    pub async fn close(mut self) -> io::Result<()> {
        self.stream.finish().await
    }

    /// Lets the connection end by a TCP reset if it is dropped before
    /// [`shutdown`](tokio::io::AsyncWriteExt::shutdown) or [`close`](Self::close) has sent `close_notify`. This is also
    /// so after a force-close. If the process is killed, the connection is reset too.
    ///
    /// Use it in programs that pass on the data of another connection. If that connection ends with an error, or if the
    /// program ends too early, the peer must not believe that it has received all data. An end of TCP without
    /// `close_notify` does not show the error: Go's crypto/tls takes it for an end in order.
    ///
    /// Call it as soon as you have the connection. On systems other than Linux, drop the connection soon after a
    /// force-close: if you hold it, its socket is shut down after 250 ms, which is such an end.
    #[must_use]
    pub fn with_reset_on_drop(mut self) -> Self {
        self.stream.tcp_mut().reset_unless_shut_down();
        self
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    pub(crate) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// The error of a connection that was force-closed. Sends `close_notify` as dropping does.
    fn force_closed<T>(&mut self) -> Poll<io::Result<T>> {
        if !self.stream.get_ref().resets() {
            self.stream.close_without_waiting();
        }
        let reason = self.entry.close_reason().map_or("dropped", CloseReason::label);
        let problem = format!("this connection was force-closed on our side ({reason})");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, problem)))
    }

    /// Reads or writes; fails if the connection is force-closed before or meanwhile.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        waker: fn(&Entry) -> &AtomicWaker,
        operation: impl FnOnce(
            Pin<&mut AuthenticatedStream<SharedTcpStream>>,
            &mut Context<'_>,
        ) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.entry.is_force_closed() {
            return self.force_closed();
        }
        let outcome = operation(Pin::new(&mut self.stream), cx);
        if outcome.is_pending() && self.entry.is_force_closed_or_wakes(waker(&self.entry), cx.waker()) {
            return self.force_closed();
        }
        outcome
    }

    /// Records that the peer has closed the connection in order, if `is_end`.
    fn note_end(&self, is_end: bool) {
        if is_end {
            self.entry.is_closed_by_peer.store(true, Ordering::Relaxed);
        }
    }
}

fn reader(entry: &Entry) -> &AtomicWaker {
    &entry.reader
}

fn writer(entry: &Entry) -> &AtomicWaker {
    &entry.writer
}

impl Deref for Connection {
    type Target = AuthenticatedStream<SharedTcpStream>;

    fn deref(&self) -> &Self::Target {
        &self.stream
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(this.poll(cx, reader, |stream, cx| stream.poll_read(cx, buffer)))?;
        this.note_end(buffer.filled().len() == before && buffer.remaining() > 0);
        Poll::Ready(Ok(()))
    }
}

/// Data that is not consumed stays in the TLS buffer: the owner needs no buffer while the connection waits for data.
impl AsyncBufRead for Connection {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        let fill = |stream: Pin<&mut AuthenticatedStream<_>>, cx: &mut Context<'_>| {
            stream.poll_fill_buf(cx).map_ok(<[u8]>::is_empty)
        };
        let is_end = ready!(this.poll(cx, reader, fill))?;
        this.note_end(is_end);
        // The data stays there until it is consumed.
        Pin::new(&mut this.stream).poll_fill_buf(cx)
    }

    fn consume(self: Pin<&mut Self>, length: usize) {
        Pin::new(&mut self.get_mut().stream).consume(length);
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll(cx, writer, |stream, cx| stream.poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll(cx, writer, |stream, cx| stream.poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll(cx, writer, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll(cx, writer, AsyncWrite::poll_shutdown)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer_address", &self.entry.peer_address)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A dialer wants to know whether Typha closed in order, also if its handler only wrote.
        if self.peer().role() == Role::Typha && self.stream.has_end() {
            self.note_end(true);
        }
        // Before it is removed: after the last one, a program that shuts down may end at once.
        match self.stream.get_ref().resets() {
            true => self.stream.tcp_mut().forget_writer(),
            false => self.stream.close_without_waiting(),
        }
        self.connections.remove(&self.entry);
    }
}

//! A connection in service.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::roll::Entry;
use super::shared::Shared;
use crate::stream::{AuthenticatedStream, TlsFacts};
use crate::verifier::VerifiedPeer;

/// A Felix in service: its [`AuthenticatedStream`], counted for as long as it lives.
///
/// The listener may ask for its end: when it [rebalances](super::ListenerHandle::rebalance), when it is
/// [shut down](super::ListenerHandle::shutdown). The owner learns it by [`dropping`](Self::dropping), and has the
/// [`drop_grace`](super::ListenerLimits::drop_grace) to finish what it is about and to [`close`](Self::close). After that, reading and writing
/// fail with [`io::ErrorKind::ConnectionAborted`], and Felix is sent `close_notify` by the next read or write that is tried
/// or under way, so that an owner who only reads and writes does right, too.
pub struct TyphaConnection {
    stream: AuthenticatedStream<TcpStream>,
    peer_address: SocketAddr,
    entry: Arc<Entry>,
    shared: Arc<Shared>,
}

/// Why the listener asks for the end of a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum DropReason {
    /// Some other Typha is to serve it.
    Rebalance,
    /// [`drop_random`](super::ListenerHandle::drop_random) was called.
    Requested,
    /// The listener shuts down.
    Shutdown,
}

impl DropReason {
    /// A stable label for logs and metrics, such as `rebalance`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rebalance => "rebalance",
            Self::Requested => "requested",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long [`TyphaConnection::close`] listens to a Felix that goes on sending.
const GOODBYE: Duration = Duration::from_secs(1);

impl TyphaConnection {
    pub(super) fn new(
        stream: AuthenticatedStream<TcpStream>,
        peer_address: SocketAddr,
        shared: Arc<Shared>,
    ) -> Self {
        let entry = shared.roll.add();
        shared.gauge();
        Self { stream, peer_address, entry, shared }
    }

    /// Who Felix is.
    pub fn peer(&self) -> &VerifiedPeer {
        self.stream.peer()
    }

    /// What was negotiated.
    pub fn tls(&self) -> &TlsFacts {
        self.stream.tls()
    }

    /// Where Felix connected from.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// The stream below, such as to ask the socket for its options.
    pub fn get_ref(&self) -> &AuthenticatedStream<TcpStream> {
        &self.stream
    }

    /// Cancelled when the listener asks for the end of this connection. Clone it to take it elsewhere.
    pub fn dropping(&self) -> &CancellationToken {
        &self.entry.told
    }

    /// Why the listener asked for the end, if it did.
    pub fn drop_reason(&self) -> Option<DropReason> {
        self.entry.reason()
    }

    /// Ends the connection in order: sends what is buffered and `close_notify`, then reads on until Felix has closed, too, for at most 1 s.
    /// Closing with unread data would reset the connection, and could destroy what was sent last.
    ///
    /// # Errors
    ///
    /// What was written last may not have arrived; [`TimedOut`](io::ErrorKind::TimedOut) if Felix has not taken it within the second.
    pub async fn close(mut self) -> io::Result<()> {
        let end = Instant::now() + GOODBYE;
        if let Ok(sent) = timeout_at(end, self.stream.shutdown()).await {
            sent?;
        } else {
            let problem = "Felix has not taken what was written last";
            return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
        }
        let farewell = async {
            let mut unread = [0; 1024];
            while self.stream.read(&mut unread).await.is_ok_and(|length| length > 0) {}
        };
        // Felix need not say goodbye, too.
        let _ = timeout_at(end, farewell).await;
        Ok(())
    }

    /// Whether reading and writing have come to their end.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.entry.is_cut() {
            return false;
        }
        // As far as it goes without waiting: a Felix that does not read is not waited for.
        let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        true
    }

    fn over<T>(&self) -> Poll<io::Result<T>> {
        let reason = self.entry.reason().map_or("dropped", DropReason::as_str);
        let problem = format!("the listener has ended this connection ({reason})");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, problem)))
    }
}

impl AsyncRead for TyphaConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_reading(cx, |stream, cx| stream.poll_read(cx, buffer))
    }
}

/// What is not consumed stays where it was decrypted: a connection that waits for data needs no buffer of its owner's.
impl AsyncBufRead for TyphaConnection {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_reading(cx, |stream, cx| stream.poll_fill_buf(cx).map_ok(|_| ())))?;
        // What there is stays there until it is consumed.
        Pin::new(&mut this.stream).poll_fill_buf(cx)
    }

    fn consume(self: Pin<&mut Self>, length: usize) {
        Pin::new(&mut self.get_mut().stream).consume(length);
    }
}

impl TyphaConnection {
    /// Reading of any kind.
    fn poll_reading(
        &mut self,
        cx: &mut Context<'_>,
        read: impl FnOnce(Pin<&mut AuthenticatedStream<TcpStream>>, &mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return self.over();
        }
        let outcome = read(Pin::new(&mut self.stream), cx);
        if outcome.is_pending() && self.entry.is_cut_now(&self.entry.reader, cx.waker()) {
            self.is_over(cx);
            return self.over();
        }
        outcome
    }

    /// Writing of any kind.
    fn poll_writing<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut AuthenticatedStream<TcpStream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.is_over(cx) {
            return self.over();
        }
        let outcome = write(Pin::new(&mut self.stream), cx);
        if outcome.is_pending() && self.entry.is_cut_now(&self.entry.writer, cx.waker()) {
            self.is_over(cx);
            return self.over();
        }
        outcome
    }
}

impl AsyncWrite for TyphaConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_writing(cx, |stream, cx| stream.poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_writing(cx, |stream, cx| stream.poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_writing(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_writing(cx, AsyncWrite::poll_shutdown)
    }
}

impl fmt::Debug for TyphaConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TyphaConnection")
            .field("peer_address", &self.peer_address)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl Drop for TyphaConnection {
    fn drop(&mut self) {
        // An owner who lets go of it when told to has not said goodbye yet. Twice does no harm.
        if self.entry.reason().is_some() && tokio::runtime::Handle::try_current().is_ok() {
            let _ = Pin::new(&mut self.stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
        self.shared.roll.remove(&self.entry);
        self.shared.gauge();
    }
}

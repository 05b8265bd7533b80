//! A connection in service.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::roll::Entry;
use super::shared::Shared;
use crate::lifetime::{DropReason, EndableStream, Loss, Standing};
use crate::stream::{AuthenticatedStream, TlsFacts};
use crate::verifier::{Rejection, VerifiedPeer};

/// A Felix in service: its [`AuthenticatedStream`], counted for as long as it lives.
///
/// The listener may ask for its end: when it [rebalances](super::ListenerHandle::rebalance), when it is [shut
/// down](super::ListenerHandle::shutdown), when Felix is [trusted no longer](crate::lifetime). The owner learns it by
/// [`dropping`](Self::dropping), and has the [`drop_grace`](super::ListenerLimits::drop_grace) to finish what it is
/// about and to [`close`](Self::close). After that, reading and writing fail with [`io::ErrorKind::ConnectionAborted`],
/// and Felix is sent `close_notify` by the next read or write that is tried or under way, so that an owner who only
/// reads and writes does right, too.
pub struct TyphaConnection {
    stream: EndableStream,
    peer_address: SocketAddr,
    entry: Arc<Entry>,
    shared: Arc<Shared>,
}

/// How long [`TyphaConnection::close`] listens to a Felix that goes on sending.
const GOODBYE: Duration = Duration::from_secs(1);

impl TyphaConnection {
    pub(super) fn new(
        stream: AuthenticatedStream<TcpStream>,
        peer_address: SocketAddr,
        shared: Arc<Shared>,
    ) -> Self {
        let entry = Arc::new(Entry::new(peer_address, Standing::of(&stream), &shared.lifetime));
        let stream = EndableStream::new(stream, entry.ending.clone());
        shared.enter(&entry);
        shared.gauge();
        Self { stream, peer_address, entry, shared }
    }

    /// Who Felix is, as it was accepted.
    pub fn peer(&self) -> &VerifiedPeer {
        self.stream.stream().peer()
    }

    /// What was negotiated.
    pub fn tls(&self) -> &TlsFacts {
        self.stream.stream().tls()
    }

    /// The [generation](crate::TyphaAcceptor::replace) of the configuration by which Felix was accepted.
    pub fn generation(&self) -> u64 {
        self.stream.stream().generation()
    }

    /// Where Felix connected from.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// The stream below, such as to ask the socket for its options.
    pub fn get_ref(&self) -> &AuthenticatedStream<TcpStream> {
        self.stream.stream()
    }

    /// Cancelled when the listener asks for the end of this connection. Clone it to take it elsewhere.
    pub fn dropping(&self) -> &CancellationToken {
        self.entry.ending.told()
    }

    /// Why the listener asked for the end, if it did.
    pub fn drop_reason(&self) -> Option<DropReason> {
        self.entry.ending.reason()
    }

    /// Why Felix would not be accepted any more, if so, whether or not the connection is to be
    /// [closed](crate::lifetime::ConnectionLifetime) for it.
    pub fn lost_trust(&self) -> Option<Rejection> {
        self.entry.standing.loss().as_ref().map(Loss::rejection).cloned()
    }

    /// Ends the connection in order: sends what is buffered and `close_notify`, then reads on until Felix has closed,
    /// too, for at most 1 s. Closing with unread data would reset the connection, and could destroy what was sent last.
    ///
    /// # Errors
    ///
    /// What was written last may not have arrived; [`TimedOut`](io::ErrorKind::TimedOut) if Felix has not taken it
    /// within the second.
    pub async fn close(mut self) -> io::Result<()> {
        let end = Instant::now() + GOODBYE;
        let stream = self.stream.stream_mut();
        if let Ok(sent) = timeout_at(end, stream.shutdown()).await {
            sent?;
        } else {
            let problem = "Felix has not taken what was written last";
            return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
        }
        let farewell = async {
            let mut unread = [0; 1024];
            while stream.read(&mut unread).await.is_ok_and(|length| length > 0) {}
        };
        // Felix need not say goodbye, too.
        let _ = timeout_at(end, farewell).await;
        Ok(())
    }
}

impl AsyncRead for TyphaConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

/// What is not consumed stays where it was decrypted: a connection that waits for data needs no buffer of its owner's.
impl AsyncBufRead for TyphaConnection {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().stream).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, length: usize) {
        Pin::new(&mut self.stream).consume(length);
    }
}

impl AsyncWrite for TyphaConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
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
        if self.entry.ending.reason().is_some() && tokio::runtime::Handle::try_current().is_ok() {
            let mut context = Context::from_waker(Waker::noop());
            let _ = Pin::new(self.stream.stream_mut()).poll_shutdown(&mut context);
        }
        self.shared.roll.remove(&self.entry);
        self.shared.gauge();
    }
}

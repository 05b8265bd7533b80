//! The stream that a handshake returns, with an authenticated peer.

mod facts;
mod read_ahead;
mod shared_tcp;
mod timeouts;
mod wire;

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::runtime::Handle;
use tokio::task::unconstrained;
use tokio::time::timeout_at;

pub use facts::TlsFacts;
pub use shared_tcp::SharedTcpStream;
pub(crate) use shared_tcp::TcpShutdown;
pub(crate) use timeouts::Timeouts;
pub(crate) use wire::{START_LENGTH, Start, Wire, with_start};

use crate::time::deadline_in;
use crate::verifier::VerifiedPeer;

/// A TLS connection whose peer has been verified. Only [`TyphaAcceptor`](crate::TyphaAcceptor),
/// [`FelixConnector`](crate::FelixConnector) and [`HostConnector`](crate::HostConnector) create one.
///
/// Reading returns `Ok(0)` only after the peer's `close_notify`: all data of the peer has then been read. If the
/// connection ends without it, reading fails with [`io::ErrorKind::UnexpectedEof`]: the data may be truncated.
///
/// End it with [`close`](Self::close). Dropping it also sends `close_notify`, if that needs no waiting, all data has
/// been sent and the thread does not panic. Otherwise the peer sees a truncated connection.
pub struct AuthenticatedStream<IO> {
    /// Boxed, because it is large and tasks that own a connection move it.
    tls: Box<tokio_rustls::TlsStream<Wire<IO>>>,
    peer: VerifiedPeer,
    facts: TlsFacts,
    acceptance: Acceptance,
    generation: u64,
    /// The waker of the task that waits for a write. When a read fails, tokio-rustls writes an alert with the reader's
    /// waker, and the I/O forgets this one.
    writer: Option<Waker>,
    /// Whether the peer may have a part of what is being written: the last write was not taken whole.
    is_writing: bool,
    /// The function that `drop` calls. It is set in `new`, where the type says that `IO` can be written to.
    on_drop: fn(&mut Self),
}

/// Whether the peer is known to have accepted our certificate.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Acceptance {
    /// The peer has accepted our certificate.
    Confirmed,
    /// The client's end only: the server has not requested a certificate. It is authenticated. A Typha that does not
    /// request one accepts any client: its configuration is not Calico's.
    NotAsked,
    /// The client's end only: the server has given no sign within the time of the
    /// [`AcceptanceMode`](crate::AcceptanceMode). If it refuses us, a read fails;
    /// [`alert_of`](crate::error::alert_of) returns the alert.
    Unconfirmed,
}

/// How often to look for a `close_notify` behind unread data.
const LAST_READS: u32 = 16;

/// The most bytes without application data: a dozen messages of the largest size. A Typha sends a few session tickets
/// of less than 1 KiB.
const MAX_WITHOUT_DATA: usize = 256 * 1024;

/// How long [`AuthenticatedStream::close`] may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

impl<IO> AuthenticatedStream<IO> {
    /// The [generation](crate::TyphaAcceptor::replace) of the configuration that the peer was verified with.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The verified peer.
    pub fn peer(&self) -> &VerifiedPeer {
        &self.peer
    }

    /// The chain as the peer sent it, leaf first. [Verify](crate::verifier::PeerVerifier::verify) it again when another
    /// configuration is in force. A listener and a dialer do this by themselves.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.tls.get_ref().1.peer_certificates().unwrap_or_default()
    }

    /// The negotiated parameters.
    pub fn tls(&self) -> &TlsFacts {
        &self.facts
    }

    /// Whether the peer is known to have accepted our certificate. On Typha's end it is always
    /// [`Confirmed`](Acceptance::Confirmed).
    pub fn acceptance(&self) -> Acceptance {
        self.acceptance
    }

    /// The I/O below TLS, for example to read its addresses.
    ///
    /// # Security
    ///
    /// Reading from it or writing to it breaks the connection.
    pub fn get_ref(&self) -> &IO {
        self.tls.get_ref().0.get_ref()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AuthenticatedStream<IO> {
    pub(crate) fn new(
        mut tls: Box<tokio_rustls::TlsStream<Wire<IO>>>,
        peer: VerifiedPeer,
        facts: TlsFacts,
        acceptance: Acceptance,
        generation: u64,
        timeouts: Timeouts,
    ) -> Self {
        wire_mut(&mut tls).end_handshake(timeouts);
        let on_drop = Self::close_without_waiting;
        Self { tls, peer, facts, acceptance, generation, writer: None, is_writing: false, on_drop }
    }

    /// Closes the connection in order: sends the data that is buffered and `close_notify`, then reads until the peer
    /// has closed, too. It takes at most 1 s. Closing with unread data would reset the connection, and could destroy
    /// the data that was sent last. [`shutdown`](tokio::io::AsyncWriteExt::shutdown) only sends, and leaves the reading
    /// to the caller.
    ///
    /// With a codec, flush its `Framed` and close the stream in it: `framed.into_inner().close().await`.
    ///
    /// # Errors
    ///
    /// The data that was written last may not have arrived. The kind is [`TimedOut`](io::ErrorKind::TimedOut) if it
    /// could not be sent within 1 s.
    pub async fn close(mut self) -> io::Result<()> {
        self.finish().await
    }

    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        let end = deadline_in(CLOSE_TIMEOUT);
        timeout_at(end, self.shutdown()).await.unwrap_or_else(|_| {
            let problem = "the data that was written last could not be sent within 1 s";
            Err(io::Error::new(io::ErrorKind::TimedOut, problem))
        })?;
        let peer_closed = async {
            let mut unread = [0; 1024];
            while self.read(&mut unread).await.is_ok_and(|length| length > 0) {}
        };
        // It is no error if the peer does not close in order.
        let _ = timeout_at(end, peer_closed).await;
        Ok(())
    }

    /// Whether the peer has closed the connection in order, as far as that has arrived. Unread data before it is lost.
    pub(crate) fn has_end(&mut self) -> bool {
        if Handle::try_current().is_err() {
            return false;
        }
        let tls = &mut self.tls;
        poll_once(|cx| {
            for _ in 0..LAST_READS {
                let length = match ready!(Pin::new(&mut *tls).poll_fill_buf(cx)) {
                    Ok([]) => return Poll::Ready(true),
                    Ok(unread) => unread.len(),
                    Err(_) => break,
                };
                Pin::new(&mut *tls).consume(length);
            }
            Poll::Ready(false)
        })
        .unwrap_or(false)
    }

    /// Sends `close_notify` as [dropping](Self) does.
    pub(crate) fn close_without_waiting(&mut self) {
        let is_truncated = self.is_writing || self.tls.get_ref().1.wants_write() || std::thread::panicking();
        // Outside of a runtime, polling the I/O may panic.
        if is_truncated || Handle::try_current().is_err() {
            return;
        }
        // No timer is started.
        wire_mut(&mut self.tls).set_write_timeout(None);
        let _ = poll_once(|cx| Pin::new(&mut self.tls).poll_shutdown(cx));
    }

    /// Called with the result of a read. Applies the read timeout to one that is pending.
    fn note_reader<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let reads = wire_mut(&mut self.tls).reads();
        let has_received = std::mem::take(&mut reads.has_received);
        let outcome = match outcome {
            Poll::Pending if reads.without_data > MAX_WITHOUT_DATA => {
                let problem = "the peer sent more than 256 KiB without application data";
                Err(io::Error::new(io::ErrorKind::InvalidData, problem))
            }
            Poll::Pending => {
                ready!(reads.timeout.poll_expired(cx));
                // The timer may have run since a read that was cancelled. If a record has begun to arrive meanwhile, it
                // gets time, once.
                if has_received && !std::mem::replace(&mut reads.is_extended, true) {
                    reads.timeout.progress();
                    ready!(reads.timeout.poll_expired(cx));
                }
                let problem = "no application data arrived within the read timeout";
                Err(io::Error::new(io::ErrorKind::TimedOut, problem))
            }
            Poll::Ready(outcome) => {
                match &outcome {
                    Ok(_) => (reads.without_data, reads.is_extended) = (0, false),
                    Err(_) => self.writer.take().into_iter().for_each(Waker::wake),
                }
                outcome
            }
        };
        reads.timeout.progress();
        Poll::Ready(outcome)
    }

    /// Called with the result of a write, flush or shutdown; keeps the waker of one that is pending.
    fn note_writer<T>(&mut self, cx: &Context<'_>, outcome: Poll<T>) -> Poll<T> {
        match (&outcome, &self.writer) {
            (Poll::Ready(_), _) => self.writer = None,
            (Poll::Pending, Some(writer)) if writer.will_wake(cx.waker()) => {}
            (Poll::Pending, _) => self.writer = Some(cx.waker().clone()),
        }
        outcome
    }
}

impl AuthenticatedStream<SharedTcpStream> {
    pub(crate) fn tcp_mut(&mut self) -> &mut SharedTcpStream {
        wire_mut(&mut self.tls).get_mut()
    }
}

/// The output if there is one without waiting, even if the task has used up its share of the runtime's attention: one
/// that drops many streams at a time, say.
fn poll_once<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    match pin!(unconstrained(poll_fn(poll))).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn wire_mut<IO>(tls: &mut tokio_rustls::TlsStream<Wire<IO>>) -> &mut Wire<IO> {
    tls.get_mut().0
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for AuthenticatedStream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.tls).poll_read(cx, buf);
        self.note_reader(cx, outcome)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for AuthenticatedStream<IO> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.tls).poll_fill_buf(cx).map_ok(drop);
        ready!(this.note_reader(cx, outcome))?;
        // Returns the data in the buffer without reading from the I/O again.
        Pin::new(&mut this.tls).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.tls).consume(amount);
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for AuthenticatedStream<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tls).poll_write(cx, buf);
        self.is_writing = !matches!(outcome, Poll::Ready(Ok(length)) if length == buf.len());
        self.note_writer(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tls).poll_write_vectored(cx, bufs);
        let all: usize = bufs.iter().map(|buf| buf.len()).sum();
        self.is_writing = !matches!(outcome, Poll::Ready(Ok(length)) if length == all);
        self.note_writer(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.tls).poll_flush(cx);
        self.note_writer(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.tls).poll_shutdown(cx);
        self.note_writer(cx, outcome)
    }
}

impl<IO> Drop for AuthenticatedStream<IO> {
    fn drop(&mut self) {
        (self.on_drop)(self);
    }
}

impl<IO> fmt::Debug for AuthenticatedStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticatedStream")
            .field("peer", &self.peer)
            .field("tls", &self.facts)
            .field("acceptance", &self.acceptance)
            .finish_non_exhaustive()
    }
}

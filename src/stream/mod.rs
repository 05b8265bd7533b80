//! The connection that a handshake yields, with an authenticated peer.

mod facts;
mod read_ahead;
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
pub(crate) use timeouts::Timeouts;
pub(crate) use wire::{Start, Wire, with_start};

use crate::time::deadline_in;
use crate::verifier::VerifiedPeer;

/// A TLS connection whose peer has been verified. Only [`TyphaAcceptor`](crate::TyphaAcceptor) and
/// [`FelixConnector`](crate::FelixConnector) make one.
///
/// Reading returns `Ok(0)` only after the peer's `close_notify`: what was read is then all that the peer sent. A
/// connection that ends without it fails with [`io::ErrorKind::UnexpectedEof`]: it may have been truncated on the way.
///
/// End it by [`close`](Self::close). Dropping it sends `close_notify`, too, if that needs no waiting, all data was sent
/// before and the thread does not panic; otherwise the peer sees a truncated connection.
pub struct AuthenticatedStream<IO> {
    /// Boxed: it is large, and tasks that hold a connection move it about.
    tls: Box<tokio_rustls::TlsStream<Wire<IO>>>,
    peer: VerifiedPeer,
    facts: TlsFacts,
    acceptance: Acceptance,
    generation: u64,
    /// Who waits for a write. When a read fails, tokio-rustls writes an alert on the reader's behalf, and the I/O
    /// forgets this one.
    writer: Option<Waker>,
    /// Whether the peer may have a part of what is being written: the last write was not taken whole.
    is_writing: bool,
    /// What dropping does. Only where a stream is made is it known that `IO` can be written to.
    on_drop: fn(&mut Self),
}

/// Whether the peer is known to have accepted our certificate.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Acceptance {
    /// It has.
    Confirmed,
    /// Felix's end only: Typha has not asked for a certificate. It is the right Typha, but lets anyone in: its
    /// configuration is not Calico's.
    NotAsked,
    /// Felix's end only: Typha has shown nothing within the time allowed. A refusal will arrive as an error of a read,
    /// from which [`alert_of`](crate::error::alert_of) gets the alert.
    Unconfirmed,
}

/// How often to look for a `close_notify` behind unread data.
const LAST_READS: u32 = 16;

/// How long [`AuthenticatedStream::close`] may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

impl<IO> AuthenticatedStream<IO> {
    /// The [generation](crate::TyphaAcceptor::replace) of the configuration that the peer was judged by.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The other end, as the verifier accepted it.
    pub fn peer(&self) -> &VerifiedPeer {
        &self.peer
    }

    /// The chain as the peer sent it, leaf first: what to have [judged again](crate::verifier::PeerVerifier::verify)
    /// when another configuration is in force. A listener and a dialer do so by themselves.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.tls.get_ref().1.peer_certificates().unwrap_or_default()
    }

    /// What was negotiated.
    pub fn tls(&self) -> &TlsFacts {
        &self.facts
    }

    /// Whether the peer is known to have accepted our certificate; always on Typha's end.
    pub fn acceptance(&self) -> Acceptance {
        self.acceptance
    }

    /// The I/O below TLS, to look at (its addresses, say).
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
        let wire = wire_mut(&mut tls);
        wire.end_handshake();
        wire.set_timeouts(timeouts);
        let on_drop = Self::close_without_waiting;
        Self { tls, peer, facts, acceptance, generation, writer: None, is_writing: false, on_drop }
    }

    /// Closes the connection in order: sends the data that is buffered and `close_notify`, then reads until the peer
    /// has closed, too. It takes at most 1 s. Closing with unread data would reset the connection, and could destroy
    /// the data that was sent last.
    ///
    /// # Errors
    ///
    /// The data that was written last may not have arrived; [`TimedOut`](io::ErrorKind::TimedOut) if the peer has not
    /// taken it within the second.
    pub async fn close(mut self) -> io::Result<()> {
        self.finish().await
    }

    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        let end = deadline_in(CLOSE_TIMEOUT);
        timeout_at(end, self.shutdown()).await.unwrap_or_else(|_| {
            let problem = "the peer has not taken the data that was written last";
            Err(io::Error::new(io::ErrorKind::TimedOut, problem))
        })?;
        let peer_closed = async {
            let mut unread = [0; 1024];
            while self.read(&mut unread).await.is_ok_and(|length| length > 0) {}
        };
        // The peer need not close in order, too.
        let _ = timeout_at(end, peer_closed).await;
        Ok(())
    }

    /// Whether the peer has closed the connection in order, as far as that has arrived. Unread data before it is lost.
    pub(crate) fn has_end(&mut self) -> bool {
        if Handle::try_current().is_err() {
            return false;
        }
        // No clock is started for it.
        wire_mut(&mut self.tls).set_timeouts(Timeouts { read: None, write: None });
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
        let is_cut_off = self.is_writing || self.tls.get_ref().1.wants_write() || std::thread::panicking();
        // Outside of a runtime, not even trying is allowed.
        if is_cut_off || Handle::try_current().is_err() {
            return;
        }
        // No clock is started for it.
        wire_mut(&mut self.tls).set_timeouts(Timeouts { read: None, write: None });
        let _ = poll_once(|cx| Pin::new(&mut self.tls).poll_shutdown(cx));
    }

    /// To be called with what a read returned, if it is ready.
    fn end_read(&mut self, failed: bool) {
        // TLS reads ahead, and so may have set the clock running for a read that nobody waits for.
        wire_mut(&mut self.tls).end_read();
        if failed && let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// To be called with what a write, flush or shutdown returned.
    fn note_writer<T>(&mut self, cx: &Context<'_>, outcome: Poll<T>) -> Poll<T> {
        match (&outcome, &self.writer) {
            (Poll::Ready(_), _) => self.writer = None,
            (Poll::Pending, Some(writer)) if writer.will_wake(cx.waker()) => {}
            (Poll::Pending, _) => self.writer = Some(cx.waker().clone()),
        }
        outcome
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
        let outcome = ready!(Pin::new(&mut self.tls).poll_read(cx, buf));
        self.end_read(outcome.is_err());
        Poll::Ready(outcome)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for AuthenticatedStream<IO> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if let Err(error) = ready!(Pin::new(&mut this.tls).poll_fill_buf(cx)) {
            this.end_read(true);
            return Poll::Ready(Err(error));
        }
        this.end_read(false);
        // What is there is returned without another look at the I/O.
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

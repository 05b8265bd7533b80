//! The I/O below TLS, where progress is measured.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::read_ahead::ReadAhead;
use super::timeouts::{Timeouts, Watchdog};

/// The I/O below TLS. It measures progress here because a large write through TLS makes progress long before it
/// completes.
#[derive(Debug)]
pub(crate) struct Wire<IO> {
    io: IO,
    read_ahead: ReadAhead,
    start_is_complete: bool,
    /// The bytes of writes during the handshake that the I/O has not accepted yet.
    unsent: Vec<u8>,
    /// Whether the handshake is running: writes then go through `poll_write_or_keep`.
    handshaking: bool,
    reads: Reads,
    write: Watchdog,
    write_failed: bool,
}

/// The reads of application data. They are measured above TLS, because a peer could keep a connection alive with parts
/// of a record and with other messages. They are kept here, where they do not make the stream larger.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Runs while a read waits for application data.
    pub(super) timeout: Watchdog,
    /// The bytes that TLS has read after the handshake since the last application data.
    pub(super) without_data: usize,
    /// Whether TLS has read anything since the last poll of the stream.
    pub(super) has_received: bool,
    /// Whether the timeout was extended since the last application data.
    pub(super) is_extended: bool,
}

/// More than enough for an alert, which takes 7 bytes in plain text and about 40 encrypted.
const KEPT_BYTES: usize = 512;

impl<IO> Wire<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self::with_received(io, BytesMut::new())
    }

    /// Begins with bytes that were read from the I/O before.
    pub(crate) fn with_received(io: IO, received: BytesMut) -> Self {
        Self {
            io,
            read_ahead: ReadAhead::new(received),
            start_is_complete: false,
            unsent: Vec::new(),
            handshaking: true,
            reads: Reads::default(),
            write: Watchdog::default(),
            write_failed: false,
        }
    }

    /// Called when the handshake is complete and all of its messages are sent.
    pub(crate) fn end_handshake(&mut self, timeouts: Timeouts) {
        self.handshaking = false;
        self.reads.timeout = Watchdog::new(timeouts.read);
        self.set_write_timeout(timeouts.write);
    }

    pub(crate) fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write = Watchdog::new(timeout);
    }

    pub(crate) fn get_ref(&self) -> &IO {
        &self.io
    }

    pub(super) fn get_mut(&mut self) -> &mut IO {
        &mut self.io
    }

    /// The state of the reads above TLS.
    pub(crate) fn reads(&mut self) -> &mut Reads {
        &mut self.reads
    }

    /// Runs a write operation with the write timeout.
    fn guard_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        operation: impl FnOnce(&mut IO, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.write_failed {
            return Poll::Ready(Err(timed_out("an earlier write timed out")));
        }
        match operation(&mut self.io, cx) {
            Poll::Pending => {
                ready!(self.write.poll_expired(cx));
                self.write_failed = true;
                Poll::Ready(Err(timed_out("the peer accepted no data within the write timeout")))
            }
            ready => {
                self.write.progress();
                ready
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Wire<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        let outcome = if this.handshaking && this.read_ahead.is_empty() {
            Pin::new(&mut this.io).poll_read(cx, buf)
        } else {
            this.read_ahead.poll_read(&mut this.io, cx, buf)
        };
        match ready!(outcome) {
            // tokio-rustls treats this kind of error as an end: a later read would report a clean end.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, error)))
            }
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) => {
                let received = buf.filled().get(before..).unwrap_or_default();
                if !this.handshaking {
                    this.reads.without_data += received.len();
                    this.reads.has_received = true;
                } else if !this.start_is_complete {
                    this.start_is_complete = note(received);
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> Wire<IO> {
    /// Writes during the handshake. Keeps the bytes that the I/O does not accept at once, up to [`KEPT_BYTES`].
    ///
    /// rustls writes an alert only once, before it returns the error. Bytes that are not accepted then would be lost,
    /// and the peer would not get the reason.
    fn poll_write_or_keep(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        if self.poll_unsent(cx)?.is_ready()
            && let Poll::Ready(written) = Pin::new(&mut self.io).poll_write_vectored(cx, bufs)?
        {
            taken = written;
        }
        let mut written = taken;
        for buf in bufs {
            let rest = buf.get(written..).unwrap_or_default();
            written = written.saturating_sub(buf.len());
            let kept = rest.len().min(KEPT_BYTES - self.unsent.len());
            self.unsent.extend(rest.iter().take(kept));
            taken += kept;
        }
        if taken == 0 && bufs.iter().any(|buf| !buf.is_empty()) {
            Poll::Pending
        } else {
            Poll::Ready(Ok(taken))
        }
    }

    /// Writes the kept bytes. Ready when none is left.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(self.unsent.drain(..written)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.handshaking {
            return self.poll_write_or_keep(cx, &[IoSlice::new(buf)]);
        }
        self.guard_write(cx, |io, cx| Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.handshaking {
            return self.poll_write_or_keep(cx, bufs);
        }
        self.guard_write(cx, |io, cx| Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        self.guard_write(cx, |io, cx| Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        self.guard_write(cx, |io, cx| Pin::new(io).poll_shutdown(cx))
    }
}

fn timed_out(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// The first bytes that a connection received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    bytes: [u8; START_LENGTH],
    received: usize,
}

/// Enough to distinguish TLS from other protocols, and for people to recognise the other protocol.
pub(crate) const START_LENGTH: usize = 16;

impl Start {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.received.min(START_LENGTH)).unwrap_or_default()
    }

    fn extend(&mut self, received: &[u8]) {
        if let Some(free) = self.bytes.get_mut(self.received..) {
            for (slot, byte) in free.iter_mut().zip(received) {
                *slot = *byte;
            }
        }
        self.received = (self.received + received.len()).min(START_LENGTH);
    }
}

tokio::task_local! {
    /// The start of the connection whose handshake is being polled. It is not in the [`Wire`], because the handshake's
    /// future owns that and drops it at a timeout.
    static START: Cell<Start>;
}

/// Runs a handshake over a [`Wire`] and returns its output with the first bytes that the wire received.
pub(crate) async fn with_start<F: Future>(handshake: F) -> (F::Output, Start) {
    let scoped = async {
        let output = handshake.await;
        (output, START.with(Cell::take))
    };
    START.scope(Cell::default(), scoped).await
}

/// Adds bytes to the start of the connection that is being polled. Returns `true` when the start is complete.
fn note(received: &[u8]) -> bool {
    START
        .try_with(|cell| {
            let mut start = cell.get();
            start.extend(received);
            cell.set(start);
            start.received == START_LENGTH
        })
        .unwrap_or(true)
}

//! The I/O under TLS: where bytes are seen to move, or not to.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::time::deadline_in;

/// Bounds for reads and writes that make no progress. The default is none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct StreamTimeouts {
    /// A read that receives no byte for this long fails with [`io::ErrorKind::TimedOut`]. Calico's `TyphaReadTimeout`.
    pub read: Option<Duration>,
    /// A write, flush or shutdown of which the peer takes no byte for this long fails with [`io::ErrorKind::TimedOut`],
    /// and so does every later one: what was sent is incomplete. Calico's `ServerWriteTimeoutSecs`,
    /// `TyphaWriteTimeout`.
    pub write: Option<Duration>,
}

impl StreamTimeouts {
    /// These bounds; `None` for no bound.
    pub fn new(read: Option<Duration>, write: Option<Duration>) -> Self {
        Self { read, write }
    }
}

/// Measures progress where it happens, below TLS: a large write through TLS makes progress long before it completes.
#[derive(Debug)]
pub(crate) struct Wire<IO> {
    io: IO,
    start_is_complete: bool,
    read: Watchdog,
    write: Watchdog,
    write_failed: bool,
}

/// The first bytes that a connection received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    bytes: [u8; START_LENGTH],
    received: usize,
}

/// Enough to tell TLS from anything else, and for people to tell what else it is.
const START_LENGTH: usize = 16;

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
    /// The start of the connection whose handshake is being polled: the [`Wire`] is out of reach inside the handshake's
    /// future, and gone with it when that is given up.
    static START: Cell<Start>;
}

/// Runs a handshake over a [`Wire`] and returns its output with what the wire received first.
pub(crate) async fn with_start<F: Future>(handshake: F) -> (F::Output, Start) {
    let scoped = async {
        let output = handshake.await;
        (output, START.with(Cell::take))
    };
    START.scope(Cell::default(), scoped).await
}

impl<IO> Wire<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self {
            io,
            start_is_complete: false,
            read: Watchdog::default(),
            write: Watchdog::default(),
            write_failed: false,
        }
    }

    pub(crate) fn set_timeouts(&mut self, timeouts: StreamTimeouts) {
        self.read = Watchdog::new(timeouts.read);
        self.write = Watchdog::new(timeouts.write);
    }

    pub(crate) fn get_ref(&self) -> &IO {
        &self.io
    }

    /// Watches over a write operation.
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
                Poll::Ready(Err(timed_out("the peer took no data for the write timeout")))
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
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending => {
                ready!(self.read.poll_expired(cx));
                self.read.progress();
                Poll::Ready(Err(timed_out("no data arrived for the read timeout")))
            }
            ready => {
                self.read.progress();
                if !self.start_is_complete {
                    let received = buf.filled().get(before..).unwrap_or_default();
                    self.start_is_complete = note_start(received);
                }
                ready
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.guard_write(cx, |io, cx| Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.guard_write(cx, |io, cx| Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.guard_write(cx, |io, cx| Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.guard_write(cx, |io, cx| Pin::new(io).poll_shutdown(cx))
    }
}

/// Adds to the start of the connection being polled; `true` if there is no more to add.
fn note_start(received: &[u8]) -> bool {
    START
        .try_with(|cell| {
            let mut start = cell.get();
            start.extend(received);
            cell.set(start);
            start.received == START_LENGTH
        })
        .unwrap_or(true)
}

fn timed_out(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// Runs while an operation is pending. The timer is made on the first one and used again, since most never expire.
#[derive(Debug, Default)]
struct Watchdog {
    limit: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Watchdog {
    fn new(limit: Option<Duration>) -> Self {
        Self { limit, timer: None, running: false }
    }

    /// Called when the operation is pending: starts the clock, or finds that it has run out.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limit else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.running {
            timer.as_mut().reset(deadline_in(limit));
            self.running = true;
        }
        timer.as_mut().poll(cx)
    }

    fn progress(&mut self) {
        self.running = false;
    }
}

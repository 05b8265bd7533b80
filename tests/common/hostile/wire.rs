//! I/O that misbehaves, or keeps count.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the reader of a [`Scripted`] gets: `limit` bytes of the real peer, then `inject`, then the ending.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) limit: usize,
    pub(crate) inject: Vec<u8>,
    pub(crate) ending: Ending,
    /// A byte of the real peer to change, and the bits to change in it.
    pub(crate) flip: Option<(usize, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ending {
    Eof,
    Reset,
    /// Nothing more, ever.
    Stall,
    /// What the real peer sends next.
    Rest,
}

impl Script {
    pub(crate) fn new(limit: usize, inject: &[u8], ending: Ending) -> Self {
        Self { limit, inject: inject.to_vec(), ending, flip: None }
    }

    /// Passes everything on.
    pub(crate) fn honest() -> Self {
        Self::new(usize::MAX, &[], Ending::Rest)
    }
}

/// Reads by a [`Script`]; writes go through, until a reset.
pub(crate) struct Scripted<IO> {
    io: IO,
    script: Script,
    /// What the reader got from the real peer.
    transcript: Arc<Mutex<Vec<u8>>>,
}

impl<IO> Scripted<IO> {
    pub(crate) fn new(io: IO, script: Script) -> Self {
        Self { io, script, transcript: Arc::default() }
    }

    pub(crate) fn transcript(&self) -> Arc<Mutex<Vec<u8>>> {
        self.transcript.clone()
    }

    fn is_reset(&self) -> bool {
        self.script.limit == 0 && self.script.inject.is_empty() && self.script.ending == Ending::Reset
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Scripted<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.script.limit > 0 {
            let mut part = buf.take(this.script.limit);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
            let mut received = part.filled().to_vec();
            this.script.limit -= received.len();
            let mut transcript = this.transcript.lock().unwrap();
            if let Some((offset, bits)) = this.script.flip
                && let Some(byte) = offset.checked_sub(transcript.len()).and_then(|at| received.get_mut(at))
            {
                *byte ^= bits;
            }
            transcript.extend_from_slice(&received);
            // `take` hands out the unfilled part without the size of the whole buffer.
            buf.put_slice(&received);
            return Poll::Ready(Ok(()));
        }
        if !this.script.inject.is_empty() {
            let length = this.script.inject.len().min(buf.remaining());
            buf.put_slice(&this.script.inject.drain(..length).collect::<Vec<_>>());
            return Poll::Ready(Ok(()));
        }
        match this.script.ending {
            Ending::Eof => Poll::Ready(Ok(())),
            Ending::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Ending::Stall => Poll::Pending,
            Ending::Rest => Pin::new(&mut this.io).poll_read(cx, buf),
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Scripted<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_reset() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Moves one byte at a time, and makes the caller wait before each.
pub(crate) struct Slow<IO> {
    io: IO,
    may_read: bool,
    may_write: bool,
}

impl<IO> Slow<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self { io, may_read: false, may_write: false }
    }
}

/// Pending every other time.
fn every_other_time(may: &mut bool, cx: &Context<'_>) -> Poll<()> {
    *may = !*may;
    if *may {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    Poll::Ready(())
}

impl<IO: AsyncRead + Unpin> AsyncRead for Slow<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(every_other_time(&mut this.may_read, cx));
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut this.io).poll_read(cx, &mut one))?;
        buf.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Slow<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(every_other_time(&mut this.may_write, cx));
        Pin::new(&mut this.io).poll_write(cx, buf.get(..1).unwrap_or_default())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Counts those of its kind that are alive.
pub(crate) struct Counted<IO> {
    io: IO,
    alive: Arc<AtomicUsize>,
}

impl<IO> Counted<IO> {
    pub(crate) fn new(io: IO, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self { io, alive: alive.clone() }
    }
}

impl<IO> Drop for Counted<IO> {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Counted<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Counted<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

//! A TCP stream that another task can shut down.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::tcp;

/// The TCP stream below a [`Connection`](crate::Connection). It dereferences to tokio's [`TcpStream`], for example to
/// read its addresses.
///
/// The listener or the dialer can shut it down although its owner holds it. Without that, a connection would stay open
/// whose owner no longer reads and writes. Dropping it closes it in order: unread data is read first, up to 64 KiB,
/// because the system resets a connection that is closed with unread data.
#[derive(Debug)]
pub struct SharedTcpStream {
    reader: OwnedReadHalf,
    /// tokio's halves share one descriptor, which a second handle would double.
    writer: Arc<Mutex<Writer>>,
}

#[derive(Debug)]
struct Writer {
    /// `None` if it ends by a reset now.
    half: Option<OwnedWriteHalf>,
    /// Whether it ends by a reset, unless it is shut down before.
    resets: bool,
}

/// Shuts the stream down, if it still exists.
#[derive(Debug, Default)]
pub(crate) struct TcpShutdown(Weak<Mutex<Writer>>);

impl SharedTcpStream {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        let (reader, writer) = tcp.into_split();
        Self { reader, writer: Arc::new(Mutex::new(Writer { half: Some(writer), resets: false })) }
    }

    pub(crate) fn shutdown_handle(&self) -> TcpShutdown {
        TcpShutdown(Arc::downgrade(&self.writer))
    }

    /// Makes it end by a reset unless it is shut down before, also when the process dies.
    pub(crate) fn reset_unless_shut_down(&mut self) {
        self.writer().resets = true;
        tcp::set_reset_on_close(self, true);
    }

    /// Whether it ends by a reset, unless it is shut down before.
    pub(crate) fn resets(&self) -> bool {
        self.writer().resets
    }

    /// Leaves the end to the reset, when this is dropped.
    pub(crate) fn forget_writer(&mut self) {
        if let Some(writer) = self.writer().half.take() {
            // Dropped, it would end the sending side first. That could look like an end in order.
            writer.forget();
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_writer<T>(
        &self,
        poll: impl FnOnce(Pin<&mut OwnedWriteHalf>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.writer().half {
            Some(writer) => poll(Pin::new(writer)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl TcpShutdown {
    /// Ends both directions. The other end sees the end of the stream, or a reset; reads and writes of the owner fail.
    pub(crate) fn shut_down(&self) {
        if let Some(writer) = self.0.upgrade() {
            let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(half) = &writer.half {
                // Each fails if the other end has already ended the connection.
                let _ = match writer.resets {
                    true => tcp::reset(half.as_ref()),
                    false => SockRef::from(AsRef::<TcpStream>::as_ref(half)).shutdown(Shutdown::Both),
                };
            }
        }
    }
}

impl Deref for SharedTcpStream {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        self.reader.as_ref()
    }
}

impl AsyncRead for SharedTcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for SharedTcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writer(|writer| writer.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writer(|writer| writer.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writer(|writer| writer.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_writer(|writer| writer.poll_shutdown(cx)))?;
        if std::mem::take(&mut self.writer().resets) {
            tcp::set_reset_on_close(&self, false);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SharedTcpStream {
    fn drop(&mut self) {
        // tokio's half then ends the sending side.
        tcp::discard_received(self);
    }
}

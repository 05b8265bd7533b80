//! A stream whose use can be ended from elsewhere.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::ending::{DropReason, Ending};
use crate::stream::AuthenticatedStream;

/// Once it is cut, reading and writing fail, and the peer is sent `close_notify` by the next read or write that is
/// tried or under way.
pub(crate) struct EndableStream {
    stream: AuthenticatedStream<TcpStream>,
    ending: Arc<Ending>,
}

impl EndableStream {
    pub(crate) fn new(stream: AuthenticatedStream<TcpStream>, ending: Arc<Ending>) -> Self {
        Self { stream, ending }
    }

    pub(crate) fn ending(&self) -> &Arc<Ending> {
        &self.ending
    }

    /// Past the check whether it is cut.
    pub(crate) fn stream(&self) -> &AuthenticatedStream<TcpStream> {
        &self.stream
    }

    /// Past the check whether it is cut.
    pub(crate) fn stream_mut(&mut self) -> &mut AuthenticatedStream<TcpStream> {
        &mut self.stream
    }

    pub(crate) fn into_stream(self) -> AuthenticatedStream<TcpStream> {
        self.stream
    }

    /// Whether reading and writing have come to their end.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.ending.is_cut() {
            return false;
        }
        // As far as it goes without waiting: a peer that does not read is not waited for.
        let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        true
    }

    fn over<T>(&self) -> Poll<io::Result<T>> {
        let reason = self.ending.reason().map_or("dropped", DropReason::as_str);
        let problem = format!("this connection was ended on our side ({reason})");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, problem)))
    }

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
        if outcome.is_pending() && self.ending.is_cut_now(&self.ending.reader, cx.waker()) {
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
        if outcome.is_pending() && self.ending.is_cut_now(&self.ending.writer, cx.waker()) {
            self.is_over(cx);
            return self.over();
        }
        outcome
    }
}

impl AsyncRead for EndableStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_reading(cx, |stream, cx| stream.poll_read(cx, buffer))
    }
}

/// What is not consumed stays where it was decrypted: a connection that waits for data needs no buffer of its owner's.
impl AsyncBufRead for EndableStream {
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

impl AsyncWrite for EndableStream {
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

impl fmt::Debug for EndableStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}

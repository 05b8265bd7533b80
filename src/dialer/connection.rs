//! The connection that a dialer yields.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::endpoint::TyphaEndpoint;
use crate::AuthenticatedStream;
use crate::stream::{Acceptance, TlsFacts};
use crate::verifier::VerifiedPeer;

/// A connection to a Typha that was verified: an [`AuthenticatedStream`] that knows where it leads to.
#[derive(Debug)]
pub struct FelixConnection {
    stream: AuthenticatedStream<TcpStream>,
    endpoint: TyphaEndpoint,
}

impl FelixConnection {
    pub(super) fn new(endpoint: TyphaEndpoint, stream: AuthenticatedStream<TcpStream>) -> Self {
        Self { stream, endpoint }
    }

    /// Typha, as the verifier accepted it.
    pub fn peer(&self) -> &VerifiedPeer {
        self.stream.peer()
    }

    /// What was negotiated.
    pub fn tls(&self) -> &TlsFacts {
        self.stream.tls()
    }

    /// Whether Typha is known to have accepted our certificate.
    pub fn acceptance(&self) -> Acceptance {
        self.stream.acceptance()
    }

    /// Which of the Typhas it is.
    pub fn endpoint(&self) -> &TyphaEndpoint {
        &self.endpoint
    }

    /// The stream alone.
    pub fn into_stream(self) -> AuthenticatedStream<TcpStream> {
        self.stream
    }
}

impl AsyncRead for FelixConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncBufRead for FelixConnection {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().stream).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.stream).consume(amount);
    }
}

impl AsyncWrite for FelixConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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

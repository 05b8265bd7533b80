//! The connection that a dialer yields.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::endpoint::TyphaEndpoint;
use super::review::Review;
use crate::AuthenticatedStream;
use crate::lifetime::{ConnectionLifetime, DropReason, EndableStream, Ending, Loss, Standing};
use crate::stream::{Acceptance, TlsFacts};
use crate::tls_context::InForce;
use crate::verifier::{Rejection, VerifiedPeer};

/// A connection to a Typha that was verified: an [`AuthenticatedStream`] that knows where it leads to.
///
/// Typha is judged again when another configuration is in force; if it is trusted no longer, the connection is ended as
/// its [`ConnectionLifetime`] says: the owner is told by [`dropping`](Self::dropping), and 1 s later reading and
/// writing fail with [`io::ErrorKind::ConnectionAborted`].
#[derive(Debug)]
pub struct FelixConnection {
    stream: EndableStream,
    endpoint: TyphaEndpoint,
    standing: Arc<Standing>,
    _review: AbortOnDropHandle<()>,
}

impl FelixConnection {
    pub(super) fn new(
        endpoint: TyphaEndpoint,
        stream: AuthenticatedStream<TcpStream>,
        in_force: InForce<rustls::ClientConfig>,
        lifetime: ConnectionLifetime,
    ) -> Self {
        let (standing, ending) = (Arc::new(Standing::of(&stream)), Arc::<Ending>::default());
        let review = Review {
            endpoint: endpoint.clone(),
            standing: standing.clone(),
            ending: ending.clone(),
            in_force,
            lifetime,
        };
        let review = AbortOnDropHandle::new(tokio::spawn(review.run()));
        Self { stream: EndableStream::new(stream, ending), endpoint, standing, _review: review }
    }

    /// Typha, as the verifier accepted it.
    pub fn peer(&self) -> &VerifiedPeer {
        self.stream.stream().peer()
    }

    /// What was negotiated.
    pub fn tls(&self) -> &TlsFacts {
        self.stream.stream().tls()
    }

    /// Whether Typha is known to have accepted our certificate.
    pub fn acceptance(&self) -> Acceptance {
        self.stream.stream().acceptance()
    }

    /// The [generation](crate::FelixConnector::replace) of the configuration by which Typha was accepted.
    pub fn generation(&self) -> u64 {
        self.stream.stream().generation()
    }

    /// Which of the Typhas it is.
    pub fn endpoint(&self) -> &TyphaEndpoint {
        &self.endpoint
    }

    /// Cancelled when the dialer asks for the end of this connection. Clone it to take it elsewhere.
    pub fn dropping(&self) -> &CancellationToken {
        self.stream.ending().told()
    }

    /// Why the dialer asked for the end, if it did.
    pub fn drop_reason(&self) -> Option<DropReason> {
        self.stream.ending().reason()
    }

    /// Why Typha would not be accepted any more, if so, whether or not the connection is to be
    /// [closed](ConnectionLifetime) for it.
    pub fn lost_trust(&self) -> Option<Rejection> {
        self.standing.loss().as_ref().map(Loss::rejection).cloned()
    }

    pub(super) fn ending(&self) -> &Arc<Ending> {
        self.stream.ending()
    }

    /// The stream below, such as to ask the socket for its options.
    pub fn get_ref(&self) -> &AuthenticatedStream<TcpStream> {
        self.stream.stream()
    }

    /// The stream alone.
    ///
    /// # Security
    ///
    /// Its peer is not judged again: a Typha that is trusted no longer stays connected.
    pub fn into_stream(self) -> AuthenticatedStream<TcpStream> {
        self.stream.into_stream()
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

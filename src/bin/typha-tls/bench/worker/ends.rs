//! What an implementation has to offer, so that the loops around it are the same for all.

use std::future::Future;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Failure;
use crate::bench::protocol::Fresh;

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for IO {}

/// A connection after its handshake.
pub(super) struct Connected<S> {
    pub(super) stream: S,
    pub(super) resumed: bool,
}

pub(super) trait TyphaEnd: Send + Sync + 'static {
    /// Names and versions, for people.
    const VERSIONS: &'static str;

    type Stream<IO: Io>: Io;

    fn accept<IO: Io>(
        &self,
        io: IO,
    ) -> impl Future<Output = Result<Connected<Self::Stream<IO>>, Failure>> + Send;

    /// As [`accept`](Self::accept), with the options of TCP that belong to it.
    fn accept_tcp(
        &self,
        tcp: TcpStream,
    ) -> impl Future<Output = Result<Connected<Self::Stream<TcpStream>>, Failure>> + Send;
}

pub(super) trait FelixEnd: Send + Sync + Sized + 'static {
    /// Names and versions, for people.
    const VERSIONS: &'static str;

    type Stream<IO: Io>: Io;

    fn connect<IO: Io>(
        &self,
        io: IO,
    ) -> impl Future<Output = Result<Connected<Self::Stream<IO>>, Failure>> + Send;

    /// As [`connect`](Self::connect), with the options of TCP that belong to it. Sends the purpose of the connection.
    fn connect_tcp(
        &self,
        tcp: TcpStream,
        purpose: Purpose,
    ) -> impl Future<Output = Result<Connected<Self::Stream<TcpStream>>, Failure>> + Send;

    /// The same end with other chains, which no Typha has seen.
    fn fresh(&self, fresh: &Fresh) -> Result<Vec<Self>, Failure>;
}

/// The first byte of a connection.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    pub(super) byte: u8,
    /// It goes with the last message of Felix's handshake, where the implementation can do so.
    pub(super) rides: bool,
}

impl Purpose {
    pub(super) const ECHO: Self = Self { byte: b'e', rides: false };
    pub(super) const DOWNLOAD: Self = Self { byte: b'd', rides: false };
    pub(super) const UPLOAD: Self = Self { byte: b'u', rides: false };

    /// After a handshake.
    pub(super) async fn send(self, stream: &mut impl Io) -> Result<(), Failure> {
        stream.write_all(&[self.byte]).await?;
        Ok(stream.flush().await?)
    }
}

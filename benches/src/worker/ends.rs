//! What an implementation has to offer, so that the loops around it are the same for all.

use std::future::Future;

use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use typha_tls::stream::TlsFacts;

use super::Failure;
use crate::protocol::{self, Chains};

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for IO {}

/// A connection after its handshake.
pub(super) struct Connected<S> {
    pub(super) stream: S,
    pub(super) resumed: bool,
    /// Not of a session of TLS 1.2 that was resumed: it has no key exchange.
    pub(super) negotiated: Option<Negotiated>,
}

/// What both ends agreed on; spelled out only when it is told, which would cost each handshake something.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Negotiated {
    Ours(TlsFacts),
    Rustls(ProtocolVersion, CipherSuite, NamedGroup),
}

impl Negotiated {
    pub(super) fn told(self) -> protocol::Negotiated {
        match self {
            Self::Ours(facts) => protocol::Negotiated {
                version: facts.version().to_owned(),
                cipher_suite: facts.cipher_suite(),
                group: Some(facts.group()),
            },
            Self::Rustls(version, suite, group) => protocol::Negotiated {
                version: match version {
                    ProtocolVersion::TLSv1_2 => "1.2".to_owned(),
                    ProtocolVersion::TLSv1_3 => "1.3".to_owned(),
                    other => format!("{other:?}"),
                },
                // rustls has names of its own for the suites of TLS 1.3, and writes all groups in capitals.
                cipher_suite: format!("{suite:?}").replace("TLS13_", "TLS_"),
                group: Some(match group {
                    NamedGroup::X25519MLKEM768 => "X25519MLKEM768".to_owned(),
                    other => format!("{other:?}").to_lowercase(),
                }),
            },
        }
    }
}

pub(super) trait TyphaEnd: Send + Sync + 'static {
    /// Names and versions, for people.
    fn versions() -> String;

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
    fn versions() -> String;

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

    /// The same end with other chains, one each.
    fn with_chains(&self, chains: &Chains) -> Result<Vec<Self>, Failure>;
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

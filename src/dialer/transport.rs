//! What a dialer does on the network, apart from when and to whom.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::error::HandshakeError;
use crate::snapshot::OwnLeaf;
use crate::{AuthenticatedStream, FelixConnector};

/// TCP and TLS.
pub(super) trait Transport: Send + Sync {
    type Tcp: Send;
    type Stream: Send;

    fn dial(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Tcp>> + Send;

    /// Ends at `deadline`, which is where `bound` ends.
    fn handshake(
        &self,
        tcp: Self::Tcp,
        first_message: Vec<u8>,
        bound: Duration,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Stream, HandshakeError>> + Send;

    /// Our own leaf, if it is not valid now: a Typha that refuses us then is right.
    fn invalid_own_leaf(&self) -> Option<Arc<OwnLeaf>>;
}

impl Transport for FelixConnector {
    type Tcp = TcpStream;
    type Stream = AuthenticatedStream<TcpStream>;

    fn dial(&self, address: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> + Send {
        TcpStream::connect(address)
    }

    fn handshake(
        &self,
        tcp: TcpStream,
        first_message: Vec<u8>,
        bound: Duration,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Stream, HandshakeError>> + Send {
        self.connect_tcp_until(tcp, first_message, bound, deadline)
    }

    fn invalid_own_leaf(&self) -> Option<Arc<OwnLeaf>> {
        let snapshot = self.snapshot();
        let now = snapshot.now()?;
        Some(snapshot.own_leaf().clone()).filter(|leaf| !leaf.is_valid_at(now))
    }
}

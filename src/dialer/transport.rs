//! What a dialer does on the network, apart from when and to whom.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::error::HandshakeError;
use crate::identity::PeerIdentity;
use crate::{AuthenticatedStream, FelixConnector};

/// Our own leaf.
#[derive(Clone)]
pub(super) struct OwnLeaf {
    pub(super) identity: PeerIdentity,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
}

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
    fn invalid_own_leaf(&self) -> Option<OwnLeaf>;
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

    fn invalid_own_leaf(&self) -> Option<OwnLeaf> {
        let context = self.in_force.current();
        let own = &context.config.material.credentials;
        let (not_before, not_after) = (own.not_before(), own.not_after());
        let is_valid = (not_before..=not_after).contains(&context.now()?);
        (!is_valid).then(|| OwnLeaf { identity: own.identity().clone(), not_before, not_after })
    }
}

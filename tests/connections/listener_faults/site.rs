//! A listener, and peers of every kind for it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::SupportedProtocolVersion;
use rustls::version::TLS13;
use socket2::SockRef;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use typha_tls::listener::{
    ListenerHandle, ListenerLimits, ListenerStats, TyphaListener, TyphaListenerBuilder,
};
use typha_tls::testing::TestPki;
use typha_tls::{AuthenticatedStream, FelixConnector, HandshakeError};

use crate::hostile::{RawPeer, acceptor, client_config, connector, pki};

/// Beyond it, something hangs.
pub(crate) const HANG: Duration = Duration::from_secs(20);

pub(crate) const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A PKI, and where its Typha listens.
pub(crate) struct Site {
    pub(crate) pki: TestPki,
    pub(crate) felix: FelixConnector,
    pub(crate) handle: ListenerHandle,
}

/// Many handshakes and connections take descriptors; both ends are in this process.
pub(crate) fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

impl Site {
    pub(crate) async fn new(handshake_timeout: Duration, limits: ListenerLimits) -> (Self, TyphaListener) {
        Self::with(handshake_timeout, |builder| builder.limits(limits)).await
    }

    pub(crate) async fn with(
        handshake_timeout: Duration,
        change: impl FnOnce(TyphaListenerBuilder) -> TyphaListenerBuilder,
    ) -> (Self, TyphaListener) {
        Self::speaking(&TLS13, handshake_timeout, change).await
    }

    pub(crate) async fn speaking(
        version: &SupportedProtocolVersion,
        handshake_timeout: Duration,
        change: impl FnOnce(TyphaListenerBuilder) -> TyphaListenerBuilder,
    ) -> (Self, TyphaListener) {
        raise_descriptor_limit();
        let pki = pki();
        let acceptor = acceptor(&pki, version).with_handshake_timeout(handshake_timeout);
        let listener = change(TyphaListener::builder(acceptor)).bind("127.0.0.1:0").await.unwrap();
        let felix = connector(&pki, version);
        (Self { felix, handle: listener.handle(), pki }, listener)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// A TCP connection from an address of the loopback network.
    pub(crate) async fn tcp(&self, from: impl Into<IpAddr>) -> TcpStream {
        self.try_tcp(from).await.unwrap()
    }

    /// One that may be reset as soon as it is there.
    pub(crate) async fn try_tcp(&self, from: impl Into<IpAddr>) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        // Many connections from one address; the port is chosen when the other end is known.
        let option = SockRef::from(&socket);
        option.set_reuse_address(true).unwrap();
        socket.bind(SocketAddr::new(from.into(), 0)).unwrap();
        bounded("connecting", socket.connect(self.address())).await
    }

    /// A good Felix.
    pub(crate) async fn connect(
        &self,
        from: Ipv4Addr,
    ) -> Result<AuthenticatedStream<TcpStream>, HandshakeError> {
        let tcp = self.tcp(from).await;
        bounded("a handshake", self.felix.connect_tcp(tcp)).await
    }

    /// A Felix that goes step by step.
    pub(crate) async fn raw(
        &self,
        from: impl Into<IpAddr>,
        version: &'static SupportedProtocolVersion,
    ) -> RawPeer<TcpStream> {
        RawPeer::client(client_config(Some(&self.pki.felix), version), self.tcp(from).await)
    }

    pub(crate) fn stats(&self) -> ListenerStats {
        self.handle.stats()
    }

    /// Waits until the counts are as wanted.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&ListenerStats) -> bool) {
        let deadline = Instant::now() + HANG;
        while !is_so(&self.stats()) {
            assert!(Instant::now() < deadline, "not so: {what}; {:?}", self.stats());
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until everything is given back.
    pub(crate) async fn until_idle(&self) {
        self.until("all is given back", |stats| stats.queued + stats.in_handshake + stats.active == 0).await;
    }
}

/// Hands every connection to a task that echoes until its end.
pub(crate) fn serve(mut listener: TyphaListener) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(connection) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(connection);
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    })
}

/// The outcome, which must come before the test is taken to hang.
pub(crate) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(HANG, future).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

/// Reads until the other end has closed or reset the connection.
pub(crate) async fn closed(tcp: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while bounded("waiting for the end", tcp.read(&mut buffer)).await.is_ok_and(|length| length > 0) {}
}

/// Ends a connection with a reset.
pub(crate) fn reset(tcp: TcpStream) {
    SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
    drop(tcp);
}

/// The counters of one kind that are not zero.
pub(crate) fn counts<const N: usize>(expected: [(&'static str, u64); N]) -> BTreeMap<&'static str, u64> {
    BTreeMap::from(expected)
}

/// All that a listener has done with connections.
pub(crate) fn total(stats: &ListenerStats) -> u64 {
    stats.accepted + stats.probed + stats.not_accepted() + stats.shed.values().sum::<u64>()
}

pub(crate) fn assert_within(what: impl Debug, took: Duration, at_least: Duration, at_most: Duration) {
    assert!(took >= at_least && took <= at_most, "{what:?}: {took:?}, not {at_least:?} to {at_most:?}");
}

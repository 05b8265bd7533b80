//! A listener, and Felixes to connect to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use typha_tls::Connection;
use typha_tls::listener::{
    FailedHandshake, ListenerHandle, ListenerLimits, ListenerStats, TyphaListenerBuilder,
};
use typha_tls::testing::{self, CertificateSpec, FELIX_COMMON_NAME, TYPHA_COMMON_NAME, TestPki};
use typha_tls::{
    AuthenticatedStream, FelixConnector, HandshakeError, RequiredIdentity, TyphaAcceptor, TyphaListener,
};

pub(crate) type Stream = AuthenticatedStream<TcpStream>;

static PKI: LazyLock<TestPki> = LazyLock::new(|| TestPki::new().unwrap());

/// Requires the Common Name alone.
pub(crate) fn acceptor() -> TyphaAcceptor {
    testing::acceptor(&PKI.ca, &PKI.typha, RequiredIdentity::common_name(FELIX_COMMON_NAME).unwrap()).unwrap()
}

pub(crate) fn connector() -> FelixConnector {
    PKI.connector().unwrap()
}

/// A Felix of the right CA and with the wrong name.
pub(crate) fn stranger() -> FelixConnector {
    let leaf = PKI.ca.issue(CertificateSpec::leaf("stranger")).unwrap();
    testing::connector(&PKI.ca, &leaf, RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap()).unwrap()
}

pub(crate) fn limits() -> ListenerLimits {
    ListenerLimits::default()
}

pub(crate) fn limited(change: impl FnOnce(&mut ListenerLimits)) -> ListenerLimits {
    let mut limits = limits();
    change(&mut limits);
    limits
}

pub(crate) fn builder(limits: ListenerLimits) -> TyphaListenerBuilder {
    TyphaListener::builder(acceptor()).limits(limits)
}

pub(crate) async fn listen(limits: ListenerLimits) -> TyphaListener {
    builder(limits).bind("127.0.0.1:0").await.unwrap()
}

/// As [`listen`], with all failed handshakes.
pub(crate) async fn listen_and_watch(
    acceptor: TyphaAcceptor,
    limits: ListenerLimits,
) -> (TyphaListener, mpsc::UnboundedReceiver<FailedHandshake>) {
    let (sender, failed) = mpsc::unbounded_channel();
    let builder = TyphaListener::builder(acceptor)
        .limits(limits)
        .on_failed_handshake(move |handshake| sender.send(handshake).unwrap());
    (builder.bind("127.0.0.1:0").await.unwrap(), failed)
}

/// Connects, from one of the addresses of this machine: 127.0.0.NUMBER.
pub(crate) async fn tcp_from(number: u8, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, number)), 0).into()).unwrap();
    bounded(socket.connect(address)).await.unwrap()
}

pub(crate) async fn tcp(address: SocketAddr) -> TcpStream {
    tcp_from(1, address).await
}

pub(crate) async fn connect(address: SocketAddr) -> Result<Stream, HandshakeError> {
    bounded(connector().connect_tcp(tcp(address).await)).await
}

/// As [`connect`], to a Typha that is busy for long.
pub(crate) async fn connect_patiently(address: SocketAddr) -> Result<Stream, HandshakeError> {
    let connector = connector().with_handshake_timeout(PATIENCE);
    bounded(connector.connect_tcp(tcp(address).await)).await
}

/// A connection, as both ends have it.
pub(crate) async fn pair(listener: &mut TyphaListener) -> (Connection, Stream) {
    let address = listener.local_addr();
    let (typha, felix) = tokio::join!(bounded(listener.accept()), connect(address));
    (typha.unwrap(), felix.unwrap())
}

/// What a Felix sends first.
pub(crate) async fn client_hello() -> Vec<u8> {
    let (felix, mut wire) = duplex(64 * 1024);
    let handshake = tokio::spawn(connector().connect(felix));
    let mut header = [0; 5];
    wire.read_exact(&mut header).await.unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    wire.read_exact(&mut message).await.unwrap();
    handshake.abort();
    [&header[..], &message].concat()
}

/// A connection that has sent this.
pub(crate) async fn sent(number: u8, address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut tcp = tcp_from(number, address).await;
    tcp.write_all(bytes).await.unwrap();
    tcp
}

/// How the other end has closed a connection that it has sent nothing on.
pub(crate) async fn ending(mut tcp: TcpStream) -> Result<(), io::ErrorKind> {
    match bounded(tcp.read(&mut [0])).await {
        Ok(0) => Ok(()),
        Ok(_) => panic!("something came"),
        Err(error) => Err(error.kind()),
    }
}

/// As [`listen`], with time for hundreds of handshakes at once on a slow machine. By default, those that wait give up.
pub(crate) async fn listen_patiently(limits: ListenerLimits) -> TyphaListener {
    let acceptor = acceptor().with_handshake_timeout(PATIENCE);
    TyphaListener::builder(acceptor).limits(limits).bind("127.0.0.1:0").await.unwrap()
}

const PATIENCE: Duration = Duration::from_secs(300);

/// Far more than anything here takes.
pub(crate) async fn bounded<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Waits until the counts are so.
pub(crate) async fn until(
    handle: &ListenerHandle,
    reached: impl Fn(&ListenerStats) -> bool,
) -> ListenerStats {
    bounded(async {
        loop {
            let stats = handle.stats();
            if reached(&stats) {
                return stats;
            }
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

/// Whether a connection is alive in both directions.
pub(crate) async fn is_alive(typha: &mut Connection, felix: &mut Stream) -> bool {
    let mut byte = [0];
    bounded(async {
        felix.write_all(b"x").await.unwrap();
        typha.read_exact(&mut byte).await.unwrap();
        typha.write_all(b"y").await.unwrap();
        felix.read_exact(&mut byte).await.unwrap();
    })
    .await;
    byte == *b"y"
}

/// What Felix reads at the end of a connection: what was sent, if `close_notify` came after it.
pub(crate) async fn last_words(felix: &mut Stream) -> io::Result<String> {
    let mut text = String::new();
    bounded(felix.read_to_string(&mut text)).await.map(|_| text)
}

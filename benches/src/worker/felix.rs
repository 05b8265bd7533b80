//! Felix's end: the load. What its requests have in common.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use typha_tls::error::WithCauses;

use super::Failure;
use super::clients::Clients;
use super::ends::{Connected, FelixEnd, Io, Purpose};

/// Bounds everything that is done on a new connection, so that no request waits for ever.
const LIMIT: Duration = Duration::from_secs(10);

/// Pause when all local ports are taken.
const PORT_PAUSE: Duration = Duration::from_millis(10);

pub(super) struct Load<F: FelixEnd> {
    pub(super) felix: Arc<F>,
    pub(super) clients: Clients<F>,
    pub(super) held: Vec<F::Stream<TcpStream>>,
}

impl<F: FelixEnd> Load<F> {
    pub(super) fn new(felix: F) -> Self {
        let felix = Arc::new(felix);
        Self { clients: Clients::own(felix.clone()), felix, held: Vec::new() }
    }
}

pub(super) fn parse_address(address: &str) -> Result<SocketAddr, Failure> {
    address.parse().map_err(|error| format!("{address:?} is not an address to connect to: {error}").into())
}

pub(super) fn text(failure: &Failure) -> String {
    WithCauses(&**failure).to_string()
}

/// No step of `future` may hang.
pub(super) async fn bounded<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match timeout(LIMIT, future).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("not done within {} s", LIMIT.as_secs()).into()),
    }
}

/// A TCP connection, and when the attempt began that led to it.
///
/// The end that closes first, Felix's, keeps the local port for a while: a minute, or a second on loopback where Linux may
/// use such ports again. While none is free, this waits; the attempts that failed for it are not counted.
pub(super) async fn dial(address: SocketAddr) -> io::Result<(TcpStream, Instant)> {
    loop {
        let begun = Instant::now();
        match TcpStream::connect(address).await {
            Ok(tcp) => return Ok((tcp, begun)),
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => sleep(PORT_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

/// Handshake, one byte there and one back: both ends are known to be done.
pub(super) async fn open<F: FelixEnd>(
    felix: &F,
    tcp: TcpStream,
    rides: bool,
) -> Result<Connected<F::Stream<TcpStream>>, Failure> {
    let mut connected = felix.connect_tcp(tcp, Purpose { rides, ..Purpose::ECHO }).await?;
    receive_byte(&mut connected.stream).await?;
    Ok(connected)
}

async fn receive_byte(stream: &mut impl Io) -> io::Result<()> {
    stream.read_exact(&mut [0]).await.map(drop)
}

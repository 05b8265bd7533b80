//! The remote and local addresses of the connections.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

/// The pause if all local ports are in use.
const PORT_PAUSE: Duration = Duration::from_millis(10);

/// How often another local port is tried at once if one is in use. With a source address of our own, the system picks
/// ports without regard to the destination.
const QUICK_TRIES: u32 = 4;

/// Why there is no address to connect to.
#[derive(Debug, Error)]
pub(super) enum TargetError {
    #[error(
        "--sources and --stalled-sources need a Typha at an IPv4 loopback address (127.0.0.0/8), and {0} has none"
    )]
    NotOnLoopback(String),
    #[error("{name} can not be resolved")]
    Unresolved {
        name: String,
        #[source]
        cause: io::Error,
    },
}

pub(super) struct Target {
    addresses: Vec<SocketAddr>,
    timeout: Duration,
    port_waits: AtomicU64,
}

impl Target {
    /// Resolves the name once, because a storm does not test name resolution. `on_loopback` takes only addresses that
    /// can be reached from a source address of ours.
    pub(super) async fn resolve(
        name: &str,
        on_loopback: bool,
        timeout: Duration,
    ) -> Result<Self, TargetError> {
        let unresolved = |cause| TargetError::Unresolved { name: name.to_owned(), cause };
        let mut addresses: Vec<_> = lookup_host(name).await.map_err(unresolved)?.collect();
        if addresses.is_empty() {
            return Err(unresolved(io::Error::from(ErrorKind::NotFound)));
        }
        if on_loopback {
            addresses.retain(|address| matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback()));
            if addresses.is_empty() {
                return Err(TargetError::NotOnLoopback(name.to_owned()));
            }
        }
        Ok(Self { addresses, timeout, port_waits: AtomicU64::new(0) })
    }

    /// Makes a TCP connection, from `source` if there is one. Also returns when its attempt began. An error of the kind
    /// `TimedOut` also means that the bound was exceeded.
    ///
    /// The end that closes first keeps the local port for a while, unless the other end resets. If no port is free,
    /// this waits; attempts that fail for that reason are not counted.
    pub(super) async fn dial(&self, source: Option<Ipv4Addr>) -> io::Result<(TcpStream, Instant)> {
        let dial = async {
            let mut tries = 0;
            loop {
                let begun = Instant::now();
                match self.connect(source).await {
                    Err(error)
                        if matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse) =>
                    {
                        tries += 1;
                        if source.is_none() || tries >= QUICK_TRIES {
                            self.port_waits.fetch_add(1, Relaxed);
                            sleep(PORT_PAUSE).await;
                        }
                    }
                    connected => return connected.map(|tcp| (tcp, begun)),
                }
            }
        };
        timeout(self.timeout, dial).await?
    }

    /// Tries the addresses in order.
    async fn connect(&self, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
        let mut last = io::Error::from(ErrorKind::NotFound);
        for address in &self.addresses {
            let connected = match source {
                None => TcpStream::connect(address).await,
                Some(source) => connect_from(source, *address).await,
            };
            match connected {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// How often a connection had to wait for a local port.
    pub(super) fn port_waits(&self) -> u64 {
        self.port_waits.load(Relaxed)
    }
}

async fn connect_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Without it, a port is not used again for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind((source, 0).into())?;
    socket.connect(address).await
}

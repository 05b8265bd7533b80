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

/// The first source address. 127.0.0.1 is mostly Typha's.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Why there is no address to connect to.
#[derive(Debug, Error)]
pub(super) enum TargetError {
    #[error("--sources is for a Typha on IPv4 loopback, and {0} is not there")]
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
    sources: Option<u32>,
    timeout: Duration,
    port_waits: AtomicU64,
}

impl Target {
    /// Resolves the name once, because a storm does not test name resolution.
    pub(super) async fn resolve(
        name: &str,
        sources: Option<u32>,
        timeout: Duration,
    ) -> Result<Self, TargetError> {
        let unresolved = |cause| TargetError::Unresolved { name: name.to_owned(), cause };
        let mut addresses: Vec<_> = lookup_host(name).await.map_err(unresolved)?.collect();
        if addresses.is_empty() {
            return Err(unresolved(io::Error::from(ErrorKind::NotFound)));
        }
        if sources.is_some() {
            addresses.retain(|address| matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback()));
            if addresses.is_empty() {
                return Err(TargetError::NotOnLoopback(name.to_owned()));
            }
        }
        Ok(Self { addresses, sources, timeout, port_waits: AtomicU64::new(0) })
    }

    /// Makes a TCP connection. Also returns when its attempt began. An error of the kind `TimedOut` also means that the
    /// bound was exceeded.
    ///
    /// The end that closes first keeps the local port for a while, unless the other end resets. If no port is free,
    /// this waits; attempts that fail for that reason are not counted.
    pub(super) async fn dial(&self, turn: u32) -> io::Result<(TcpStream, Instant)> {
        let dial = async {
            let mut tries = 0;
            loop {
                let begun = Instant::now();
                match self.connect(turn).await {
                    Err(error)
                        if matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse) =>
                    {
                        tries += 1;
                        if self.sources.is_none() || tries >= QUICK_TRIES {
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
    async fn connect(&self, turn: u32) -> io::Result<TcpStream> {
        let mut last = io::Error::from(ErrorKind::NotFound);
        for address in &self.addresses {
            let connected = match self.sources {
                None => TcpStream::connect(address).await,
                Some(sources) => connect_from(source(turn, sources), *address).await,
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

fn source(turn: u32, sources: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_SOURCE.to_bits() + turn.checked_rem(sources).unwrap_or(0))
}

async fn connect_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Without it, a port is not used again for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind((source, 0).into())?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_take_turns() {
        let sources = [0, 1, 2, 3].map(|turn| source(turn, 3).to_string());
        assert_eq!(sources, ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.2"]);
        assert_eq!(source(253, 1000), Ipv4Addr::new(127, 0, 0, 255));
        assert_eq!(source(999_999, 1_000_000), Ipv4Addr::new(127, 15, 66, 65));
    }
}

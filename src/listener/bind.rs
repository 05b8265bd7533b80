//! The socket that a listener listens on.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, ToSocketAddrs, lookup_host};

use crate::tcp;

/// Connections that the system keeps until they are accepted. A system setting may reduce it.
const BACKLOG: i32 = 4096;

/// Listens on the first of the addresses that works. `::` includes IPv4, and means IPv4 only on a system without IPv6.
pub(super) async fn bind(
    address: impl ToSocketAddrs,
    keepalive: Option<Duration>,
) -> io::Result<TcpListener> {
    let mut failure = None;
    for address in lookup_host(address).await? {
        let bound = socket_at(address).or_else(|error| match address {
            SocketAddr::V6(v6) if *v6.ip() == Ipv6Addr::UNSPECIFIED && is_no_ipv6(&error) => {
                socket_at((Ipv4Addr::UNSPECIFIED, v6.port()).into())
            }
            _ => Err(error),
        });
        match bound.and_then(|socket| adopt(socket.into(), keepalive)) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                let problem = format!("can not listen on {address}: {error}");
                failure = Some(io::Error::new(error.kind(), problem));
            }
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address")))
}

/// Takes over a bound socket.
pub(super) fn adopt(listener: std::net::TcpListener, keepalive: Option<Duration>) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    // A bound socket may not listen yet. If it does, this sets the backlog.
    SockRef::from(&listener).listen(BACKLOG)?;
    tcp::configure_listening(&SockRef::from(&listener), keepalive)?;
    TcpListener::from_std(listener)
}

fn socket_at(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted Typha can bind while connections of the previous one linger. On other systems the option would take
    // over the port of a live process.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if let SocketAddr::V6(v6) = address {
        socket.set_only_v6(*v6.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn is_no_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || is_family_not_supported(error)
}

/// The standard library has no error kind for this.
#[cfg(unix)]
fn is_family_not_supported(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::AFNOSUPPORT)
}

#[cfg(not(unix))]
fn is_family_not_supported(_: &io::Error) -> bool {
    false
}

//! Options of the TCP connection under TLS.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The time without data before the first TCP keep-alive probe, and between probes: 15 s, as Go sets it on every
/// connection, and so Calico.
pub(crate) const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(15);

/// The range that every system accepts; Linux refuses more than 32767 s.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(9 * 3600);

/// Sets `TCP_NODELAY`, without which Nagle's algorithm holds handshake messages back for 40 ms, and keep-alive.
pub(crate) fn configure(stream: &TcpStream, keepalive: Option<Duration>) -> io::Result<()> {
    set_options(&SockRef::from(stream), keepalive)
}

/// Sets the options of a listening socket. On Linux, accepted sockets inherit them, which saves four system calls for
/// each.
pub(crate) fn configure_listening(socket: &SockRef<'_>, keepalive: Option<Duration>) -> io::Result<()> {
    if cfg!(target_os = "linux") { set_options(socket, keepalive) } else { Ok(()) }
}

/// Sets the options that an accepted socket does not inherit from the listening one.
pub(crate) fn configure_accepted(stream: &TcpStream, keepalive: Option<Duration>) -> io::Result<()> {
    if cfg!(target_os = "linux") { Ok(()) } else { configure(stream, keepalive) }
}

/// Makes a later close a reset. If that can not be set, the close is an orderly one.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn set_options(socket: &SockRef<'_>, keepalive: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let Some(keepalive) = keepalive.map(|time| time.clamp(SHORTEST, LONGEST)) else { return Ok(()) };
    let parameters = socket2::TcpKeepalive::new().with_time(keepalive);
    #[cfg(any(target_os = "android", target_os = "ios", target_os = "linux", target_os = "macos", windows))]
    let parameters = parameters.with_interval(keepalive);
    socket.set_tcp_keepalive(&parameters)
}

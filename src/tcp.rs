//! Options of the TCP connection under TLS.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// TCP keep-alive probes, which find a peer that is gone without a word.
///
/// The default, 15 s before the first probe and 15 s between probes, is what Go sets on every connection and so what
/// Calico has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TcpKeepalive {
    /// Time without data before the first probe; from 1 s to 9 h, and brought into that range if it is not.
    pub idle: Duration,
    /// Time between probes; else as `idle`. Not settable on every platform; ignored where it is not.
    pub interval: Duration,
}

impl TcpKeepalive {
    /// These times.
    pub fn new(idle: Duration, interval: Duration) -> Self {
        Self { idle, interval }
    }
}

impl Default for TcpKeepalive {
    fn default() -> Self {
        Self::new(Duration::from_secs(15), Duration::from_secs(15))
    }
}

/// What every system takes; Linux refuses more than 32767 s.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(9 * 3600);

/// Sets `TCP_NODELAY`, without which Nagle's algorithm holds handshake messages back for 40 ms, and keep-alive.
pub(crate) fn configure(stream: &TcpStream, keepalive: Option<TcpKeepalive>) -> io::Result<()> {
    set_options(&SockRef::from(stream), keepalive)
}

/// On Linux, the sockets that a listening one accepts have its options: four system calls less for each.
pub(crate) fn configure_listening(socket: &SockRef<'_>, keepalive: Option<TcpKeepalive>) -> io::Result<()> {
    if cfg!(target_os = "linux") { set_options(socket, keepalive) } else { Ok(()) }
}

/// Sets what an accepted socket does not have from the listening one.
pub(crate) fn configure_accepted(stream: &TcpStream, keepalive: Option<TcpKeepalive>) -> io::Result<()> {
    if cfg!(target_os = "linux") { Ok(()) } else { configure(stream, keepalive) }
}

/// Closing it will be a reset. If that can not be set, closing says goodbye.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn set_options(socket: &SockRef<'_>, keepalive: Option<TcpKeepalive>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let Some(keepalive) = keepalive else { return Ok(()) };
    let parameters = socket2::TcpKeepalive::new().with_time(keepalive.idle.clamp(SHORTEST, LONGEST));
    #[cfg(any(target_os = "android", target_os = "ios", target_os = "linux", target_os = "macos", windows))]
    let parameters = parameters.with_interval(keepalive.interval.clamp(SHORTEST, LONGEST));
    socket.set_tcp_keepalive(&parameters)
}

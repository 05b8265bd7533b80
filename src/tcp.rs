//! Options of the TCP connection under TLS.

use std::io;
use std::net::Shutdown;
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

/// Makes a later close a reset, or again an orderly one. If that can not be set, the close stays what it was.
pub(crate) fn set_reset_on_close(stream: &TcpStream, resets: bool) {
    let _ = SockRef::from(stream).set_linger(resets.then_some(Duration::ZERO));
}

/// Resets a connection whose owner may still hold it.
#[cfg(target_os = "linux")]
pub(crate) fn reset(stream: &TcpStream) -> io::Result<()> {
    // Linux takes it for "not connected any more" (RFC 9293, section 3.10.5: ABORT).
    Ok(rustix::net::connect_unspec(stream)?)
}

/// As far as the system can: other systems end it, and reset it only when it is closed.
#[cfg(not(target_os = "linux"))]
pub(crate) fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).shutdown(Shutdown::Both)
}

/// Closes a connection in order: the peer sees an end and no reset, unless it sends more meanwhile.
pub(crate) fn close_in_order(stream: TcpStream) {
    // It fails if the peer has already ended the connection.
    let _ = SockRef::from(&stream).shutdown(Shutdown::Write);
    discard_received(&stream);
}

/// The most bytes that are discarded before a connection is closed: as much as one read of TLS takes at a time.
#[cfg(unix)]
const MAX_DISCARDED: usize = 64 * 1024;

/// Reads what has arrived, without waiting, because closing with unread data resets the connection. A reset can destroy
/// the alert that was sent before.
#[cfg(unix)]
pub(crate) fn discard_received(stream: &TcpStream) {
    use rustix::net::{RecvFlags, recv};

    let mut buffer = [0; 4096];
    for _ in 0..MAX_DISCARDED / buffer.len() {
        match recv(stream, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, received)) if received == buffer.len() => {}
            _ => return,
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn discard_received(stream: &TcpStream) {
    let mut buffer = [0; 4096];
    while stream.try_read(&mut buffer).is_ok_and(|received| received == buffer.len()) {}
}

fn set_options(socket: &SockRef<'_>, keepalive: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let Some(keepalive) = keepalive.map(|time| time.clamp(SHORTEST, LONGEST)) else { return Ok(()) };
    let parameters = socket2::TcpKeepalive::new().with_time(keepalive);
    #[cfg(any(target_os = "android", target_os = "ios", target_os = "linux", target_os = "macos", windows))]
    let parameters = parameters.with_interval(keepalive);
    socket.set_tcp_keepalive(&parameters)
}

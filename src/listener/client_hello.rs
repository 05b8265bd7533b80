//! Waits for a peer's first message, before anything is spent on it.

use std::io;

use tokio::net::TcpStream;

/// The first thing that a peer did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Beginning {
    /// It sent its whole first TLS record, or bytes that are not TLS. The handshake reports the latter.
    Message,
    /// It closed the connection without having sent a byte.
    Nothing,
}

/// Waits until the peer's first record has arrived, without consuming it. So half a ClientHello (RFC 8446 section
/// 4.1.2) costs a socket and no handshake. `begun` becomes true when the first byte has arrived.
#[cfg(unix)]
pub(super) async fn arrival(tcp: &TcpStream, begun: &mut bool) -> io::Result<Beginning> {
    use tokio::io::Interest;

    loop {
        let ready = tcp.ready(Interest::READABLE).await?;
        match tcp.try_io(Interest::READABLE, || peek(tcp, ready.is_read_closed(), begun)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Load balancers end their probes with a reset.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !*begun => {
                return Ok(Beginning::Nothing);
            }
            seen => return seen,
        }
    }
}

/// Whether the peer's first record has already arrived.
#[cfg(unix)]
pub(super) fn has_arrived(tcp: &TcpStream) -> bool {
    matches!(peek(tcp, false, &mut false), Ok(Beginning::Message))
}

#[cfg(not(unix))]
pub(super) fn has_arrived(_: &TcpStream) -> bool {
    false
}

/// On other systems the first byte must suffice.
#[cfg(not(unix))]
pub(super) async fn arrival(tcp: &TcpStream, begun: &mut bool) -> io::Result<Beginning> {
    *begun = tcp.peek(&mut [0]).await? > 0;
    Ok(if *begun { Beginning::Message } else { Beginning::Nothing })
}

/// Larger than any ClientHello. Of a longer record, this many bytes suffice.
#[cfg(unix)]
const PEEK_LENGTH: usize = 4096;

#[cfg(unix)]
fn peek(tcp: &TcpStream, closed: bool, begun: &mut bool) -> io::Result<Beginning> {
    use rustix::net::{RecvFlags, recv};

    let mut buffer = [0; PEEK_LENGTH];
    let (_, received) = recv(tcp, &mut buffer[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    *begun |= received > 0;
    match buffer.get(..received) {
        Some([]) => Ok(Beginning::Nothing),
        Some(bytes) if closed || is_message(bytes) => Ok(Beginning::Message),
        _ => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Whether these bytes hold a whole TLS record, or can not become one (RFC 8446 section 5.1).
#[cfg(unix)]
fn is_message(bytes: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    const MAX_LENGTH: usize = 16 * 1024;
    match *bytes {
        [HANDSHAKE] | [HANDSHAKE, 3] | [HANDSHAKE, 3, _] | [HANDSHAKE, 3, _, _] => false,
        [HANDSHAKE, 3, _, high, low, ref payload @ ..] => {
            let length = usize::from(u16::from_be_bytes([high, low]));
            payload.len() >= length || length > MAX_LENGTH || bytes.len() >= PEEK_LENGTH
        }
        _ => true,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_waited_for() {
        for part in
            [&[22][..], &[22, 3], &[22, 3, 1], &[22, 3, 1, 0], &[22, 3, 1, 0, 2], &[22, 3, 1, 0, 2, 9]]
        {
            assert!(!is_message(part), "{part:?}");
        }
        assert!(is_message(&[22, 3, 1, 0, 2, 9, 9]));
        assert!(is_message(&[22, 3, 1, 0, 2, 9, 9, 22]));
    }

    #[test]
    fn what_is_no_record_is_not_waited_for() {
        for other in [&b"GET / HTTP/1.1"[..], b"G", &[22, 2], &[21, 3, 1, 0, 2], &[22, 3, 3, 0x40, 1, 9]] {
            assert!(is_message(other), "{other:?}");
        }
    }

    #[test]
    fn of_a_long_record_a_part_will_do() {
        let mut long = vec![0; PEEK_LENGTH];
        long[..5].copy_from_slice(&[22, 3, 1, 0x3f, 0xff]);
        assert!(is_message(&long));
        assert!(!is_message(&long[..PEEK_LENGTH - 1]));
    }
}

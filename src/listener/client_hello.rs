//! Waits for a peer's first message, before anything is spent on it.

use std::io;

use tokio::net::TcpStream;

/// What a peer began with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Beginning {
    /// Its first TLS record, whole; or what is none, which the handshake will say.
    Message,
    /// It closed the connection without having sent a byte.
    Nothing,
}

/// Waits until the peer's first record is there, without taking it. Half a ClientHello (RFC 8446 section 4.1.2) thus
/// costs a socket and no handshake. `begun` becomes true when there is a first byte.
#[cfg(unix)]
pub(super) async fn arrival(tcp: &TcpStream, begun: &mut bool) -> io::Result<Beginning> {
    use tokio::io::Interest;

    loop {
        let ready = tcp.ready(Interest::READABLE).await?;
        match tcp.try_io(Interest::READABLE, || look(tcp, ready.is_read_closed(), begun)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // As load balancers end their probes.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !*begun => {
                return Ok(Beginning::Nothing);
            }
            seen => return seen,
        }
    }
}

/// What is there already.
#[cfg(unix)]
pub(super) fn has_arrived(tcp: &TcpStream) -> bool {
    matches!(look(tcp, false, &mut false), Ok(Beginning::Message))
}

#[cfg(not(unix))]
pub(super) fn has_arrived(_: &TcpStream) -> bool {
    false
}

/// Elsewhere the first bytes must do.
#[cfg(not(unix))]
pub(super) async fn arrival(tcp: &TcpStream, begun: &mut bool) -> io::Result<Beginning> {
    *begun = tcp.peek(&mut [0]).await? > 0;
    Ok(if *begun { Beginning::Message } else { Beginning::Nothing })
}

/// More than any ClientHello has; of a longer record so much will do.
#[cfg(unix)]
const LOOK_AHEAD: usize = 4096;

#[cfg(unix)]
fn look(tcp: &TcpStream, closed: bool, begun: &mut bool) -> io::Result<Beginning> {
    use rustix::net::{RecvFlags, recv};

    let mut buffer = [0; LOOK_AHEAD];
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
            payload.len() >= length || length > MAX_LENGTH || bytes.len() >= LOOK_AHEAD
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
        let mut long = vec![0; LOOK_AHEAD];
        long[..5].copy_from_slice(&[22, 3, 1, 0x3f, 0xff]);
        assert!(is_message(&long));
        assert!(!is_message(&long[..LOOK_AHEAD - 1]));
    }
}

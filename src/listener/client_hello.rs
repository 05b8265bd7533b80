//! Receives a peer's first message, before anything else is spent on the peer.

use std::io;

use bytes::BytesMut;
use rustls::{AlertDescription, ContentType, HandshakeType, InvalidMessage};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::error::{HandshakeError, HandshakePhase};
use crate::handshake::{is_not_tls, not_tls};

/// The ClientHello of a peer (RFC 8446 section 4.1.2), as far as it has arrived. Until it is complete, the peer costs a
/// socket and these bytes, and no handshake.
#[derive(Debug, Default)]
pub(super) struct ClientHello(BytesMut);

/// Why a peer gets no handshake.
#[derive(Debug)]
pub(super) enum NoClientHello {
    /// It ended the connection before it sent a byte, as probes do.
    Probe,
    /// Receiving failed, timed out or ended early; or the bytes can not become a ClientHello, and the peer gets the
    /// alert.
    Failed(HandshakeError, Option<AlertDescription>),
}

/// The most bytes of a ClientHello: one record of the largest size. A client with post-quantum key exchange sends less
/// than 2 KiB. rustls would take 64 KiB.
const MAX_LENGTH: usize = 16 * 1024;

impl ClientHello {
    /// Waits until the message is complete.
    pub(super) async fn arrival(&mut self, tcp: &TcpStream) -> Result<(), NoClientHello> {
        let failed = |error| Err(NoClientHello::Failed(HandshakeError::Io(error), None));
        loop {
            if let Err(error) = tcp.readable().await {
                return failed(error);
            }
            match tcp.try_io(Interest::READABLE, || self.receive(tcp)) {
                Ok(outcome) => return outcome,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return failed(error),
            }
        }
    }

    /// Receives what has arrived, whether tokio knows of it or not.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the message is not complete yet.
    pub(super) fn receive(&mut self, tcp: &TcpStream) -> io::Result<Result<(), NoClientHello>> {
        let mut piece = [0; 4096];
        loop {
            match recv(tcp, &mut piece) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // Load balancers end their probes with a reset.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && self.0.is_empty() => {
                    return Ok(Err(NoClientHello::Probe));
                }
                Err(error) => return Ok(Err(NoClientHello::Failed(HandshakeError::Io(error), None))),
                Ok(0) if self.0.is_empty() => return Ok(Err(NoClientHello::Probe)),
                Ok(0) => {
                    let phase = HandshakePhase::Negotiating;
                    return Ok(Err(NoClientHello::Failed(HandshakeError::Closed { phase }, None)));
                }
                Ok(length) => self.0.extend_from_slice(piece.get(..length).unwrap_or_default()),
            }
            match is_complete(&self.0) {
                Ok(true) => return Ok(Ok(())),
                Ok(false) => {}
                Err((error, alert)) => return Ok(Err(NoClientHello::Failed(error, Some(alert)))),
            }
        }
    }

    /// Whether the peer has sent anything.
    pub(super) fn has_begun(&self) -> bool {
        !self.0.is_empty()
    }

    /// The bytes that were received.
    pub(super) fn into_bytes(self) -> BytesMut {
        self.0
    }
}

#[cfg(unix)]
fn recv(tcp: &TcpStream, piece: &mut [u8]) -> io::Result<usize> {
    use rustix::net::{RecvFlags, recv};

    Ok(recv(tcp, piece, RecvFlags::DONTWAIT).map(|(_, received)| received)?)
}

#[cfg(not(unix))]
fn recv(tcp: &TcpStream, piece: &mut [u8]) -> io::Result<usize> {
    tcp.try_read(piece)
}

/// Whether these bytes contain a whole ClientHello, in one or several records (RFC 8446 section 5.1). An error as soon
/// as they can not become one.
fn is_complete(received: &[u8]) -> Result<bool, (HandshakeError, AlertDescription)> {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    let too_large =
        || Err((HandshakeError::MessageTooLarge { limit: MAX_LENGTH }, AlertDescription::IllegalParameter));
    let mut records = received;
    let mut header = [0; 4];
    let mut arrived = 0;
    loop {
        if arrived == 0 && is_not_tls(records) {
            let alert = match *records {
                [20..=24, ..] => AlertDescription::ProtocolVersion,
                _ => AlertDescription::UnexpectedMessage,
            };
            return Err((not_tls(received), alert));
        }
        match *records {
            [] => break,
            [_, major, ..] if major != 3 => {
                let error = rustls::Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion);
                return Err((error.into(), AlertDescription::ProtocolVersion));
            }
            [HANDSHAKE, ..] => {}
            [content_type @ 20..=24, ..] => {
                let error = rustls::Error::InappropriateMessage {
                    expect_types: vec![ContentType::Handshake],
                    got_type: content_type.into(),
                };
                return Err((error.into(), AlertDescription::UnexpectedMessage));
            }
            _ => {
                let error = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
                return Err((error.into(), AlertDescription::UnexpectedMessage));
            }
        }
        let [_, _, _, high, low, ref fragment @ ..] = *records else { break };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // RFC 8446 section 5.1 forbids it.
        if length == 0 {
            let error = rustls::Error::InvalidMessage(InvalidMessage::InvalidEmptyPayload);
            return Err((error.into(), AlertDescription::UnexpectedMessage));
        }
        if length > MAX_LENGTH {
            let error = rustls::Error::InvalidMessage(InvalidMessage::MessageTooLarge);
            return Err((error.into(), AlertDescription::RecordOverflow));
        }
        let (fragment, next) = match fragment.split_at_checked(length) {
            Some((fragment, next)) => (fragment, next),
            None => (fragment, &[][..]),
        };
        for (place, byte) in header.iter_mut().skip(arrived).zip(fragment) {
            *place = *byte;
        }
        arrived += fragment.len();
        let [message, high, middle, low] = header;
        if arrived > 0 && message != CLIENT_HELLO {
            let error = rustls::Error::InappropriateHandshakeMessage {
                expect_types: vec![HandshakeType::ClientHello],
                got_type: message.into(),
            };
            return Err((error.into(), AlertDescription::UnexpectedMessage));
        }
        if let Some(body) = arrived.checked_sub(header.len()) {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            if length > MAX_LENGTH {
                return too_large();
            }
            if body >= length {
                return Ok(true);
            }
        }
        records = next;
    }
    // With the headers of the records. An incomplete message therefore takes 16 KiB of memory at most.
    if received.len() >= MAX_LENGTH { too_large() } else { Ok(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_message_is_waited_for() {
        let message = [1, 0, 0, 2, 9, 9];
        let one = [&[22, 3, 1, 0, 6][..], &message].concat();
        let many: Vec<_> = message.iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
        for records in [one, many] {
            for length in 0..records.len() {
                assert!(matches!(is_complete(&records[..length]), Ok(false)), "{length} of {records:?}");
            }
            assert!(matches!(is_complete(&records), Ok(true)));
            assert!(matches!(is_complete(&[&records[..], &[23]].concat()), Ok(true)), "what follows");
        }
    }
}

//! First messages that are no ClientHello, and those that come in many pieces.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;
use typha_tls::HandshakeError;

use super::rig::*;

/// The record of a fatal alert.
fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

const PROTOCOL_VERSION: u8 = 70;
const UNEXPECTED_MESSAGE: u8 = 10;
const RECORD_OVERFLOW: u8 = 22;
const ILLEGAL_PARAMETER: u8 = 47;

/// Each is refused as soon as these bytes have arrived, and none of them takes a handshake.
#[tokio::test]
async fn what_can_not_become_a_client_hello_is_refused_at_once() {
    let limits = limited(|limits| limits.handshakes = 1);
    let (listener, mut failed) = listen_and_watch(acceptor(), limits).await;
    let (address, handle) = (listener.local_addr(), listener.handle());
    // The only handshake is taken. Whatever needs one has to wait.
    let _busy = sent(2, address, &client_hello().await).await;
    until(&handle, |stats| stats.in_handshake == 1).await;
    let large = [&[22, 3, 1, 0x40, 0, 1, 0, 0x40, 1][..], &[7; 16]].concat();
    let cases: [(&[u8], &str, u8); 12] = [
        (&[0x17], "tls", UNEXPECTED_MESSAGE),
        (&[0x15, 3], "tls", UNEXPECTED_MESSAGE),
        (&[0x17, 3, 3, 0, 1, 7], "tls", UNEXPECTED_MESSAGE),
        (b"G", "not_tls", UNEXPECTED_MESSAGE),
        (b"GET / HTTP/1.1\r\n\r\n", "not_tls", UNEXPECTED_MESSAGE),
        (&[22, 2], "not_tls", PROTOCOL_VERSION),
        // A ServerHello, and a record of another type in the middle of a ClientHello.
        (&[22, 3, 1, 0, 50, 2], "tls", UNEXPECTED_MESSAGE),
        (&[22, 3, 1, 0, 1, 1, 23], "tls", UNEXPECTED_MESSAGE),
        (&[22, 3, 1, 0, 1, 1, 22, 2], "tls", PROTOCOL_VERSION),
        (&[22, 3, 1, 0, 0], "tls", UNEXPECTED_MESSAGE),
        (&[22, 3, 1, 0x40, 1], "tls", RECORD_OVERFLOW),
        (&large, "message_too_large", ILLEGAL_PARAMETER),
    ];
    for (bytes, label, description) in cases {
        let mut tcp = sent(1, address, bytes).await;
        let mut answer = Vec::new();
        bounded(tcp.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, alert(description), "{bytes:?}");
        drop(tcp);
        let error = bounded(failed.recv()).await.unwrap().error;
        assert_eq!(error.label(), label, "{bytes:?}");
        if let HandshakeError::NotTls { start } = error {
            assert!(start == "G" || start == "GET / HTTP/1.1.." || start == "..", "{start}");
        }
    }
    assert_eq!(handle.stats().in_handshake, 1);
}

/// A peer that sends more after that gets the alert, too.
#[tokio::test]
async fn the_alert_arrives_although_the_peer_goes_on_sending() {
    let (listener, mut failed) = listen_and_watch(acceptor(), limits()).await;
    let mut tcp = sent(1, listener.local_addr(), b"GET / HTTP/1.1\r\n\r\n").await;
    for _ in 0..20 {
        sleep(Duration::from_millis(2)).await;
        tcp.write_all(&[b'x'; 1000]).await.unwrap();
    }
    let mut answer = Vec::new();
    bounded(tcp.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, alert(UNEXPECTED_MESSAGE));
    drop(tcp);
    assert_eq!(bounded(failed.recv()).await.unwrap().error.label(), "not_tls");
}

#[tokio::test]
async fn a_client_hello_in_many_records_is_waited_for() {
    let listener = listen(limits()).await;
    let hello = client_hello().await;
    // RFC 8446 section 5.1 allows it.
    let records: Vec<_> = hello[5..].iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    let (most, last) = records.split_at(records.len() - 1);
    let mut tcp = sent(1, listener.local_addr(), most).await;
    sleep(Duration::from_millis(50)).await;
    let stats = listener.handle().stats();
    assert_eq!((stats.queued, stats.in_handshake), (1, 0));
    tcp.write_all(last).await.unwrap();
    let mut answer = [0; 6];
    bounded(tcp.read_exact(&mut answer)).await.unwrap();
    // A ServerHello.
    assert_eq!((answer[0], answer[5]), (22, 2));
    assert_eq!(listener.handle().stats().in_handshake, 1);
}

/// Records of one byte each make a message that is small enough too large.
#[tokio::test]
async fn what_is_received_before_the_handshake_is_bounded() {
    let (listener, mut failed) = listen_and_watch(acceptor(), limits()).await;
    let message = [&[1, 0, 0x3f, 0][..], &[7; 0x3f00]].concat();
    let records: Vec<_> = message.iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    let mut tcp = sent(1, listener.local_addr(), &records[..16 * 1024]).await;
    let mut answer = Vec::new();
    bounded(tcp.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, alert(ILLEGAL_PARAMETER));
    let error = bounded(failed.recv()).await.unwrap().error;
    assert!(matches!(error, HandshakeError::MessageTooLarge { limit: 16384 }), "{error:?}");
    assert_eq!(listener.handle().stats().accepted, 0);
}

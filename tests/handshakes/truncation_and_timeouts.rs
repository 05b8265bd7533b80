//! How connections end, and how long they may stand still: a clean end, a truncated one, silence before, during and
//! after the handshake, and what is not TLS at all.

use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidData, TimedOut, UnexpectedEof};
use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::cipher::{self, Iv};
use rustls::version::TLS13;
use rustls::{ConnectionTrafficSecrets, SupportedProtocolVersion};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream,
    ReadBuf, duplex,
};
use tokio::time::{Instant, sleep, timeout};
use typha_tls::error::HandshakePhase::{AwaitingFirstByte, Negotiating};
use typha_tls::testing::TestPki;
use typha_tls::{AuthenticatedStream, HandshakeError, Role};

use crate::hostile::{
    CLIENTS, Client, Outcome, ROLES, RawPeer, VERSIONS, acceptor, bounded, client_config, connector, pki,
    server_config,
};

const SECOND: Duration = Duration::from_secs(1);
const BOUND: Duration = Duration::from_secs(5);

type Stream = AuthenticatedStream<DuplexStream>;

/// A connection of each client in both versions, with each end in turn first.
async fn streams() -> Vec<(Stream, Stream)> {
    streams_with(None, 64 * 1024).await
}

async fn streams_with(read_timeout: Option<Duration>, buffer: usize) -> Vec<(Stream, Stream)> {
    let pki = pki();
    let mut streams = Vec::new();
    for (version, role) in VERSIONS.into_iter().flat_map(|version| CLIENTS.map(|role| (version, role))) {
        for swap in [false, true] {
            let (typha, felix) = duplex(buffer);
            let acceptor = acceptor(&pki, version).with_read_timeout(read_timeout).with_write_timeout(None);
            let client = Client::new(role, &pki, version).with_read_timeout(read_timeout);
            let connect = client.with_write_timeout(None).connect(felix);
            let (typha, felix) = tokio::join!(acceptor.accept(typha), connect);
            let (typha, felix) = (typha.unwrap(), felix.unwrap());
            streams.push(if swap { (felix, typha) } else { (typha, felix) });
        }
    }
    streams
}

#[test]
fn a_shutdown_is_a_clean_end() {
    bounded(|| async {
        for (mut writer, mut reader) in streams().await {
            writer.write_all(b"all").await.unwrap();
            writer.shutdown().await.unwrap();
            drop(writer);
            let mut received = Vec::new();
            assert_eq!(reader.read_to_end(&mut received).await.unwrap(), 3);
            assert_eq!(received, b"all");
            assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
        }
    });
}

#[test]
fn a_stream_that_is_dropped_ends_in_order() {
    bounded(|| async {
        for (mut writer, mut reader) in streams().await {
            writer.write_all(b"all").await.unwrap();
            writer.flush().await.unwrap();
            drop(writer);
            let mut received = Vec::new();
            assert_eq!(reader.read_to_end(&mut received).await.unwrap(), 3);
            assert_eq!(received, b"all");
            assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
        }
    });
}

/// The end of a task that panics is not the end of its data.
#[test]
fn a_stream_that_is_dropped_by_a_panic_is_truncated() {
    bounded(|| async {
        for (mut writer, mut reader) in streams().await {
            writer.write_all(b"not all").await.unwrap();
            writer.flush().await.unwrap();
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _writer = writer;
                std::panic::resume_unwind(Box::new("the task panics"));
            }));
            assert!(panicked.is_err());
            assert_truncated(&mut reader, b"not all").await;
        }
    });
}

/// The peer has not taken what was written.
#[test]
fn a_stream_that_is_dropped_with_unsent_data_is_truncated() {
    bounded(|| async {
        for (mut writer, mut reader) in streams_with(None, 4096).await {
            let data = vec![7; 100_000];
            assert!(timeout(SECOND, writer.write_all(&data)).await.is_err(), "the buffers hold less");
            drop(writer);
            let mut received = Vec::new();
            assert_eq!(reader.read_to_end(&mut received).await.unwrap_err().kind(), UnexpectedEof);
            assert!(received.len() < data.len());
        }
    });
}

async fn assert_truncated(reader: &mut Stream, data: &[u8]) {
    let mut received = Vec::new();
    assert_eq!(reader.read_to_end(&mut received).await.unwrap_err().kind(), UnexpectedEof);
    assert_eq!(received, data);
    // And stays so.
    assert_eq!(reader.read(&mut [0]).await.unwrap_err().kind(), UnexpectedEof);
}

/// `close` sends everything and reads what the peer still sends, so that nothing is reset.
#[test]
fn closing_ends_both_ways() {
    bounded(|| async {
        for (mut writer, mut reader) in streams().await {
            writer.write_all(b"all").await.unwrap();
            reader.write_all(b"unread").await.unwrap();
            reader.flush().await.unwrap();
            let (closed, received) = tokio::join!(writer.close(), async {
                let mut received = Vec::new();
                reader.read_to_end(&mut received).await.unwrap();
                reader.close().await.unwrap();
                received
            });
            closed.unwrap();
            assert_eq!(received, b"all");
        }
    });
}

/// A peer that takes nothing is given up after 1 s, with an error.
#[test]
fn closing_is_bounded_in_time() {
    bounded(|| async {
        for (mut writer, _reader) in streams_with(None, 4096).await {
            let _ = timeout(SECOND, writer.write_all(&[7; 100_000])).await;
            let begin = Instant::now();
            assert_eq!(writer.close().await.unwrap_err().kind(), TimedOut);
            assert_in_time(begin, SECOND);
        }
    });
}

#[test]
fn a_read_that_receives_nothing_times_out() {
    bounded(|| async {
        for (mut writer, mut reader) in streams_with(Some(BOUND), 64 * 1024).await {
            for _ in 0..2 {
                let begin = Instant::now();
                let error = reader.read(&mut [0; 16]).await.unwrap_err();
                assert_eq!(error.kind(), TimedOut);
                assert_in_time(begin, BOUND);
            }
            // What comes later is still read, and what comes in time starts the clock anew.
            let (read, ()) = tokio::join!(async { reader.read_exact(&mut [0; 6]).await }, async {
                for byte in b"slowly".chunks(1) {
                    sleep(BOUND - SECOND).await;
                    writer.write_all(byte).await.unwrap();
                    writer.flush().await.unwrap();
                }
            });
            assert_eq!(read.unwrap(), 6);
        }
    });
}

/// Whether or not they were built from Calico's parameters.
/// A Typha that is accepted, and whose bytes on the wire are in the test's hands.
async fn accepted_server(
    role: Role,
    pki: &TestPki,
    version: &'static SupportedProtocolVersion,
    tickets: usize,
) -> (Stream, RawPeer<DuplexStream>) {
    let (typha, felix) = duplex(1024 * 1024);
    let mut config = server_config(&pki.typha, version);
    config.send_tls13_tickets = tickets;
    config.enable_secret_extraction = true;
    let mut server = RawPeer::server(config, typha);
    let client = Client::new(role, pki, version).with_read_timeout(Some(BOUND));
    let (stream, sent) = tokio::join!(client.connect(felix), async {
        server.handshake().await?;
        server.send().await
    });
    sent.unwrap();
    (stream.unwrap(), server)
}

#[test]
fn only_application_data_counts_for_the_read_timeout() {
    bounded(|| async {
        let pki = pki();
        for (version, role) in VERSIONS.into_iter().flat_map(|version| CLIENTS.map(|role| (version, role))) {
            let (mut stream, mut server) = accepted_server(role, &pki, version, 1).await;
            server.tls.writer().write_all(b"data").unwrap();
            let record = server.outgoing();
            let dripping = tokio::spawn(async move {
                for byte in record {
                    server.io.write_all(&[byte]).await.unwrap();
                    sleep(SECOND).await;
                }
                server
            });
            let begin = Instant::now();
            let error = stream.read(&mut [0; 4]).await.unwrap_err();
            assert_eq!((error.kind(), begin.elapsed().as_secs()), (TimedOut, BOUND.as_secs()));
            assert_eq!(error.to_string(), "no application data arrived within the read timeout");
            // Nothing is lost: a caller that goes on waiting gets the data.
            let mut data = [0; 4];
            while let Err(error) = stream.read_exact(&mut data).await {
                assert_eq!(error.kind(), TimedOut);
            }
            assert_eq!(&data, b"data");
            drop(dripping.await.unwrap());
        }
    });
}

/// The time since a read that was cancelled counts. A record that arrives late must not find the time used up.
#[test]
fn a_record_that_has_begun_to_arrive_gets_time() {
    bounded(|| async {
        let pki = pki();
        for (version, role) in VERSIONS.into_iter().flat_map(|version| CLIENTS.map(|role| (version, role))) {
            let (mut stream, mut server) = accepted_server(role, &pki, version, 1).await;
            assert!(timeout(SECOND, stream.read(&mut [0; 4])).await.is_err());
            sleep(BOUND).await;
            server.tls.writer().write_all(b"data").unwrap();
            let record = server.outgoing();
            let (first, rest) = record.split_at(record.len() / 2);
            server.io.write_all(first).await.unwrap();
            let mut data = [0; 4];
            let read = async { stream.read_exact(&mut data).await.map(|_| ()) };
            let written = async {
                sleep(SECOND).await;
                server.io.write_all(rest).await
            };
            let (read, written) = tokio::join!(read, written);
            read.unwrap();
            written.unwrap();
            assert_eq!(&data, b"data");
            // Without anything, the time is up at once.
            assert!(timeout(SECOND, stream.read(&mut [0; 4])).await.is_err());
            sleep(BOUND).await;
            let begin = Instant::now();
            assert_eq!(stream.read(&mut [0; 4]).await.unwrap_err().kind(), TimedOut);
            assert_in_time(begin, Duration::ZERO);
        }
    });
}

/// Writes records with the keys of a server, such as rustls would not write.
struct Records {
    io: DuplexStream,
    key: LessSafeKey,
    iv: Iv,
    sequence: u64,
}

impl Records {
    fn of(server: RawPeer<DuplexStream>) -> Self {
        let secrets = server.tls.dangerous_extract_secrets().unwrap();
        let (sequence, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets.tx else { panic!() };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        Self { io: server.io, key, iv, sequence }
    }

    /// RFC 8446 section 5.2.
    async fn write(&mut self, content_type: u8, content: &[u8]) {
        let length = u16::try_from(content.len() + 1 + AES_256_GCM.tag_len()).unwrap().to_be_bytes();
        let header = [23, 3, 3, length[0], length[1]];
        let mut record = [content, &[content_type]].concat();
        let nonce = Nonce::assume_unique_for_key(cipher::Nonce::new(&self.iv, self.sequence).0);
        self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut record).unwrap();
        self.sequence += 1;
        self.io.write_all(&[&header, &*record].concat()).await.unwrap();
    }

    /// A session ticket of a bit more than 1 KB (RFC 8446 section 4.6.1).
    async fn write_ticket(&mut self) {
        let body = [&[0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 3, 0xe8][..], &[7; 1000], &[0, 0]].concat();
        self.write(22, &[&[4, 0, 3, 0xf6][..], &body].concat()).await;
    }
}

#[test]
fn what_comes_without_application_data_is_bounded() {
    bounded(|| async {
        let (mut stream, server) = accepted_server(Role::Client, &pki(), &TLS13, 1).await;
        let mut typha = Records::of(server);
        for _ in 0..3 {
            for _ in 0..200 {
                typha.write_ticket().await;
            }
            typha.write(23, b"data").await;
            let mut data = [0; 4];
            stream.read_exact(&mut data).await.unwrap();
            assert_eq!(&data, b"data");
        }
        for _ in 0..300 {
            typha.write_ticket().await;
        }
        let error = stream.read(&mut [0; 4]).await.unwrap_err();
        assert_eq!(error.kind(), InvalidData);
        assert_eq!(error.to_string(), "the peer sent more than 256 KiB without application data");
    });
}

#[test]
fn ends_built_from_their_parts_have_calicos_bounds() {
    bounded(|| async {
        let pki = pki();
        let (typha, felix) = duplex(1024);
        let (acceptor, connector) = (pki.acceptor().unwrap(), pki.connector().unwrap());
        let (typha, felix) = tokio::join!(acceptor.accept(typha), connector.connect(felix));
        let (mut typha, mut felix) = (typha.unwrap(), felix.unwrap());

        let begin = Instant::now();
        assert_eq!(felix.read(&mut [0]).await.unwrap_err().kind(), TimedOut);
        assert_in_time(begin, Duration::from_secs(30));
        // A Felix may be silent for as long as it likes.
        assert!(timeout(Duration::from_secs(24 * 3600), typha.read(&mut [0])).await.is_err());

        let begin = Instant::now();
        assert_eq!(felix.write_all(&[7; 256 * 1024]).await.unwrap_err().kind(), TimedOut);
        assert_in_time(begin, Duration::from_secs(10));
        let begin = Instant::now();
        assert_eq!(typha.write_all(&[7; 256 * 1024]).await.unwrap_err().kind(), TimedOut);
        assert_in_time(begin, Duration::from_secs(120));
    });
}

/// tokio's timers have a grain of 1 ms, and round up.
fn assert_in_time(begin: Instant, expected: Duration) {
    let over = begin.elapsed().checked_sub(expected).expect("too early");
    assert!(over <= Duration::from_millis(2), "{over:?} too late");
}

/// A Felix that is accepted, and whose bytes on the wire are in the test's hands.
async fn accepted_client(
    pki: &TestPki,
    version: &'static SupportedProtocolVersion,
) -> (Stream, RawPeer<DuplexStream>) {
    let (typha, felix) = duplex(1024);
    let mut client = RawPeer::client(client_config(Some(&pki.felix), version), felix);
    let acceptor = acceptor(pki, version).with_read_timeout(None).with_write_timeout(Some(BOUND));
    let (stream, handshake) = tokio::join!(acceptor.accept(typha), client.handshake());
    handshake.unwrap();
    (stream.unwrap(), client)
}

#[test]
fn a_write_of_which_the_peer_takes_nothing_times_out() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            let (mut stream, mut client) = accepted_client(&pki, version).await;
            let begin = Instant::now();
            let error = stream.write_all(&[7; 256 * 1024]).await.unwrap_err();
            assert_eq!(error.kind(), TimedOut);
            assert_in_time(begin, BOUND);
            // The stream has a hole from here on; nobody gets past it, though there is room again.
            client.io.read_exact(&mut [0; 512]).await.unwrap();
            assert_eq!(stream.write_all(&[7; 64]).await.unwrap_err().kind(), TimedOut);
            assert_eq!(stream.flush().await.unwrap_err().kind(), TimedOut);
            assert_eq!(stream.shutdown().await.unwrap_err().kind(), TimedOut);
            assert_in_time(begin, BOUND);
        }
    });
}

#[test]
fn a_shutdown_of_which_the_peer_takes_nothing_times_out() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            let (mut stream, _client) = accepted_client(&pki, version).await;
            // More than the pipe holds; the rest waits in the stream, and the clock runs.
            let begin = Instant::now();
            stream.write_all(&[7; 4096]).await.unwrap();
            sleep(SECOND).await;
            assert_eq!(stream.shutdown().await.unwrap_err().kind(), TimedOut);
            assert_in_time(begin, BOUND);
        }
    });
}

#[test]
fn a_slow_peer_does_not_hit_the_write_timeout() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            let (mut stream, mut client) = accepted_client(&pki, version).await;
            let begin = Instant::now();
            let slowly = async {
                loop {
                    sleep(BOUND - SECOND).await;
                    client.io.read_exact(&mut [0]).await.unwrap();
                }
            };
            tokio::select! {
                written = async {
                    stream.write_all(&[7; 4096]).await?;
                    stream.flush().await
                } => written.unwrap(),
                never = slowly => never,
            }
            assert!(begin.elapsed() > BOUND * 1000);
        }
    });
}

/// What the end in `role` makes of a peer that does `act`, and how long it takes.
async fn against<T>(
    role: Role,
    act: impl AsyncFnOnce(&mut DuplexStream) -> T,
) -> (Result<Stream, HandshakeError>, Duration) {
    let pki = pki();
    let (ours, mut theirs) = duplex(64 * 1024);
    let begin = Instant::now();
    let handshake = async {
        let outcome = match role {
            Role::Server | Role::Typha => {
                acceptor(&pki, VERSIONS[0]).with_handshake_timeout(BOUND).accept(ours).await
            }
            Role::Client | Role::Felix => {
                Client::new(role, &pki, VERSIONS[0]).with_handshake_timeout(BOUND).connect(ours).await
            }
        };
        (outcome, begin.elapsed())
    };
    let (outcome, _) = tokio::join!(handshake, act(&mut theirs));
    outcome
}

#[test]
fn a_stalled_handshake_times_out_and_says_where() {
    /// The beginning of a handshake record, of which more is to come than ever does.
    const PART: [u8; 9] = [22, 3, 3, 2, 0, 1, 0, 1, 252];
    bounded(|| async {
        for role in ROLES {
            for (sent, pause, expected) in [
                (&PART[..0], SECOND, AwaitingFirstByte),
                (&PART[..1], SECOND, Negotiating),
                (&PART[..], Duration::ZERO, Negotiating),
                // Progress does not extend the bound.
                (&PART[..], SECOND, Negotiating),
            ] {
                let (outcome, elapsed) = against(role, async |peer| {
                    for byte in sent.chunks(1) {
                        if peer.write_all(byte).await.is_err() {
                            break;
                        }
                        sleep(pause).await;
                    }
                    // Keeps the connection open.
                    sleep(BOUND * 2).await;
                })
                .await;
                let Err(HandshakeError::TimedOut { phase, after }) = outcome else { panic!("{outcome:?}") };
                assert_eq!((phase, after), (expected, BOUND), "{role}, {} bytes", sent.len());
                assert!(elapsed >= BOUND && elapsed < BOUND + SECOND, "{elapsed:?}");
            }
        }
    });
}

#[test]
fn plain_text_is_named() {
    bounded(|| async {
        for role in ROLES {
            for (sent, start) in [
                (&b"GET / HTTP/1.1\r\nHost: typha\r\n\r\n"[..], "GET / HTTP/1.1.."),
                (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400 Bad"),
                (b"SSH-2.0-x\r\n", "SSH-2.0-x.."),
                (b"G", "G"),
                (b"{}", "{}"),
                // TLS content type, but not its version.
                (&[22, b'!'], ".!"),
                (&[0; 64], "................"),
                ("\u{202e}\n\"".as_bytes(), "....\""),
            ] {
                let (outcome, _) = against(role, async |peer| {
                    peer.write_all(sent).await.unwrap();
                    peer.shutdown().await.unwrap();
                })
                .await;
                assert_eq!(Outcome::of(outcome), Outcome::NotTls(start.to_owned()), "{role}");
            }
        }
    });
}

/// Nobody waits for more, or for the end of the connection, to know that it is not TLS.
#[test]
fn plain_text_is_answered_at_once() {
    bounded(|| async {
        for role in ROLES {
            let (outcome, elapsed) = against(role, async |peer| {
                peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
                // Reads the answer to its end; only then lets go.
                let mut answer = Vec::new();
                peer.read_to_end(&mut answer).await.unwrap();
                peer.shutdown().await.unwrap();
                // A fatal decode_error.
                assert!(answer.ends_with(&[21, 3, 3, 0, 2, 2, 50]), "{answer:?}");
            })
            .await;
            assert_eq!(Outcome::of(outcome), Outcome::NotTls("GET / HTTP/1.1..".to_owned()));
            assert!(elapsed < SECOND, "{elapsed:?}");
        }
    });
}

/// TLS reads ahead: with the data it delivers, it has asked for more already.
#[test]
fn a_reader_that_is_busy_elsewhere_does_not_time_out() {
    bounded(|| async {
        for (mut reader, mut writer) in streams_with(Some(30 * SECOND), 64 * 1024).await {
            for _ in 0..3 {
                writer.write_all(b"x").await.unwrap();
                writer.flush().await.unwrap();
                assert_eq!(reader.read(&mut [0; 64]).await.unwrap(), 1);
                sleep(31 * SECOND).await;
            }
            let begin = Instant::now();
            let (read, ()) = tokio::join!(reader.fill_buf(), async {
                sleep(29 * SECOND).await;
                writer.write_all(b"y").await.unwrap();
                writer.flush().await.unwrap();
            });
            assert_eq!(read.unwrap(), b"y");
            assert_eq!(begin.elapsed().as_secs(), 29);
        }
    });
}

/// A read that fails writes an alert, from the reader's task: the writer, waiting on the same I/O, is not to be
/// forgotten.
#[test]
fn a_writer_learns_of_a_read_that_failed() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            let (typha_io, near) = duplex(8 * 1024);
            let (far, felix_io) = duplex(8 * 1024);
            let (mut near_read, mut near_write) = tokio::io::split(near);
            let (mut far_read, mut far_write) = tokio::io::split(far);
            let relayed = tokio::spawn(async move {
                let _ = tokio::io::copy(&mut far_read, &mut near_write).await;
            });
            let (inject, injected) = tokio::sync::oneshot::channel();
            let injecting = tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy(&mut near_read, &mut far_write) => {}
                    _ = injected => {}
                }
                far_write.write_all(&[23, 3, 3, 0, 30]).await.unwrap();
                far_write.write_all(&[7; 30]).await.unwrap();
                std::future::pending::<()>().await;
            });
            let connector = connector(&pki, version).with_read_timeout(None).with_write_timeout(Some(BOUND));
            let (typha, felix) =
                tokio::join!(acceptor(&pki, version).accept(typha_io), connector.connect(felix_io));
            // Typha is never read.
            let (_typha, (mut reader, mut writer)) = (typha.unwrap(), tokio::io::split(felix.unwrap()));
            let writing = tokio::spawn(async move { writer.write_all(&vec![0; 1 << 20]).await });
            let reading = tokio::spawn(async move { (reader.read(&mut [0; 64]).await, reader) });
            sleep(SECOND).await;
            inject.send(()).unwrap();
            let (read, _reader) = reading.await.unwrap();
            assert_eq!(read.unwrap_err().kind(), InvalidData);
            let written = timeout(3600 * SECOND, writing).await.expect("the writer was forgotten");
            assert_eq!(written.unwrap().unwrap_err().kind(), InvalidData);
            relayed.abort();
            injecting.abort();
        }
    });
}

/// I/O that fails, as Windows does it, when told to.
struct Aborting {
    io: DuplexStream,
    abort: Arc<AtomicBool>,
}

impl AsyncRead for Aborting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending if self.abort.load(Relaxed) => Poll::Ready(Err(ConnectionAborted.into())),
            outcome => outcome,
        }
    }
}

impl AsyncWrite for Aborting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[test]
fn an_aborted_connection_is_no_clean_end() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            let (typha, felix) = duplex(64 * 1024);
            let abort = Arc::new(AtomicBool::new(false));
            let felix = Aborting { io: felix, abort: abort.clone() };
            let (acceptor, connector) = (acceptor(&pki, version), connector(&pki, version));
            let (typha, felix) = tokio::join!(acceptor.accept(typha), connector.connect(felix));
            let (mut typha, mut felix) = (typha.unwrap(), felix.unwrap());
            typha.write_all(b"half").await.unwrap();
            typha.flush().await.unwrap();
            abort.store(true, Relaxed);
            assert_eq!(felix.read(&mut [0; 64]).await.unwrap(), 4);
            for _ in 0..2 {
                assert_eq!(felix.read(&mut [0]).await.unwrap_err().kind(), ConnectionReset);
                assert_eq!(felix.fill_buf().await.unwrap_err().kind(), ConnectionReset);
            }
        }
    });
}

/// Waiting to be polled counts: a handshake that is queued is not given more time for it.
#[test]
fn the_bound_begins_with_the_call() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            let (typha, _felix) = duplex(1024);
            let begin = Instant::now();
            let handshake = acceptor(&pki, version).with_handshake_timeout(BOUND).accept(typha);
            sleep(60 * SECOND).await;
            assert_eq!(Outcome::of(handshake.await), Outcome::TimedOut(AwaitingFirstByte));
            assert_eq!(begin.elapsed().as_secs(), 60);
        }
    });
}

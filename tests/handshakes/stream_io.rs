//! How streams use the I/O below them: few and large reads and writes, and no memory when nothing flows.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use typha_tls::AuthenticatedStream;
use typha_tls::testing::TestPki;

/// Counts reads that yield data, and writes.
struct Counting {
    io: DuplexStream,
    reads: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        self.reads.fetch_add(usize::from(outcome.is_ready()), Relaxed);
        outcome
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Relaxed);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Relaxed);
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

type Stream<IO> = AuthenticatedStream<IO>;

/// A Typha, and a Felix of which reads and writes are counted.
async fn pair() -> (Stream<DuplexStream>, Stream<Counting>, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let pki = TestPki::new().unwrap();
    let (typha, io) = tokio::io::duplex(256 * 1024);
    let (reads, writes) = (Arc::default(), Arc::default());
    let felix = Counting { io, reads: Arc::clone(&reads), writes: Arc::clone(&writes) };
    let (acceptor, connector) = (pki.acceptor().unwrap(), pki.connector().unwrap());
    let (typha, felix) = tokio::join!(acceptor.accept(typha), connector.connect(felix));
    (typha.unwrap(), felix.unwrap(), reads, writes)
}

#[tokio::test]
async fn slices_leave_together() {
    let (mut typha, mut felix, _, writes) = pair().await;
    writes.store(0, Relaxed);
    assert!(felix.is_write_vectored());
    let slices = ["length: 9", "\n", "snapshot", "!"].map(|text| IoSlice::new(text.as_bytes()));
    assert_eq!(felix.write_vectored(&slices).await.unwrap(), 19);
    felix.flush().await.unwrap();
    assert_eq!(writes.load(Relaxed), 1);
    let mut received = [0; 64];
    let length = typha.read(&mut received).await.unwrap();
    assert_eq!(&received[..length], b"length: 9\nsnapshot!", "and arrive as one record");
}

#[tokio::test]
async fn data_that_flows_is_read_in_large_pieces_and_leaves_nothing_behind() {
    let (mut typha, mut felix, reads, _) = pair().await;
    let data: Vec<u8> = (0..4_000_000_u32).map(|n| (n / 3) as u8).collect();
    reads.store(0, Relaxed);
    let send = async {
        typha.write_all(&data).await.unwrap();
        typha.flush().await.unwrap();
    };
    let receive = async {
        let mut received = vec![0; data.len()];
        felix.read_exact(&mut received).await.unwrap();
        received
    };
    let ((), received) = tokio::join!(send, receive);
    assert!(received == data);
    // 4 KiB at a time would be a thousand.
    assert!(reads.load(Relaxed) < 200, "{}", reads.load(Relaxed));

    let held = -allocation_counter::measure(|| drop(felix)).bytes_current;
    assert!(held < 64 * 1024, "{held}: rustls's buffers, and not the 64 KiB that were read ahead");
}

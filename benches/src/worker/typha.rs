//! Typha's end: a task for each connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::ends::{BULK_LENGTH, Connected, Failure, Io, TyphaEnd, cpu_time};
use crate::machine::resident_bytes;
use crate::protocol::Usage;

/// Pause after an error of accept(): running out of file descriptors lasts.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What Typha's end counts.
#[derive(Default)]
pub(super) struct Counts {
    accepted: AtomicU64,
    failed: AtomicU64,
    resumed: AtomicU64,
    bulk_bytes: AtomicU64,
}

impl Counts {
    /// With what the process has used so far.
    pub(super) fn usage(&self) -> Result<Usage, Failure> {
        Ok(Usage {
            cpu: cpu_time()?,
            resident_bytes: resident_bytes("self")?,
            accepted: self.accepted.load(Relaxed),
            failed: self.failed.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
            bulk_bytes: self.bulk_bytes.load(Relaxed),
        })
    }

    fn add_bulk(&self, length: usize) {
        self.bulk_bytes.fetch_add(length as u64, Relaxed);
    }
}

/// Listens, and returns the address and the counts.
pub(super) async fn listen<T: TyphaEnd>(typha: T) -> io::Result<(SocketAddr, Arc<Counts>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (address, counts) = (listener.local_addr()?, Arc::new(Counts::default()));
    tokio::spawn(accept(listener, Arc::new(typha), counts.clone()));
    Ok((address, counts))
}

async fn accept<T: TyphaEnd>(listener: TcpListener, typha: Arc<T>, counts: Arc<Counts>) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                tokio::spawn(connection(typha.clone(), tcp, counts.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection<T: TyphaEnd>(typha: Arc<T>, tcp: TcpStream, counts: Arc<Counts>) {
    let Ok(Connected { stream, resumed, .. }) = typha.accept_tcp(tcp).await else {
        counts.failed.fetch_add(1, Relaxed);
        return;
    };
    // Before Felix gets its answer, so that the counts of both ends agree.
    counts.accepted.fetch_add(1, Relaxed);
    counts.resumed.fetch_add(resumed.into(), Relaxed);
    // Felix notices if the connection ends early.
    let _ = serve(stream, counts).await;
}

/// Serves the purpose that Felix sends. The rare ones are boxed, and an idle connection has a buffer of one byte: the
/// memory of the implementation is measured, not that of this loop.
async fn serve(mut stream: impl Io, counts: Arc<Counts>) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte).await?;
    match &byte {
        b"e" => {
            stream.write_all(&byte).await?;
            stream.flush().await?;
            while stream.read(&mut byte).await? > 0 {}
            Ok(())
        }
        b"d" => Box::pin(send_all(stream, counts)).await,
        b"u" => Box::pin(receive_all(stream, counts)).await,
        b"p" => Box::pin(send_back(stream)).await,
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "unknown purpose")),
    }
}

async fn send_back(mut stream: impl Io) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).await?;
        let Some(data) = buffer.get(..length).filter(|data| !data.is_empty()) else { return Ok(()) };
        stream.write_all(data).await?;
        stream.flush().await?;
    }
}

async fn send_all(mut stream: impl Io, counts: Arc<Counts>) -> io::Result<()> {
    let data = vec![0; BULK_LENGTH];
    loop {
        stream.write_all(&data).await?;
        counts.add_bulk(data.len());
    }
}

async fn receive_all(mut stream: impl Io, counts: Arc<Counts>) -> io::Result<()> {
    let mut buffer = vec![0; BULK_LENGTH];
    loop {
        match stream.read(&mut buffer).await? {
            // Felix waits for it: by then everything that it sent has arrived.
            0 => return stream.shutdown().await,
            length => counts.add_bulk(length),
        }
    }
}

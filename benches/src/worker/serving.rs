//! Typha's end: one task a connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::ends::{Connected, Io, TyphaEnd};
use super::usage::Counts;

/// What is sent or read at a time when there is much of it.
pub(super) const BULK_LENGTH: usize = 64 * 1024;

/// Pause after an error of accept(): running out of file descriptors lasts.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Server {
    address: SocketAddr,
    counts: Arc<Counts>,
}

impl Server {
    pub(super) async fn start<T: TyphaEnd>(typha: T) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        tokio::spawn(accept(listener, Arc::new(typha), counts.clone()));
        Ok(Self { address, counts })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }
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
    // Before Felix hears of it, so that the counts of both ends agree.
    counts.accepted.fetch_add(1, Relaxed);
    counts.resumed.fetch_add(resumed.into(), Relaxed);
    // How a connection ends is Felix's affair.
    let _ = serve(stream).await;
}

/// Serves the purpose that Felix names. The rare ones are boxed, and an idle connection has a buffer of one byte: what an
/// implementation keeps for it is to be seen, not what is kept here.
async fn serve(mut stream: impl Io) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte).await?;
    match &byte {
        b"e" => {
            stream.write_all(&byte).await?;
            stream.flush().await?;
            while stream.read(&mut byte).await? > 0 {}
            Ok(())
        }
        b"d" => Box::pin(send_all(stream)).await,
        b"u" => Box::pin(receive_all(stream)).await,
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no such purpose")),
    }
}

async fn send_all(mut stream: impl Io) -> io::Result<()> {
    let data = vec![0; BULK_LENGTH];
    loop {
        stream.write_all(&data).await?;
    }
}

async fn receive_all(mut stream: impl Io) -> io::Result<()> {
    let mut buffer = vec![0; BULK_LENGTH];
    while stream.read(&mut buffer).await? > 0 {}
    // Felix waits for it: by then all that it sent has arrived.
    stream.shutdown().await
}

//! Much data over one connection.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Failure;
use super::ends::{FelixEnd, Io, Purpose};
use super::felix::{Load, bounded, dial, parse_address};
use super::handshakes::nanos;
use super::serving::BULK_LENGTH;
use super::usage;
use crate::protocol::{Bulk, Direction};

impl<F: FelixEnd> Load<F> {
    pub(super) async fn bulk(
        &self,
        address: &str,
        direction: Direction,
        millis: u64,
    ) -> Result<Bulk, Failure> {
        let address = parse_address(address)?;
        let felix = self.felix.clone();
        // A task, so that it runs on the threads of the runtime as all connections do.
        let transfer = tokio::spawn(async move {
            let purpose = match direction {
                Direction::ToFelix => Purpose::DOWNLOAD,
                Direction::ToTypha => Purpose::UPLOAD,
            };
            let opening = async {
                let (tcp, _): (TcpStream, _) = dial(address).await?;
                felix.connect_tcp(tcp, purpose).await
            };
            let stream = bounded(opening).await?.stream;
            let millis = Duration::from_millis(millis);
            match direction {
                Direction::ToFelix => download(stream, millis).await,
                Direction::ToTypha => upload(stream, millis).await,
            }
        });
        transfer.await?
    }
}

/// Counts from the first data that arrive.
async fn download(mut stream: impl Io, time: Duration) -> Result<Bulk, Failure> {
    let mut buffer = vec![0; BULK_LENGTH];
    bounded(receive(&mut stream, &mut buffer)).await?;
    let (cpu, begun) = (usage::cpu_nanos(), Instant::now());
    let mut bytes = 0;
    while begun.elapsed() < time {
        bytes += bounded(receive(&mut stream, &mut buffer)).await? as u64;
    }
    Ok(Bulk { bytes, elapsed_nanos: nanos(begun.elapsed()), cpu_nanos: usage::cpu_nanos() - cpu })
}

async fn receive(stream: &mut impl Io, buffer: &mut [u8]) -> Result<usize, Failure> {
    match stream.read(buffer).await? {
        0 => Err("Typha has closed the connection in the midst of its data".into()),
        length => Ok(length),
    }
}

/// Counts until Typha has closed in its turn, which it does when it has received everything: what is still in buffers is
/// not counted as sent for nothing.
async fn upload(mut stream: impl Io, time: Duration) -> Result<Bulk, Failure> {
    let data = vec![0; BULK_LENGTH];
    let (cpu, begun) = (usage::cpu_nanos(), Instant::now());
    let mut bytes = 0;
    while begun.elapsed() < time {
        bounded(async { Ok(stream.write_all(&data).await?) }).await?;
        bytes += data.len() as u64;
    }
    bounded(async {
        stream.shutdown().await?;
        Ok(end(&mut stream).await?)
    })
    .await?;
    Ok(Bulk { bytes, elapsed_nanos: nanos(begun.elapsed()), cpu_nanos: usage::cpu_nanos() - cpu })
}

async fn end(stream: &mut impl Io) -> io::Result<()> {
    match stream.read(&mut [0]).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(io::Error::new(ErrorKind::InvalidData, "Typha has sent data where it only receives")),
        Err(error) => Err(error),
    }
}

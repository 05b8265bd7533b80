//! Connections that begin a handshake and stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use typha_tls::FelixConnector;

use super::target::Target;

/// The most connections that are being opened at a time.
const AT_ONCE: u32 = 64;

/// The outcome of one connection.
enum Ended {
    ClosedByPeer(Duration),
    Held,
    NotOpened,
}

/// How many connections were opened, how many of them Typha closed, and after which longest time.
#[derive(Default, Serialize)]
pub(super) struct Stood {
    pub(super) opened: u32,
    closed_by_peer: u32,
    longest_seconds: Option<f64>,
}

pub(super) struct Stalled(JoinSet<Ended>);

impl Stalled {
    /// Opens the connections. Returns when all are open or have failed. They are held for `at_most`, or until `stop`.
    pub(super) async fn open(
        target: &Arc<Target>,
        felix: &FelixConnector,
        connections: u32,
        at_most: Option<Duration>,
        stop: &CancellationToken,
    ) -> io::Result<Self> {
        let mut held = JoinSet::new();
        if connections == 0 {
            return Ok(Self(held));
        }
        let half: Arc<[u8]> = half_a_hello(felix).await?.into();
        let opening = Arc::new(Semaphore::new(AT_ONCE as usize));
        let closed = |_| io::Error::other("the storm is over");
        for turn in 0..connections {
            let permit = opening.clone().acquire_owned().await.map_err(closed)?;
            let (target, half, stop) = (target.clone(), half.clone(), stop.clone());
            held.spawn(async move {
                let opened = stop.run_until_cancelled(begin(&target, turn, &half)).await;
                drop(permit);
                let Some(Ok(tcp)) = opened else { return Ended::NotOpened };
                let begun = Instant::now();
                let held = stop.run_until_cancelled(timeout(at_most.unwrap_or(Duration::MAX), end(tcp)));
                match held.await {
                    Some(Ok(())) => Ended::ClosedByPeer(begun.elapsed()),
                    Some(Err(_)) | None => Ended::Held,
                }
            });
        }
        let _all = opening.acquire_many(AT_ONCE).await.map_err(closed)?;
        Ok(Self(held))
    }

    /// Waits for all connections.
    pub(super) async fn ended(&mut self) -> Stood {
        let mut stood = Stood::default();
        while let Some(ended) = self.0.join_next().await {
            match ended {
                Ok(Ended::ClosedByPeer(after)) => {
                    stood.opened += 1;
                    stood.closed_by_peer += 1;
                    let seconds = after.as_millis() as f64 / 1e3;
                    stood.longest_seconds =
                        Some(stood.longest_seconds.map_or(seconds, |longest| longest.max(seconds)));
                }
                Ok(Ended::Held) => stood.opened += 1,
                Ok(Ended::NotOpened) | Err(_) => {}
            }
        }
        stood
    }
}

async fn begin(target: &Target, turn: u32, half: &[u8]) -> io::Result<TcpStream> {
    let (mut tcp, _) = target.dial(turn).await?;
    tcp.write_all(half).await?;
    Ok(tcp)
}

/// Returns when the other end has closed.
async fn end(mut tcp: TcpStream) {
    let mut buffer = [0; 64];
    while matches!(tcp.read(&mut buffer).await, Ok(1..)) {}
}

/// The first half of this Felix's first message.
async fn half_a_hello(felix: &FelixConnector) -> io::Result<Vec<u8>> {
    const HEADER: usize = 5;
    let (ours, mut theirs) = duplex(64 * 1024);
    let first_record = async {
        let mut header = [0; HEADER];
        theirs.read_exact(&mut header).await?;
        let [.., high, low] = header;
        let mut record = header.to_vec();
        record.resize(HEADER + usize::from(u16::from_be_bytes([high, low])), 0);
        theirs.read_exact(record.get_mut(HEADER..).unwrap_or_default()).await?;
        record.truncate(record.len() / 2);
        Ok(record)
    };
    tokio::select! {
        half = first_record => half,
        _ = felix.connect(ours) => Err(io::Error::other("Felix has ended its handshake before it began")),
    }
}

#[cfg(test)]
mod tests {
    use typha_tls::testing::TestPki;

    use super::*;

    #[tokio::test]
    async fn half_a_hello_is_the_begin_of_one_record() {
        let felix = TestPki::new().unwrap().connector().unwrap();
        let half = half_a_hello(&felix).await.unwrap();
        // Content type handshake, with a ClientHello.
        assert_eq!((half[0], half[5]), (22, 1));
        let record = 5 + usize::from(u16::from_be_bytes([half[3], half[4]]));
        assert_eq!(half.len(), record / 2);
        assert!(half.len() > 100, "{}", half.len());
    }
}

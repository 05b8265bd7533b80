//! Connections that begin a handshake and stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use typha_tls::FelixConnector;

use super::plan::{Plan, Sent};
use super::target::Target;

/// The most connections that are being opened at a time, at the beginning.
const AT_ONCE: u32 = 64;

/// The pause before a closed connection is opened again. Without it, a Typha that resets connections at once would be
/// limited by the processor of the storm.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How many connections were opened, how many of them Typha closed, and after which longest time. `dial_failed` counts
/// those without a TCP connection.
#[derive(Default, Serialize)]
pub(super) struct Stood {
    pub(super) opened: u32,
    closed_by_peer: u32,
    dial_failed: u32,
    longest_seconds: Option<f64>,
}

pub(super) struct Stalled(JoinSet<Stood>);

impl Stalled {
    /// Opens the connections. Returns when all are open or have failed. They are held for the time of the plan, or
    /// until `stop`.
    pub(super) async fn open(
        target: &Arc<Target>,
        felix: &FelixConnector,
        plan: &Arc<Plan>,
        stop: &CancellationToken,
    ) -> io::Result<Self> {
        let mut held = JoinSet::new();
        if plan.stalled == 0 {
            return Ok(Self(held));
        }
        let mut hello = client_hello(felix).await?;
        if plan.stalled_send == Sent::Half {
            hello.truncate(hello.len() / 2);
        }
        let hello: Arc<[u8]> = hello.into();
        let opening = Arc::new(Semaphore::new(AT_ONCE as usize));
        let closed = |_| io::Error::other("the storm is over");
        for turn in 0..plan.stalled {
            let permit = opening.clone().acquire_owned().await.map_err(closed)?;
            let (target, plan, hello, stop) = (target.clone(), plan.clone(), hello.clone(), stop.clone());
            held.spawn(async move {
                let mut stood = Stood::default();
                stop.run_until_cancelled(stand(&target, &plan, turn, &hello, permit, &mut stood)).await;
                stood
            });
        }
        let _all = opening.acquire_many(AT_ONCE).await.map_err(closed)?;
        Ok(Self(held))
    }

    /// Waits for all connections.
    pub(super) async fn ended(&mut self) -> Stood {
        let mut all = Stood::default();
        while let Some(ended) = self.0.join_next().await {
            let Ok(stood) = ended else { continue };
            all.opened += stood.opened;
            all.closed_by_peer += stood.closed_by_peer;
            all.dial_failed += stood.dial_failed;
            all.longest_seconds =
                all.longest_seconds.into_iter().chain(stood.longest_seconds).reduce(f64::max);
        }
        all
    }
}

/// Opens and holds one connection, and the ones after it if the plan has them. Gives up `permit` after the first try.
async fn stand(
    target: &Target,
    plan: &Plan,
    turn: u32,
    hello: &[u8],
    permit: OwnedSemaphorePermit,
    stood: &mut Stood,
) {
    let mut permit = Some(permit);
    loop {
        match target.dial(plan.stalled_source(turn)).await {
            Ok((mut tcp, _)) => {
                stood.opened += 1;
                let begun = Instant::now();
                let sent = tcp.write_all(hello).await;
                permit.take();
                if sent.is_ok() && timeout(plan.stalled_for.unwrap_or(Duration::MAX), end(tcp)).await.is_err()
                {
                    return;
                }
                stood.closed_by_peer += 1;
                let seconds = begun.elapsed().as_millis() as f64 / 1e3;
                stood.longest_seconds = stood.longest_seconds.into_iter().chain([seconds]).reduce(f64::max);
            }
            Err(_) => {
                stood.dial_failed += 1;
                permit.take();
            }
        }
        if !plan.stalled_again {
            return;
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// Returns when the other end has closed. What it sends is read, so that it never waits for room.
async fn end(mut tcp: TcpStream) {
    let mut buffer = [0; 2048];
    while matches!(tcp.read(&mut buffer).await, Ok(1..)) {}
}

/// The first record that this Felix sends: its ClientHello.
async fn client_hello(felix: &FelixConnector) -> io::Result<Vec<u8>> {
    const HEADER: usize = 5;
    let (ours, mut theirs) = duplex(64 * 1024);
    let first_record = async {
        let mut header = [0; HEADER];
        theirs.read_exact(&mut header).await?;
        let [.., high, low] = header;
        let mut record = header.to_vec();
        record.resize(HEADER + usize::from(u16::from_be_bytes([high, low])), 0);
        theirs.read_exact(record.get_mut(HEADER..).unwrap_or_default()).await?;
        Ok(record)
    };
    tokio::select! {
        record = first_record => record,
        _ = felix.connect(ours) => Err(io::Error::other("Felix has ended its handshake before it began")),
    }
}

#[cfg(test)]
mod tests {
    use typha_tls::testing::TestPki;

    use super::*;

    #[tokio::test]
    async fn a_client_hello_is_one_whole_record() {
        let felix = TestPki::new().unwrap().connector().unwrap();
        let hello = client_hello(&felix).await.unwrap();
        // Content type handshake, with a ClientHello that fills the record.
        assert_eq!((hello[0], hello[5]), (22, 1));
        assert_eq!(hello.len(), 5 + usize::from(u16::from_be_bytes([hello[3], hello[4]])));
        assert_eq!(hello.len(), 9 + u32::from_be_bytes([0, hello[6], hello[7], hello[8]]) as usize);
        assert!(hello.len() > 200, "{}", hello.len());
    }
}

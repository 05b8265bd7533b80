//! Felix's end: the load.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use typha_tls::error::WithCauses;

use super::ends::{
    BULK_LENGTH, Connected, Failure, FelixEnd, Io, Negotiated, Purpose, bounded, cpu_time, nanos,
};
use crate::protocol::{Bulk, Chains, Direction, Echoes, Fresh, Handshakes, Held};

/// Pause when all local ports are taken.
const PORT_PAUSE: Duration = Duration::from_millis(10);
/// Handshakes that are in progress at once when connections are to be held.
const AT_ONCE: usize = 32;
/// Length of a small request, and of its answer.
const MESSAGE_LENGTH: usize = 100;

pub(super) struct Load<F: FelixEnd> {
    felix: Arc<F>,
    clients: Clients<F>,
    held: Vec<F::Stream<TcpStream>>,
}

impl<F: FelixEnd> Load<F> {
    pub(super) fn new(felix: F) -> Self {
        let felix = Arc::new(felix);
        let clients = Clients { usual: [].into(), own: felix.clone(), fresh: [].into(), share: 0.0 };
        Self { felix, clients, held: Vec::new() }
    }

    /// Prepares everything that the handshakes will need, before any clock starts.
    pub(super) fn set_leaves(
        &mut self,
        usual: Option<&Chains>,
        fresh: Option<&Fresh>,
    ) -> Result<(), Failure> {
        let share = fresh.map_or(0.0, |fresh| fresh.share);
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("the share of fresh leaves is {share}, not between 0 and 1").into());
        }
        let own = self.felix.clone();
        let made = |chains: Option<&Chains>| chains.map_or(Ok(Vec::new()), |chains| own.with_chains(chains));
        let (usual, fresh) = (made(usual)?.into(), made(fresh.map(|fresh| &fresh.chains))?.into());
        self.clients = Clients { usual, own, fresh, share };
        Ok(())
    }

    /// Handshakes in loops: each client begins the next as soon as it has done one.
    pub(super) async fn handshakes(
        &self,
        address: &str,
        clients: usize,
        millis: u64,
        rides: bool,
    ) -> Result<Handshakes, Failure> {
        let address = parse_address(address)?;
        let turns = Arc::new(Turns { clients: self.clients.clone(), taken: AtomicUsize::new(0) });
        let (cpu, begun) = (cpu_time()?, Instant::now());
        let until = begun + Duration::from_millis(millis);
        let mut loops = JoinSet::new();
        for _ in 0..clients {
            loops.spawn(client(turns.clone(), address, until, rides));
        }
        let mut all = Tally::default();
        while let Some(tally) = loops.join_next().await {
            all.add(tally?)?;
        }
        let (elapsed, cpu) = (begun.elapsed(), cpu_time()?.since(cpu));
        Ok(Handshakes {
            completed: all.rounds.len() as u64,
            failed: all.failed,
            first_failure: all.first_failure,
            resumed: all.resumed,
            fresh: all.fresh,
            negotiated: all.negotiated.map(Negotiated::formatted),
            elapsed_nanos: nanos(elapsed),
            cpu,
            rounds_nanos: all.rounds,
        })
    }

    /// Opens connections that stay open.
    pub(super) async fn hold(&mut self, address: &str, connections: usize) -> Result<Held, Failure> {
        let address = parse_address(address)?;
        let (mut failed, mut first_failure) = (0, None);
        self.held.reserve(connections);
        let mut opening = JoinSet::new();
        for started in 0..connections + AT_ONCE {
            if started < connections {
                let felix = self.felix.clone();
                opening.spawn(async move {
                    bounded(async {
                        let (tcp, _) = dial(address).await?;
                        Ok(open(&*felix, tcp, false).await?.stream)
                    })
                    .await
                });
            }
            // Begins to wait when as many are in progress as may be.
            if started + 1 < AT_ONCE {
                continue;
            }
            match opening.join_next().await {
                Some(Ok(Ok(stream))) => self.held.push(stream),
                Some(Ok(Err(failure))) => {
                    failed += 1;
                    first_failure.get_or_insert_with(|| text(&failure));
                }
                Some(Err(died)) => return Err(died.into()),
                None => break,
            }
        }
        Ok(Held { held: self.held.len(), failed, first_failure })
    }

    /// Small requests over one connection.
    pub(super) async fn echo(&self, address: &str, millis: u64) -> Result<Echoes, Failure> {
        let address = parse_address(address)?;
        let felix = self.felix.clone();
        // A task, as for bulk data.
        let echoing = tokio::spawn(async move {
            let opening = async {
                let (tcp, _) = dial(address).await?;
                felix.connect_tcp(tcp, Purpose::ECHO).await
            };
            let stream = bounded(opening).await?.stream;
            echo(stream, Duration::from_millis(millis)).await
        });
        echoing.await?
    }

    /// Much data over one connection.
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
                let (tcp, _) = dial(address).await?;
                felix.connect_tcp(tcp, purpose).await
            };
            let stream = bounded(opening).await?.stream;
            let time = Duration::from_millis(millis);
            match direction {
                Direction::ToFelix => download(stream, time).await,
                Direction::ToTypha => upload(stream, time).await,
            }
        });
        transfer.await?
    }
}

/// One small request after the other, and the time until its answer.
async fn echo(mut stream: impl Io, time: Duration) -> Result<Echoes, Failure> {
    let begun = Instant::now();
    let (mut message, mut rounds_nanos) = ([b'm'; MESSAGE_LENGTH], Vec::new());
    loop {
        let sent = Instant::now();
        bounded(async {
            stream.write_all(&message).await?;
            stream.flush().await?;
            Ok(stream.read_exact(&mut message).await?)
        })
        .await?;
        rounds_nanos.push(nanos(sent.elapsed()));
        if begun.elapsed() >= time {
            return Ok(Echoes { rounds_nanos });
        }
    }
}

/// Which Felix makes a handshake: a usual one, or one that Typha does not know.
struct Clients<F> {
    usual: Arc<[F]>,
    /// Instead of the usual ones, if there are none.
    own: Arc<F>,
    fresh: Arc<[F]>,
    /// The share of fresh ones.
    share: f64,
}

impl<F> Clone for Clients<F> {
    fn clone(&self) -> Self {
        let Self { usual, own, fresh, share } = self;
        Self { usual: usual.clone(), own: own.clone(), fresh: fresh.clone(), share: *share }
    }
}

/// The clients in turn, from the first one on.
struct Turns<F> {
    clients: Clients<F>,
    taken: AtomicUsize,
}

impl<F> Turns<F> {
    /// The next, and whether it is a fresh one. `None` when the fresh ones are used up, and ever after.
    fn next(&self) -> Option<(&F, bool)> {
        let Clients { usual, own, fresh, share } = &self.clients;
        let turn = self.taken.fetch_add(1, Relaxed);
        let [before, after] = [turn, turn + 1].map(|turn| due(turn, *share));
        if after > fresh.len() {
            None
        } else if after > before {
            fresh.get(before).map(|felix| (felix, true))
        } else {
            let usual = turn.checked_rem(usual.len()).and_then(|index| usual.get(index));
            Some((usual.unwrap_or(own), false))
        }
    }
}

/// How many fresh ones are due within so many turns: they are spread evenly.
fn due(turns: usize, share: f64) -> usize {
    (turns as f64 * share).floor() as usize
}

/// What one client, or all of them, have done.
#[derive(Default)]
struct Tally {
    /// Nanoseconds of each round that succeeded.
    rounds: Vec<u64>,
    failed: u64,
    first_failure: Option<String>,
    resumed: u64,
    fresh: u64,
    negotiated: Option<Negotiated>,
}

impl Tally {
    fn fail(&mut self, failure: &Failure) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| text(failure));
    }

    fn add(&mut self, mut other: Self) -> Result<(), Failure> {
        self.rounds.append(&mut other.rounds);
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.resumed += other.resumed;
        self.fresh += other.fresh;
        self.agree(other.negotiated)
    }

    /// All handshakes must negotiate the same: figures about a mixture would mean nothing.
    fn agree(&mut self, found: Option<Negotiated>) -> Result<(), Failure> {
        match (self.negotiated.take(), found) {
            (Some(first), Some(other)) if first != other => {
                let [first, other] = [first, other].map(Negotiated::formatted);
                Err(format!("the handshakes differ: {first}, and then {other}").into())
            }
            (first, other) => {
                self.negotiated = other.or(first);
                Ok(())
            }
        }
    }
}

/// Makes at least one round, so that the shortest request has a result. Ends at the first failure, because it ends the
/// run.
async fn client<F: FelixEnd>(
    turns: Arc<Turns<F>>,
    address: SocketAddr,
    until: Instant,
    rides: bool,
) -> Tally {
    let mut tally = Tally::default();
    while let Some((felix, fresh)) = turns.next() {
        let agreed = match bounded(round(felix, address, rides)).await {
            Ok((nanos, Connected { resumed, negotiated, .. })) => {
                tally.rounds.push(nanos);
                tally.resumed += u64::from(resumed);
                tally.fresh += u64::from(fresh);
                tally.agree(negotiated)
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = agreed {
            tally.fail(&failure);
            break;
        }
        if Instant::now() >= until {
            break;
        }
    }
    tally
}

/// Returns how many nanoseconds the round took, too. Closes TCP without a close_notify of TLS: it would be one more
/// record on either end, and is no part of a handshake.
async fn round<F: FelixEnd>(
    felix: &F,
    address: SocketAddr,
    rides: bool,
) -> Result<(u64, Connected<()>), Failure> {
    let (tcp, begun) = dial(address).await?;
    let Connected { stream, resumed, negotiated } = open(felix, tcp, rides).await?;
    let nanos = nanos(begun.elapsed());
    drop(stream);
    Ok((nanos, Connected { stream: (), resumed, negotiated }))
}

fn parse_address(address: &str) -> Result<SocketAddr, Failure> {
    address.parse().map_err(|error| format!("{address:?} is not an address to connect to: {error}").into())
}

fn text(failure: &Failure) -> String {
    WithCauses(&**failure).to_string()
}

/// A TCP connection, and when the attempt began that succeeded.
///
/// Felix closes first, so its end keeps the local port for a while: a minute, or a second on loopback, where Linux may
/// use such ports again. While no port is free, this waits; failed attempts do not count.
async fn dial(address: SocketAddr) -> io::Result<(TcpStream, Instant)> {
    loop {
        let begun = Instant::now();
        match TcpStream::connect(address).await {
            Ok(tcp) => return Ok((tcp, begun)),
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => sleep(PORT_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

/// Handshake, one byte there and one back: after that, both ends have finished the handshake.
async fn open<F: FelixEnd>(
    felix: &F,
    tcp: TcpStream,
    rides: bool,
) -> Result<Connected<F::Stream<TcpStream>>, Failure> {
    let mut connected = felix.connect_tcp(tcp, Purpose::echo(rides)).await?;
    connected.stream.read_exact(&mut [0]).await?;
    Ok(connected)
}

/// Counts from the first data that arrive.
async fn download(mut stream: impl Io, time: Duration) -> Result<Bulk, Failure> {
    let mut buffer = vec![0; BULK_LENGTH];
    bounded(receive(&mut stream, &mut buffer)).await?;
    let (cpu, begun) = (cpu_time()?, Instant::now());
    let mut bytes = 0;
    while begun.elapsed() < time {
        bytes += bounded(receive(&mut stream, &mut buffer)).await? as u64;
    }
    Ok(Bulk { bytes, elapsed_nanos: nanos(begun.elapsed()), cpu: cpu_time()?.since(cpu) })
}

async fn receive(stream: &mut impl Io, buffer: &mut [u8]) -> Result<usize, Failure> {
    match stream.read(buffer).await? {
        0 => Err("Typha closed the connection although it had more data".into()),
        length => Ok(length),
    }
}

/// Counts until Typha has closed its direction, which it does when it has received everything.
async fn upload(mut stream: impl Io, time: Duration) -> Result<Bulk, Failure> {
    let data = vec![0; BULK_LENGTH];
    let (cpu, begun) = (cpu_time()?, Instant::now());
    let mut bytes = 0;
    while begun.elapsed() < time {
        bounded(async { Ok(stream.write_all(&data).await?) }).await?;
        bytes += data.len() as u64;
    }
    bounded(async {
        stream.shutdown().await?;
        match stream.read(&mut [0]).await? {
            0 => Ok(()),
            _ => Err("Typha sent data on a connection where it only receives".into()),
        }
    })
    .await?;
    Ok(Bulk { bytes, elapsed_nanos: nanos(begun.elapsed()), cpu: cpu_time()?.since(cpu) })
}

#[cfg(test)]
mod tests {
    use super::due;

    #[test]
    fn fresh_ones_are_spread_evenly() {
        let turns = |share| (1..=6).map(|turns| due(turns, share)).collect::<Vec<_>>();
        assert_eq!(turns(0.0), [0; 6]);
        assert_eq!(turns(0.5), [0, 1, 1, 2, 2, 3]);
        assert_eq!(turns(0.75), [0, 1, 2, 3, 3, 4]);
        assert_eq!(turns(1.0), [1, 2, 3, 4, 5, 6]);
    }
}

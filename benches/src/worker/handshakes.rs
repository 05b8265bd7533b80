//! Handshakes in closed loops: each client begins the next as soon as it has done one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Failure;
use super::clients::Clients;
use super::ends::{Connected, FelixEnd, Negotiated};
use super::felix::{Load, bounded, dial, open, parse_address, text};
use super::usage;
use crate::protocol::Handshakes;

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

impl<F: FelixEnd> Load<F> {
    pub(super) async fn handshakes(
        &self,
        address: &str,
        clients: usize,
        millis: u64,
        rides: bool,
    ) -> Result<Handshakes, Failure> {
        let address = parse_address(address)?;
        let who = Arc::new(self.clients.begun_anew());
        let (cpu, begun) = (usage::cpu_nanos(), Instant::now());
        let until = begun + Duration::from_millis(millis);
        let mut loops = JoinSet::new();
        for _ in 0..clients {
            loops.spawn(client(who.clone(), address, until, rides));
        }
        let mut all = Tally::default();
        while let Some(tally) = loops.join_next().await {
            all.add(tally?)?;
        }
        let (elapsed, cpu) = (begun.elapsed(), usage::cpu_nanos() - cpu);
        Ok(Handshakes {
            completed: all.rounds.len() as u64,
            failed: all.failed,
            first_failure: all.first_failure,
            resumed: all.resumed,
            fresh: all.fresh,
            negotiated: all.negotiated.map(Negotiated::told),
            elapsed_nanos: nanos(elapsed),
            cpu_nanos: cpu,
            rounds_nanos: all.rounds,
        })
    }
}

/// Makes at least one round, so that the shortest request has something to say.
async fn client<F: FelixEnd>(
    who: Arc<Clients<F>>,
    address: SocketAddr,
    until: Instant,
    rides: bool,
) -> Tally {
    let mut tally = Tally::default();
    while let Some((felix, fresh)) = who.next() {
        match bounded(round(felix, address, rides)).await {
            Ok((nanos, facts)) => {
                tally.rounds.push(nanos);
                tally.resumed += u64::from(facts.resumed);
                tally.fresh += u64::from(fresh);
                if let Err(failure) = agree(&mut tally.negotiated, facts.negotiated) {
                    tally.fail(&failure);
                    break;
                }
            }
            // The run will end for it: there is no use in failing a thousand times.
            Err(failure) => {
                tally.fail(&failure);
                break;
            }
        }
        if Instant::now() >= until {
            break;
        }
    }
    tally
}

/// Returns how many nanoseconds the round took, and whether its session was resumed. Closes TCP without a goodbye of TLS:
/// it would be one more record on either end, and is no part of a handshake.
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

/// Keeps what was negotiated, which must be the same in all handshakes: figures about a mixture would be about nothing.
fn agree(known: &mut Option<Negotiated>, found: Option<Negotiated>) -> Result<(), Failure> {
    match (*known, found) {
        (Some(first), Some(other)) if first != other => {
            Err(format!("the handshakes are not alike: {}, and then {}", first.told(), other.told()).into())
        }
        _ => {
            *known = found.or(*known);
            Ok(())
        }
    }
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
        agree(&mut self.negotiated, other.negotiated)
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

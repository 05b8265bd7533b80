//! Handshakes in closed loops: each client begins the next as soon as it has done one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Failure;
use super::clients::Clients;
use super::ends::FelixEnd;
use super::felix::{Load, bounded, dial, open, parse_address, text};
use super::usage;
use crate::bench::protocol::{Fresh, Handshakes};

/// What one client, or all of them, have done.
#[derive(Default)]
struct Tally {
    /// Nanoseconds of each round that succeeded.
    rounds: Vec<u64>,
    failed: u64,
    first_failure: Option<String>,
    resumed: u64,
}

impl<F: FelixEnd> Load<F> {
    pub(super) async fn handshakes(
        &self,
        address: &str,
        clients: usize,
        millis: u64,
        rides: bool,
        fresh: Option<&Fresh>,
    ) -> Result<Handshakes, Failure> {
        let address = parse_address(address)?;
        let who = Arc::new(Clients::new(self.felix.clone(), fresh)?);
        let (cpu, begun) = (usage::cpu_nanos(), Instant::now());
        let until = begun + Duration::from_millis(millis);
        let mut loops = JoinSet::new();
        for _ in 0..clients {
            loops.spawn(client(who.clone(), address, until, rides));
        }
        let mut all = Tally::default();
        while let Some(tally) = loops.join_next().await {
            all.add(tally?);
        }
        let (elapsed, cpu) = (begun.elapsed(), usage::cpu_nanos() - cpu);
        all.rounds.sort_unstable();
        Ok(Handshakes {
            completed: all.rounds.len() as u64,
            failed: all.failed,
            first_failure: all.first_failure,
            resumed: all.resumed,
            elapsed_nanos: nanos(elapsed),
            cpu_nanos: cpu,
            p50_nanos: percentile(&all.rounds, 50),
            p99_nanos: percentile(&all.rounds, 99),
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
    while let Some(felix) = who.next() {
        match bounded(round(felix, address, rides)).await {
            Ok((nanos, resumed)) => {
                tally.rounds.push(nanos);
                tally.resumed += u64::from(resumed);
            }
            Err(failure) => {
                tally.failed += 1;
                tally.first_failure.get_or_insert_with(|| text(&failure));
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
async fn round<F: FelixEnd>(felix: &F, address: SocketAddr, rides: bool) -> Result<(u64, bool), Failure> {
    let (tcp, begun) = dial(address).await?;
    let connected = open(felix, tcp, rides).await?;
    Ok((nanos(begun.elapsed()), connected.resumed))
}

impl Tally {
    fn add(&mut self, mut other: Self) {
        self.rounds.append(&mut other.rounds);
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.resumed += other.resumed;
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The smallest value that `percent` of all do not exceed; 0 if there is none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<_> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), 50);
        assert_eq!(percentile(&hundred, 99), 99);
        assert_eq!(percentile(&[7], 50), 7);
        assert_eq!(percentile(&[7, 8, 9], 99), 9);
        assert_eq!(percentile(&[], 50), 0);
    }
}

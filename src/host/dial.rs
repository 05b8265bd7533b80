//! Connects to one of the addresses of a host.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::error::{AddressAttempt, HostDialError};
use crate::client::ClientHandshake;
use crate::connection::Connection;
use crate::dialer::AttemptError;
use crate::identity::ServerHost;
use crate::lifetime::{ConnectionLifetime, Connections, review};
use crate::text::WithCauses;
use crate::time::deadline_in;
use crate::tls_context::{HostEnd, InForce};

/// How long an address may take to answer before the next one is dialled beside it, as in RFC 8305.
const HEAD_START: Duration = Duration::from_millis(250);

/// How long a connection still works after its owner was asked to close it.
const GRACE: Duration = Duration::from_secs(1);

/// Dials the addresses of `address` and accepts the server that is valid for `host`.
pub(super) async fn dial(
    in_force: InForce<HostEnd>,
    client: ClientHandshake,
    lifetime: ConnectionLifetime,
    address: ServerHost,
    port: u16,
    host: ServerHost,
    bound: Duration,
) -> Result<Connection, HostDialError> {
    let deadline = deadline_in(bound);
    let mut attempts = Vec::new();
    let timed_out =
        |attempts| HostDialError::TimedOut { host: address.clone(), port, after: bound, attempts };
    let unresolved =
        |source: io::Error| HostDialError::Unresolved { host: address.clone(), source: Arc::new(source) };
    let mut addresses = match address.ip_address() {
        Some(address) => vec![SocketAddr::from((address, port))],
        None => match timeout_at(deadline, lookup_host((address.to_string(), port))).await {
            Ok(found) => interleaved(found.map_err(unresolved)?.collect()),
            Err(_) => return Err(timed_out(attempts)),
        },
    }
    .into_iter();
    if addresses.len() == 0 {
        return Err(unresolved(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    let mut dials = FuturesUnordered::new();
    let mut next_dial_at = Instant::now();
    loop {
        let now = Instant::now();
        if now >= deadline {
            return Err(timed_out(attempts));
        }
        if now >= next_dial_at
            && let Some(address) = addresses.next()
        {
            dials.push(async move { (address, now, TcpStream::connect(address).await) });
            next_dial_at = now + HEAD_START;
        } else if dials.is_empty() {
            match addresses.len() {
                0 => return Err(HostDialError::AllFailed { host: address.clone(), port, attempts }),
                _ => next_dial_at = now,
            }
            continue;
        }
        let wake_at = if addresses.len() == 0 { deadline } else { deadline.min(next_dial_at) };
        let (peer, since, tcp) = tokio::select! {
            biased;
            Some(dialled) = dials.next() => dialled,
            () = sleep_until(wake_at) => continue,
        };
        let error = match tcp {
            Ok(tcp) => {
                // A server that is silent leaves time for the other addresses.
                let (share, until) = match u32::try_from(addresses.len() + dials.len()) {
                    Ok(0) | Err(_) => (bound, deadline),
                    Ok(others) => {
                        let share = deadline.saturating_duration_since(Instant::now()) / (others + 1);
                        (share, deadline_in(share))
                    }
                };
                let name = host.server_name().clone();
                let handshake = client.clone().run_until(in_force.current(), name, tcp, share, until);
                match handshake.await {
                    Ok(stream) => {
                        let generations = in_force.generations();
                        let connections = Connections::new(generations, lifetime, GRACE, Box::new(()));
                        let connections = Arc::new(connections);
                        let connection = Connection::new(stream, peer, connections.clone());
                        let over = connections.clone();
                        tokio::spawn(review(in_force, connections, async move { over.emptied().await }));
                        return Ok(connection);
                    }
                    Err(error) => AttemptError::Handshake(error),
                }
            }
            Err(error) => AttemptError::Dial(error),
        };
        debug!(address = %peer, error = %WithCauses(&error), "no connection to this address");
        attempts.push(AddressAttempt { address: peer, error: Arc::new(error), took: since.elapsed() });
        next_dial_at = Instant::now();
    }
}

/// The addresses in turn of both families, in the order of each, so that a family that does not work costs little time
/// (RFC 8305 section 4).
fn interleaved(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second) = (0, 0);
    addresses.sort_by_cached_key(|address| {
        let is_first = address.is_ipv6() == first_is_v6;
        let turn = if is_first { &mut first } else { &mut second };
        *turn += 1;
        (*turn, !is_first)
    });
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parsed = |addresses: &[&str]| -> Vec<SocketAddr> {
            addresses.iter().map(|address| address.parse().unwrap()).collect()
        };
        let found = parsed(&["[::1]:1", "[::2]:1", "[::3]:1", "192.0.2.1:1", "192.0.2.2:1"]);
        let in_turn = parsed(&["[::1]:1", "192.0.2.1:1", "[::2]:1", "192.0.2.2:1", "[::3]:1"]);
        assert_eq!(interleaved(found), in_turn);
        assert_eq!(interleaved(Vec::new()), []);
    }
}

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
use crate::lifetime::ConnectionLifetime;
use crate::text::WithCauses;
use crate::time::deadline_in;
use crate::tls_context::{HostEnd, InForce};

/// How long a TCP connection may take before the next address is dialled beside it, as in RFC 8305.
const HEAD_START: Duration = Duration::from_millis(250);

/// A dial to `address`, which accepts a server whose certificate is valid for `host`.
pub(super) struct HostDial {
    pub(super) in_force: InForce<HostEnd>,
    pub(super) client: ClientHandshake,
    pub(super) lifetime: ConnectionLifetime,
    pub(super) address: ServerHost,
    pub(super) port: u16,
    pub(super) host: ServerHost,
    /// The time limit.
    pub(super) bound: Duration,
}

impl HostDial {
    pub(super) async fn run(self) -> Result<Connection, HostDialError> {
        let deadline = deadline_in(self.bound);
        let addresses = match self.address.ip_address() {
            Some(address) => vec![SocketAddr::from((address, self.port))],
            None => match timeout_at(deadline, lookup_host((self.address.lookup_name(), self.port))).await {
                Ok(found) => interleaved(found.map_err(|error| self.unresolved(error))?.collect()),
                Err(_) => return Err(self.timed_out(Vec::new())),
            },
        };
        self.try_each(addresses, deadline).await
    }

    /// Tries the addresses in this order.
    async fn try_each(
        self,
        addresses: Vec<SocketAddr>,
        deadline: Instant,
    ) -> Result<Connection, HostDialError> {
        if addresses.is_empty() {
            return Err(self.unresolved(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
        }
        let mut addresses = addresses.into_iter();
        let mut attempts = Vec::new();
        let mut dials = FuturesUnordered::new();
        let mut next_dial_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(self.timed_out(attempts));
            }
            if now >= next_dial_at
                && let Some(address) = addresses.next()
            {
                dials.push(async move { (address, now, TcpStream::connect(address).await) });
                next_dial_at = now + HEAD_START;
            } else if dials.is_empty() {
                if addresses.len() == 0 {
                    let (host, port) = (self.address, self.port);
                    return Err(HostDialError::AllFailed { host, port, attempts });
                }
                next_dial_at = now;
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
                        Ok(0) | Err(_) => (self.bound, deadline),
                        Ok(others) => {
                            let share = deadline.saturating_duration_since(Instant::now()) / (others + 1);
                            (share, deadline_in(share))
                        }
                    };
                    let (context, name) = (self.in_force.current(), self.host.server_name().clone());
                    let client = self.client.clone();
                    match client.run_until(context, name, tcp, share, until).await {
                        Ok(stream) => {
                            let Self { in_force, lifetime, .. } = self;
                            return Ok(Connection::of_client(stream, peer, in_force, lifetime, ()));
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

    fn timed_out(self, attempts: Vec<AddressAttempt>) -> HostDialError {
        let Self { address: host, port, bound: after, .. } = self;
        HostDialError::TimedOut { host, port, after, attempts }
    }

    fn unresolved(&self, error: io::Error) -> HostDialError {
        HostDialError::Unresolved { host: self.address.clone(), source: Arc::new(error) }
    }
}

/// The addresses, alternating between IPv4 and IPv6. Each family keeps its order. So a family that does not work costs
/// little time (RFC 8305 section 4).
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
#[path = "dial_tests.rs"]
mod tests;

//! Typhas that are found by DNS.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::timeout_at;
use tracing::warn;

use super::endpoint::{DiscoveryError, EndpointSource, TyphaEndpoint};
use super::host_port::{Host, HostPort, InvalidAddress};
use crate::detached::Detached;
use crate::time::deadline_in;

/// Finds Typhas by their host names: all addresses of each name, of both families. The system's resolver (`/etc/hosts`
/// and DNS, as the system is set up) looks up each name every time. IP addresses need no lookup.
///
/// If a name can not be looked up, that is logged. It is an error only if no other name has an address. A name whose
/// lookup takes 1 s longer than the first one that gives an address is left out and logged. Clones share their lookups.
#[derive(Clone)]
pub struct DnsEndpoints {
    names: Arc<[Name]>,
    resolve: Resolve,
}

type Resolve = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

struct Name {
    name: HostPort,
    lookup: Detached<Answer>,
}

/// How long to wait for other names after one has given an address. A resolver whose servers answer takes less.
const LAGGARDS: Duration = Duration::from_secs(1);

/// The answer to a lookup, shared by all tasks that wait for it.
type Answer = Result<Vec<SocketAddr>, Arc<io::Error>>;

impl DnsEndpoints {
    /// One name: `host:port`. The host may be an IP address; IPv6 addresses are in brackets.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`] for any other form. The name is not looked up here.
    pub fn new(address: impl AsRef<str>) -> Result<Self, InvalidAddress> {
        Self::several([address])
    }

    /// Several names, each as in [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`] for the first address of another form.
    pub fn several<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> Result<Self, InvalidAddress> {
        let names: Result<_, _> = addresses.into_iter().map(|address| address.as_ref().parse()).collect();
        Ok(Self::with_resolver(names?, Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))))
    }

    fn with_resolver(names: Vec<HostPort>, resolve: Resolve) -> Self {
        let names =
            names.into_iter().map(|name| Name { name, lookup: Detached::new("looking up a name") }).collect();
        Self { names, resolve }
    }

    /// The answer for each name; `None` for names that take too long after another has given an address.
    async fn answers(&self) -> Vec<Option<Answer>> {
        let lookups = self.names.iter().zip(0..).map(async |(name, position)| {
            let answer = name.look_up(&self.resolve).await;
            (position, answer)
        });
        let mut lookups: FuturesUnordered<_> = lookups.collect();
        let mut answers = vec![None; self.names.len()];
        let mut laggards_until = None;
        loop {
            let next = match laggards_until {
                Some(until) => timeout_at(until, lookups.next()).await.unwrap_or(None),
                None => lookups.next().await,
            };
            let Some((position, answer)) = next else { return answers };
            if answer.as_ref().is_ok_and(|addresses| !addresses.is_empty()) {
                laggards_until.get_or_insert_with(|| deadline_in(LAGGARDS));
            }
            if let Some(place) = answers.get_mut::<usize>(position) {
                *place = Some(answer);
            }
        }
    }
}

impl Name {
    /// Looks up the name, or joins a lookup that is still running.
    async fn look_up(&self, resolve: &Resolve) -> Answer {
        let Host::Name(host) = &self.name.host else { return Ok(self.name.literal().into_iter().collect()) };
        let (host, port, resolve) = (host.to_owned(), self.name.port, resolve.clone());
        self.lookup.join_or_start(move || resolve(&host, port).map_err(Arc::new)).await?
    }
}

impl EndpointSource for DnsEndpoints {
    async fn endpoints(&self) -> Result<Vec<TyphaEndpoint>, DiscoveryError> {
        let answers = self.answers().await;
        let (mut endpoints, mut last_error) = (Vec::<TyphaEndpoint>::new(), None);
        for (Name { name, .. }, answer) in self.names.iter().zip(answers) {
            let Some(answer) = answer else {
                warn!(%name, "the lookup of a name of Typha takes too long; continuing without it");
                continue;
            };
            match answer {
                Ok(addresses) if addresses.is_empty() => {
                    last_error = Some(DiscoveryError::new(format!("{name} has no address")));
                }
                Ok(addresses) => {
                    for address in addresses {
                        if !endpoints.iter().any(|known| known.address == address) {
                            endpoints.push(address.into());
                        }
                    }
                }
                Err(error) => {
                    if self.names.len() > 1 {
                        warn!(%name, %error, "a name of Typha can not be looked up");
                    }
                    let problem =
                        format!("{name} can not be looked up (check the name and the DNS of this host)");
                    last_error = Some(DiscoveryError::new(problem).with_source(error));
                }
            }
        }
        match last_error {
            _ if !endpoints.is_empty() => Ok(endpoints),
            Some(error) => Err(error),
            None => Err(DiscoveryError::new("the list of Typha names is empty")),
        }
    }
}

impl fmt::Debug for DnsEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names.iter().map(|name| &name.name)).finish()
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;

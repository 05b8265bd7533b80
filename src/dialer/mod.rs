//! What a Felix needs to find a Typha and to stay connected to one: [`FelixDialer`].

mod backoff;
mod connecting;
mod connection;
mod dns;
mod endpoint;
mod error;
mod felix_dialer;
mod fixed;
mod host_port;
mod known;
mod limits;
mod review;
#[cfg(test)]
mod review_tests;
mod run;
mod search;
mod state;
mod transport;

pub use connection::FelixConnection;
pub use dns::DnsEndpoints;
pub use endpoint::{DiscoveryError, EndpointSource, TyphaEndpoint};
pub use error::{AttemptError, DialError, FailedAttempt};
pub use felix_dialer::FelixDialer;
pub use fixed::FixedEndpoints;
pub(crate) use host_port::HostPort;
pub use host_port::InvalidAddress;
pub use limits::DialerLimits;
pub use state::{DialerError, DialerPhase, DialerState};

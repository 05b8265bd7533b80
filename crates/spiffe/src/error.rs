//! Why the Workload API gives nothing usable.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use typha_tls::error::{Quoted, QuotedList};
use typha_tls::identity::RequiredIdentity;
use typha_tls::material::MaterialError;

/// Why a [`SpiffeSource`](crate::SpiffeSource) has no usable configuration, or no new one.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SpiffeError {
    /// The agent can not be reached, closed the connection, or failed to answer.
    #[error(
        "nothing comes from the SPIFFE agent: {}; see that it runs and that the directory of its socket is mounted \
         here",
        Quoted(cause)
    )]
    Disconnected {
        /// All causes in one line.
        cause: String,
    },
    /// The endpoint is not a Unix socket.
    #[error(
        "{} is no endpoint of a Workload API over a Unix socket: {problem}; it is to be like \
         unix:///run/spire/agent-sockets/spire-agent.sock",
        Quoted(endpoint)
    )]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
        /// The problem.
        problem: String,
    },
    /// The program gives no endpoint, and the environment has none.
    #[error("no endpoint of the Workload API is given, and SPIFFE_ENDPOINT_SOCKET is not set")]
    EndpointUnset,
    /// Federated bundles are enabled, but the required identity does not determine a trust domain.
    #[error(
        "with federated bundles, the required identity must be a SPIFFE ID alone, because it names the trusted trust \
         domain; required is {required}"
    )]
    FederationNeedsSpiffeId {
        /// The required identity.
        required: RequiredIdentity,
    },
    /// The required SPIFFE ID is of another trust domain than our SVID, but federated bundles are not enabled.
    #[error(
        "the required {required} is not of our trust domain {}, whose CAs may not vouch for it; ask for federated \
         bundles, or require another",
        Quoted(own)
    )]
    ForeignTrustDomain {
        /// The required identity.
        required: RequiredIdentity,
        /// The trust domain of our SVID.
        own: String,
    },
    /// The agent sent something that is not an X.509-SVID or not a bundle.
    #[error("the SPIFFE agent sent what can not be used: {}", Quoted(problem))]
    Malformed {
        /// The problem.
        problem: String,
    },
    /// The agent sent a chain, a key or a bundle that can not be used.
    #[error("the chain, the key or the bundle of the SPIFFE agent can not be used")]
    Material(#[source] Arc<MaterialError>),
    /// The agent has no bundle of the trust domain of the required SPIFFE ID.
    #[error(
        "the SPIFFE agent has no bundle of the trust domain {}, only of {}; have the registration of this workload \
         federate with it",
        Quoted(trust_domain),
        QuotedList(known)
    )]
    NoBundle {
        /// The trust domain of the required SPIFFE ID.
        trust_domain: String,
        /// The trust domains whose bundles the agent has.
        known: Vec<String>,
    },
    /// The agent has no identity for this process.
    #[error(
        "the SPIFFE agent has no identity for this process: {}; see that the workload is registered, and that its \
         selectors match",
        Quoted(message)
    )]
    NoIdentity {
        /// The message of the agent.
        message: String,
    },
    /// The agent has SVIDs for us, but not the chosen one.
    #[error("the SPIFFE agent has no X.509-SVID with {wanted}; it has {}", QuotedList(offered))]
    NoSuchSvid {
        /// The chosen hint or SPIFFE ID.
        wanted: String,
        /// The available SPIFFE IDs, each with its hint if it has one.
        offered: Vec<String>,
    },
    /// The agent accepts connections but does not answer.
    #[error("the SPIFFE agent takes connections and has not answered for {after:?}; see why it hangs")]
    Silent {
        /// The bound that was exceeded.
        after: Duration,
    },
    /// No task follows the agent any more, because the runtime of the source has ended.
    #[error("nothing follows the SPIFFE agent any more, because the runtime of its connection has ended")]
    Stopped,
    /// No usable SVID arrived in time. The source is the last problem; it is `None` if the agent did not answer yet.
    #[error("no X.509-SVID from the SPIFFE agent at {endpoint} after {after:?}")]
    TimedOut {
        /// The endpoint.
        endpoint: String,
        /// The bound that was exceeded.
        after: Duration,
        /// The last problem.
        #[source]
        waited_for: Option<Box<SpiffeError>>,
    },
}

impl SpiffeError {
    /// Whether the agent's answer is the problem, rather than the connection to the agent.
    pub(crate) fn is_an_answer(&self) -> bool {
        !matches!(self, Self::Disconnected { .. } | Self::Silent { .. })
    }
}

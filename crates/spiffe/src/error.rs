//! Why the Workload API gives nothing that can be used.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use typha_tls::error::{Quoted, QuotedList};
use typha_tls::identity::RequiredIdentity;
use typha_tls::material::MaterialError;

/// Why a [`SpiffeSource`](crate::SpiffeSource) has nothing that can be used, or nothing new.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SpiffeError {
    /// The agent can not be reached, it ended the connection, or it failed to answer.
    #[error(
        "nothing comes from the SPIFFE agent: {}; see that it runs and that the directory of its socket is mounted \
         here",
        Quoted(cause)
    )]
    Disconnected {
        /// All causes in one line.
        cause: String,
    },
    /// The endpoint is not that of a Unix socket.
    #[error(
        "{} is no endpoint of a Workload API over a Unix socket: {problem}; it is to be like \
         unix:///run/spire/agent-sockets/spire-agent.sock",
        Quoted(endpoint)
    )]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No endpoint is given, and the environment has none.
    #[error("no endpoint of the Workload API is given, and SPIFFE_ENDPOINT_SOCKET is not set")]
    EndpointUnset,
    /// Federated bundles are asked for, and the required identity does not say of which trust domain.
    #[error(
        "with federated bundles a SPIFFE ID alone must be required, as only that names the trust domain whose CAs \
         count; required is {required}"
    )]
    FederationNeedsSpiffeId {
        /// The required identity.
        required: RequiredIdentity,
    },
    /// The required SPIFFE ID is of another trust domain than our SVID, and federated bundles are not asked for.
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
    /// The agent sent what is no X.509-SVID or no bundle.
    #[error("the SPIFFE agent sent what can not be used: {}", Quoted(problem))]
    Malformed {
        /// What is wrong with it.
        problem: String,
    },
    /// What the agent sent is no usable chain, key or bundle.
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
        /// The trust domains of which it has.
        known: Vec<String>,
    },
    /// The agent has no identity for this process.
    #[error(
        "the SPIFFE agent has no identity for this process: {}; see that the workload is registered, and that its \
         selectors match",
        Quoted(message)
    )]
    NoIdentity {
        /// What the agent said.
        message: String,
    },
    /// None of our SVIDs is the one chosen.
    #[error("the SPIFFE agent has no X.509-SVID with {wanted}; it has {}", QuotedList(offered))]
    NoSuchSvid {
        /// What was chosen: a hint or a SPIFFE ID.
        wanted: String,
        /// The SPIFFE IDs that there are, each with its hint if it has one.
        offered: Vec<String>,
    },
    /// The agent takes connections and does not answer.
    #[error("the SPIFFE agent takes connections and has not answered for {after:?}; see why it hangs")]
    Silent {
        /// The bound that was exceeded.
        after: Duration,
    },
    /// Nothing follows the agent any more: the runtime that the source was connected on has ended.
    #[error("nothing follows the SPIFFE agent any more, as the runtime it was connected on has ended")]
    Stopped,
    /// There was no usable SVID in time. The source is what it was that was being waited out; with none, the agent's
    /// first answer.
    #[error("no X.509-SVID from the SPIFFE agent at {endpoint} after {after:?}")]
    TimedOut {
        /// The endpoint.
        endpoint: String,
        /// The bound that was exceeded.
        after: Duration,
        /// What was wrong last.
        #[source]
        waited_for: Option<Box<SpiffeError>>,
    },
}

impl SpiffeError {
    /// Whether it is said of what the agent answered, and not only of the connection with it.
    pub(crate) fn is_an_answer(&self) -> bool {
        !matches!(self, Self::Disconnected { .. } | Self::Silent { .. })
    }
}

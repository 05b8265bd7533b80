//! How to reach the agent, and what to take of what it has.

use std::time::Duration;

use spiffe::transport::Endpoint;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use typha_tls::error::WithCauses;
use typha_tls::identity::RequiredIdentity;
use typha_tls::policy::TlsPolicy;

use crate::error::SpiffeError;
use crate::follower::{Known, follow};
use crate::selection::{Choice, Selection};
use crate::source::SpiffeSource;

/// How a [`SpiffeSource`] reaches its agent, and what it takes of what that has.
#[derive(Clone, Debug)]
pub struct SpiffeSourceBuilder {
    endpoint: Option<String>,
    connect_timeout: Duration,
    selection: Selection,
}

/// Long enough for an agent that starts with its node, and for a registration that reaches it at its next
/// synchronisation, 5 s apart in SPIRE; short enough for a pod with a wrong one to be seen failing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the SPIFFE Workload Endpoint standard (section 4) has the endpoint.
const ENDPOINT_VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

impl SpiffeSource {
    /// Begins a source of configurations for which the other end must have the identity `required_peer`.
    pub fn builder(required_peer: RequiredIdentity, policy: TlsPolicy) -> SpiffeSourceBuilder {
        let selection = Selection { choice: Choice::First, federated: false, required_peer, policy };
        SpiffeSourceBuilder { endpoint: None, connect_timeout: CONNECT_TIMEOUT, selection }
    }
}

impl SpiffeSourceBuilder {
    /// The socket of the Workload API, as `unix:///run/spire/agent-sockets/spire-agent.sock`; by default what the
    /// environment variable `SPIFFE_ENDPOINT_SOCKET` says, as the SPIFFE standards have it.
    ///
    /// It must be a Unix socket: over TCP our key would cross a network in the clear.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Takes the SVID that the agent gives this hint, if it has several for us; by default the first.
    #[must_use]
    pub fn svid_with_hint(mut self, hint: impl Into<String>) -> Self {
        self.selection.choice = Choice::Hint(hint.into());
        self
    }

    /// Takes the SVID with this SPIFFE ID, if the agent has several for us; by default the first.
    #[must_use]
    pub fn svid_with_id(mut self, id: impl Into<String>) -> Self {
        self.selection.choice = Choice::Id(id.into());
        self
    }

    /// Lets the required SPIFFE ID be of another trust domain than ours; by default it must be of ours.
    ///
    /// The CAs that count are then those of that trust domain, and **no others**: its federated bundle, without our
    /// own. A SPIFFE ID, and no Common Name, must be required.
    ///
    /// # Security
    ///
    /// The CAs of the other trust domain decide who has the required SPIFFE ID. The bundles of all other trust domains
    /// that the agent federates with are left out: SPIFFE has a bundle vouch only for its own trust domain, and a
    /// Common Name has none.
    #[must_use]
    pub fn with_federated_bundles(mut self) -> Self {
        self.selection.federated = true;
        self
    }

    /// For how long [`connect`](Self::connect) waits for the first usable SVID; by default 60 s, which is enough for an
    /// agent that starts beside us, and for a registration on its way to it.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Waits until the agent has given a usable SVID and the bundle for it.
    ///
    /// Until then everything is waited out: an agent that is not there yet, one that does not know us yet, one that
    /// sends what can not be used. May be dropped at any time. Needs a tokio runtime, on which a task follows the agent
    /// until the source is dropped.
    ///
    /// # Errors
    ///
    /// [`SpiffeError::TimedOut`], with what was waited for last as its source. At once: [`SpiffeError::Endpoint`],
    /// [`SpiffeError::EndpointUnset`], [`SpiffeError::FederationNeedsSpiffeId`].
    pub async fn connect(self) -> Result<SpiffeSource, SpiffeError> {
        self.selection.check()?;
        let endpoint = match self.endpoint {
            Some(endpoint) => endpoint,
            None => from_environment()?,
        };
        let socket = unix_socket(&endpoint)?;
        let (sender, mut known) = watch::channel(Known::default());
        let follower = AbortOnDropHandle::new(tokio::spawn(follow(socket, self.selection, sender)));
        let is_usable = |known: &Known| matches!(known.answer, Some(Ok(_)));
        let outcome = tokio::time::timeout(self.connect_timeout, known.wait_for(is_usable))
            .await
            .map(|known| known.is_ok());
        match outcome {
            Ok(true) => Ok(SpiffeSource::new(endpoint, known, follower)),
            Ok(false) => Err(SpiffeError::Stopped),
            Err(_) => {
                let waited_for = known.borrow().problem.clone().map(Box::new);
                Err(SpiffeError::TimedOut { endpoint, after: self.connect_timeout, waited_for })
            }
        }
    }
}

fn from_environment() -> Result<String, SpiffeError> {
    let endpoint = std::env::var_os(ENDPOINT_VARIABLE).filter(|value| !value.is_empty());
    let endpoint = endpoint.ok_or(SpiffeError::EndpointUnset)?;
    endpoint.into_string().map_err(|endpoint| SpiffeError::Endpoint {
        endpoint: endpoint.to_string_lossy().into_owned(),
        problem: "it is not UTF-8".to_owned(),
    })
}

fn unix_socket(endpoint: &str) -> Result<Endpoint, SpiffeError> {
    let refused = |problem: String| SpiffeError::Endpoint { endpoint: endpoint.to_owned(), problem };
    match Endpoint::parse(endpoint) {
        Ok(socket @ Endpoint::Unix(_)) => Ok(socket),
        Ok(_) => Err(refused("over TCP our key would cross a network in the clear".to_owned())),
        Err(error) => Err(refused(WithCauses(&error).to_string())),
    }
}

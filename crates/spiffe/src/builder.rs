//! The settings of a source: the socket of the agent, and the SVID and bundle to use.

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

/// The settings of a [`SpiffeSource`]: the socket of its agent, and the SVID and bundle to use.
#[derive(Clone, Debug)]
pub struct SpiffeSourceBuilder {
    endpoint: Option<String>,
    connect_timeout: Duration,
    selection: Selection,
}

/// Long enough for an agent that starts together with its node, and for a registration to reach it (SPIRE synchronises
/// every 5 s). Short enough that a pod with a wrong registration fails visibly.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// The environment variable of the SPIFFE Workload Endpoint standard (section 4).
const ENDPOINT_VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

impl SpiffeSource {
    /// Starts a source of configurations that require the identity `required_peer` of the other end.
    pub fn builder(required_peer: RequiredIdentity, policy: TlsPolicy) -> SpiffeSourceBuilder {
        let selection = Selection { choice: Choice::First, federated: false, required_peer, policy };
        SpiffeSourceBuilder { endpoint: None, connect_timeout: CONNECT_TIMEOUT, selection }
    }
}

impl SpiffeSourceBuilder {
    /// Sets the socket of the Workload API, such as `unix:///run/spire/agent-sockets/spire-agent.sock`. The default is
    /// the value of the environment variable `SPIFFE_ENDPOINT_SOCKET`, as in the SPIFFE standards.
    ///
    /// It must be a Unix socket: over TCP, our private key would cross a network unencrypted.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Chooses the SVID with this hint, if the agent has several for us; the default is the first.
    #[must_use]
    pub fn svid_with_hint(mut self, hint: impl Into<String>) -> Self {
        self.selection.choice = Choice::Hint(hint.into());
        self
    }

    /// Chooses the SVID with this SPIFFE ID, if the agent has several for us; the default is the first.
    #[must_use]
    pub fn svid_with_id(mut self, id: impl Into<String>) -> Self {
        self.selection.choice = Choice::Id(id.into());
        self
    }

    /// Allows a required SPIFFE ID of another trust domain; by default it must be of our own.
    ///
    /// The trusted CAs are then those of the other trust domain's federated bundle, and **no others**, not even our
    /// own. The required identity must be a SPIFFE ID without a Common Name.
    ///
    /// # Security
    ///
    /// The CAs of the other trust domain decide which peers have the required SPIFFE ID. Bundles of further federated
    /// trust domains are not used: in SPIFFE a bundle may vouch only for its own trust domain. A Common Name has no
    /// trust domain.
    #[must_use]
    pub fn with_federated_bundles(mut self) -> Self {
        self.selection.federated = true;
        self
    }

    /// Sets how long [`connect`](Self::connect) waits for the first usable SVID; the default is 60 s. That is enough
    /// for an agent that starts together with us, and for a new registration.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Waits until the agent has sent a usable SVID and its bundle.
    ///
    /// It waits while the agent does not run, does not know this process, or sends unusable material. The future may be
    /// dropped at any time. It needs a tokio runtime: a task there follows the agent until the source is dropped.
    ///
    /// # Errors
    ///
    /// [`SpiffeError::TimedOut`], whose source is the last problem. Without waiting: [`SpiffeError::Endpoint`],
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

//! Why the API server gave no Typha.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::setup_error::KubernetesSetupError;
use typha_tls::error::{Quoted, QuotedList};
use typha_tls::host::HttpsError;

/// Why no Typha was found for a Kubernetes service. It is the source of the
/// [`DiscoveryError`](typha_tls::dialer::DiscoveryError) of [`KubernetesEndpoints`](crate::KubernetesEndpoints).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KubernetesError {
    /// The API server answered with an error.
    #[error("the API server answered {status}: {}{}", Quoted(message), hint(*status))]
    Answered {
        /// The HTTP status.
        status: u16,
        /// The message of the API server.
        message: String,
    },
    /// The connection to the API server broke.
    #[error("the connection to the API server broke: {}", Quoted(cause))]
    Disconnected {
        /// All causes in one line.
        cause: String,
    },
    /// Our account may not list EndpointSlices.
    #[error(
        "the API server denies access (403); grant our account the verb \"list\" on the resource \"endpointslices\" \
         of the API group \"discovery.k8s.io\" in the namespace {namespace}; it says {}",
        Quoted(message)
    )]
    Forbidden {
        /// The namespace of the service.
        namespace: String,
        /// The message of the API server.
        message: String,
    },
    /// The answer is not a list of EndpointSlices, or its entries are not usable.
    #[error("the answer is not that of a working Kubernetes API: {problem}")]
    Malformed {
        /// The problem. Everything from the answer is quoted.
        problem: String,
    },
    /// The service has slices, but they have no addresses.
    #[error(
        "the EndpointSlices of the service list no addresses of the families IPv4 and IPv6; see that pods of Typha \
         run and that the service selects them"
    )]
    NoEndpoints,
    /// The service has endpoints, but none of them has a TCP port with that name.
    #[error(
        "the endpoints of the service have no TCP port with the name {}, but {}; name Typha's port {0}, or use \
         with_port_name",
        Quoted(port_name),
        QuotedList(ports)
    )]
    NoPort {
        /// The expected name.
        port_name: String,
        /// The ports found, as `name 5473/TCP`.
        ports: Vec<String>,
    },
    /// The service has no EndpointSlice.
    #[error(
        "there is no EndpointSlice of the service; see that a service of this name exists in this namespace"
    )]
    NoSlices,
    /// No endpoint is ready.
    #[error(
        "none of the {endpoints} endpoints of the service is ready; see why the readiness probes of Typha's pods fail"
    )]
    NoneReady {
        /// The number of endpoints.
        endpoints: usize,
    },
    /// There are no usable credentials.
    #[error(transparent)]
    Setup(#[from] KubernetesSetupError),
    /// There was no complete answer in time.
    #[error(
        "no complete answer of the API server after {after:?}; see whether it is overloaded, or raise with_timeout"
    )]
    TimedOut {
        /// The bound that was exceeded.
        after: Duration,
    },
    /// The answer is larger than any list of Typhas.
    #[error("the answer of the API server is larger than {limit} bytes")]
    TooLarge {
        /// The bound that was exceeded.
        limit: usize,
    },
    /// The API server does not accept our credentials.
    #[error(
        "the API server does not accept our credentials (401){}; see that the token or the client certificate is of \
         this cluster and has not expired; it says {}",
        Presented(certificate.as_deref()),
        Quoted(message)
    )]
    Unauthorized {
        /// The message of the API server.
        message: String,
        /// The names of the client certificate that we have, if we have one.
        certificate: Option<String>,
    },
    /// There is no connection to the API server: no address answers, or the connection ended early.
    #[error("the API server can not be reached")]
    Unreachable(#[source] HttpsError),
    /// We do not accept the server at the address of the API server, or TLS fails for another reason.
    #[error("no TLS connection with the API server")]
    Untrusted(#[source] HttpsError),
}

impl KubernetesError {
    /// Whether another kubeconfig or another token of an exec plugin might help.
    pub(crate) fn is_about_the_client(&self) -> bool {
        matches!(
            self,
            Self::Disconnected { .. }
                | Self::TimedOut { .. }
                | Self::Unauthorized { .. }
                | Self::Unreachable(_)
                | Self::Untrusted(_)
        )
    }
}

/// Explains a 401 if we have a client certificate. The API server requests one, but does not require it.
struct Presented<'a>(Option<&'a str>);

impl fmt::Display for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(certificate) => write!(
                f,
                ". We have a client certificate ({certificate}). A wrong one is refused in this way only: its CA must \
                 be in --client-ca-file of the API server, and it must be for clientAuth"
            ),
        }
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        404 => {
            " (there are EndpointSlices of discovery.k8s.io/v1 since Kubernetes 1.21; see that the address is that of \
             an API server)"
        }
        429 | 503 => " (it is overloaded or starting)",
        _ => "",
    }
}

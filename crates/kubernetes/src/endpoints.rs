//! Finds Typhas in the EndpointSlices of a Kubernetes service.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;

use typha_tls::dialer::{DiscoveryError, EndpointSource, TyphaEndpoint};
use typha_tls::policy::TlsPolicy;

use crate::error::KubernetesError;
use crate::lazy::{LazyClient, Origin};
use crate::setup_error::KubernetesSetupError;
use crate::{request, slices};

/// The Typhas behind a Kubernetes service, as its EndpointSlices list them.
///
/// Each call of [`endpoints`](EndpointSource::endpoints) lists the slices again, so that a new Typha is found at once.
/// It takes one request on a connection that is kept for 60 s. It returns:
/// - the addresses of both families of all ready endpoints; as the API defines it, an endpoint without that condition
///   counts as ready;
/// - with the TCP port that is *named* `calico-typha` ([`with_port_name`](Self::with_port_name)) in their slice;
/// - with the node on which they run;
/// - each address once.
///
/// A call may be dropped at any point, which closes its connection. Only an exec plugin of a kubeconfig runs on; the
/// next call gets its result. All calls must be on one tokio runtime, with its timer and I/O enabled.
///
/// The account needs only the permission to `list` `endpointslices` of the API group `discovery.k8s.io` in the
/// namespace of the service. If no Typha is found, the error has a [`KubernetesError`] as its source.
///
/// ```no_run
/// use typha_tls::dialer::EndpointSource;
/// use typha_tls_kubernetes::KubernetesEndpoints;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let source = KubernetesEndpoints::infer("kube-system", "calico-typha")?;
/// for typha in source.endpoints().await? {
///     println!("{typha} on {:?}", typha.node_name);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Security
///
/// The answers decide which addresses a Felix tries, but not which Typha it accepts: Typhas authenticate themselves.
/// The API server must authenticate itself, because it receives our credentials. Only the CA that comes with them is
/// trusted for that.
pub struct KubernetesEndpoints {
    client: LazyClient,
    namespace: String,
    service: String,
    port_name: String,
    timeout: Duration,
}

/// The name of Typha's port in Calico's manifests.
const PORT_NAME: &str = "calico-typha";

/// Less than the 10 s that an attempt may take, so that the reason is known before the future is dropped.
const TIMEOUT: Duration = Duration::from_secs(8);

impl KubernetesEndpoints {
    /// Makes a source that uses `client`, with its credentials and its TLS.
    ///
    /// A client that kube itself makes with its feature `rustls-tls` uses the crypto provider of the process.
    /// [`from_config`](Self::from_config) does not.
    ///
    /// # Errors
    ///
    /// [`BadName`](KubernetesSetupError::BadName) if `namespace` or `service` is not a name that Kubernetes allows.
    pub fn new(
        client: kube::Client,
        namespace: impl Into<String>,
        service: impl Into<String>,
    ) -> Result<Self, KubernetesSetupError> {
        Self::with_origin(Origin::Client(client), namespace.into(), service.into())
    }

    /// Makes a source that uses the API server of `config` and its credentials: a bearer token, a client certificate, a
    /// password, or an exec plugin that prints a token.
    ///
    /// The first call of [`endpoints`](EndpointSource::endpoints) makes the [client](crate::client()), which follows
    /// the files of `config`. An exec plugin runs again after a call that could not reach the API server, or whose
    /// credentials were not accepted.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new). A problem with `config` is an error of each call.
    pub fn from_config(
        config: kube::Config,
        namespace: impl Into<String>,
        service: impl Into<String>,
    ) -> Result<Self, KubernetesSetupError> {
        Self::with_origin(Origin::Config(Box::new(config)), namespace.into(), service.into())
    }

    /// Makes a source that finds its credentials itself: in the kubeconfig of the environment variable `KUBECONFIG`,
    /// else in `~/.kube/config`, else in the pod's service account.
    ///
    /// The first call of [`endpoints`](EndpointSource::endpoints) finds them by
    /// [`infer_config`](crate::infer_config) and makes the [client](crate::client()), which follows their files. So
    /// rotated credentials and CAs need no restart. The kubeconfig itself is read again after a call that found no
    /// credentials, could not reach the API server, or was not accepted. A broken kubeconfig is an error; the service
    /// account is not tried then.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new). Missing credentials are an error of each call.
    pub fn infer(
        namespace: impl Into<String>,
        service: impl Into<String>,
    ) -> Result<Self, KubernetesSetupError> {
        Self::with_origin(Origin::Environment, namespace.into(), service.into())
    }

    fn with_origin(origin: Origin, namespace: String, service: String) -> Result<Self, KubernetesSetupError> {
        for (what, name) in [("namespace", &namespace), ("service", &service)] {
            if !is_label(name) {
                return Err(KubernetesSetupError::BadName { what, name: name.clone() });
            }
        }
        Ok(Self {
            client: LazyClient::new(origin),
            namespace,
            service,
            port_name: PORT_NAME.to_owned(),
            timeout: TIMEOUT,
        })
    }

    /// Sets the name of Typha's port in the EndpointSlices; the default is Calico's, `calico-typha`.
    #[must_use]
    pub fn with_port_name(mut self, name: impl Into<String>) -> Self {
        self.port_name = name.into();
        self
    }

    /// Sets the bound on a whole call of [`endpoints`](EndpointSource::endpoints); the default is 8 s. That is less
    /// than the 10 s after which a dialer drops the call, so that the reason is not lost.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the TLS policy of the connection to the API server; the default is that of [`TlsPolicy::builder`]. It has
    /// no effect after [`new`](Self::new), because that client has its own TLS.
    #[must_use]
    pub fn with_policy(mut self, policy: TlsPolicy) -> Self {
        self.client.set_policy(policy);
        self
    }

    async fn list(&self) -> Result<Vec<TyphaEndpoint>, KubernetesError> {
        let api = self.client.get().await?;
        let mut tally = slices::Tally::new(&self.port_name);
        request::list(&api, &self.namespace, &self.service, |slice| tally.add(slice)).await?;
        tally.outcome()
    }
}

impl EndpointSource for KubernetesEndpoints {
    async fn endpoints(&self) -> Result<Vec<TyphaEndpoint>, DiscoveryError> {
        let outcome = timeout(self.timeout, self.list())
            .await
            .unwrap_or(Err(KubernetesError::TimedOut { after: self.timeout }));
        match outcome {
            Ok(endpoints) => {
                debug!(count = endpoints.len(), "the Kubernetes service has ready Typhas");
                Ok(endpoints)
            }
            Err(error) => {
                if error.is_about_the_client() {
                    self.client.forget();
                }
                let problem = format!(
                    "the Typhas of the Kubernetes service {}/{} can not be found",
                    self.namespace, self.service
                );
                Err(DiscoveryError::new(problem).with_source(error))
            }
        }
    }
}

impl fmt::Debug for KubernetesEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesEndpoints")
            .field("namespace", &self.namespace)
            .field("service", &self.service)
            .field("port_name", &self.port_name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Whether it is an RFC 1123 label, as names of namespaces and services are. It becomes a part of a path without
/// escapes.
fn is_label(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

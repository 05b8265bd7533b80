//! Why there is no client of the Kubernetes API.

use thiserror::Error;
use typha_tls::config::SetupError;
use typha_tls::error::Quoted;
use typha_tls::identity::InvalidHost;
use typha_tls::material::MaterialError;
use typha_tls::policy::PolicyError;

/// Why the Kubernetes API can not be used at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KubernetesSetupError {
    /// The name is not allowed in Kubernetes.
    #[error(
        "{} is no {what} in Kubernetes: a name has 1 to 63 of the characters a-z, 0-9 and \"-\", and no \"-\" at its \
         ends",
        Quoted(name)
    )]
    BadName {
        /// `namespace` or `service`.
        what: &'static str,
        /// The name as given.
        name: String,
    },
    /// The client certificate of the kubeconfig, or its key, is missing or is no Base64.
    #[error("the client certificate of the kubeconfig can not be used: {problem}")]
    ClientCertificate {
        /// The problem.
        problem: String,
    },
    /// The rest of the configuration can not become a dialer.
    #[error(transparent)]
    Config(#[from] SetupError),
    /// The token, the password or the exec plugin can not be used.
    #[error("the credentials for the Kubernetes API can not be used: {problem}")]
    Credentials {
        /// The problem.
        problem: String,
    },
    /// The host of the API server is one that no certificate can be valid for.
    #[error("the address of the API server can not be used")]
    Host(#[source] InvalidHost),
    /// The kubeconfig turns off the verification of the API server.
    #[error(
        "the kubeconfig has insecure-skip-tls-verify, which is not supported; give it the cluster's \
         certificate-authority instead"
    )]
    InsecureSkipTlsVerify,
    /// The kubeconfig exists but can not be used.
    #[error("the kubeconfig can not be used: {problem}")]
    Kubeconfig {
        /// The problem.
        problem: String,
    },
    /// The CAs of the API server, the client certificate or its key can not be used.
    #[error("the certificates for the Kubernetes API can not be used")]
    Material(#[source] MaterialError),
    /// The kubeconfig has no CA for the API server.
    #[error(
        "the kubeconfig has no certificate-authority for the API server, and the CAs of the system are not trusted \
         for it; set certificate-authority in it, or K8S_CA_FILE, to the cluster's CAs"
    )]
    NoCertificateAuthority,
    /// There is neither a kubeconfig nor a usable service account of a pod.
    #[error(
        "no credentials for the Kubernetes API: there is no kubeconfig (set KUBECONFIG, or write ~/.kube/config), and \
         the service account of a pod can not be used: {pod}"
    )]
    NoCredentials {
        /// The problem with the service account of the pod.
        pod: String,
    },
    /// The API server would receive our credentials without TLS.
    #[error(
        "the address of the API server, {}, does not begin with https://; write https://HOST:PORT",
        Quoted(url)
    )]
    NotHttps {
        /// Its scheme, host and port.
        url: String,
    },
    /// One of Calico's parameters can not be used.
    #[error("the parameter {name} can not be used: {problem}")]
    Parameter {
        /// The environment variable, such as `K8S_API_ENDPOINT`.
        name: &'static str,
        /// The problem, and the remedy.
        problem: String,
    },
    /// The TLS policy can not be built.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The address of the API server has a port that is no TCP port.
    #[error(
        "the address of the API server, {}, has a port that is no TCP port; write https://HOST:PORT with a port from \
         1 to 65535",
        Quoted(url)
    )]
    Port {
        /// Its scheme and host.
        url: String,
    },
    /// A proxy is configured.
    #[error(
        "a proxy for the API server is configured (proxy-url of the kubeconfig, or proxy_url of a kube::Config, which \
         kube sets from HTTPS_PROXY, too), which is not supported; remove it, or give a client of your own"
    )]
    Proxy,
    /// The system can not start a thread that reads the credentials.
    #[error("no thread can be started to read the credentials for the Kubernetes API")]
    Thread(#[source] std::io::Error),
    /// The server name in the kubeconfig is not a host name.
    #[error(
        "the tls-server-name {} of the kubeconfig is not a host name; correct it or remove it",
        Quoted(name)
    )]
    TlsServerName {
        /// The name as given.
        name: String,
    },
    /// The address of the API server has a user or a password, which would not be sent.
    #[error(
        "the address of the API server, {}, has a user (USER@ or USER:PASSWORD@), which is not supported in a URL; \
         remove it from the URL, and set a token or a client certificate",
        Quoted(url)
    )]
    UserInUrl {
        /// Its scheme, host and port.
        url: String,
    },
}

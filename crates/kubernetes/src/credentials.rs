//! Finds the credentials for the API. Its errors never show the credentials.

use std::io;
use std::path::PathBuf;

use kube::Config;
use kube::client::AuthError;
use kube::config::{AuthInfo, Kubeconfig, KubeconfigError, LoadDataError};
use secrecy::ExposeSecret;

use crate::setup_error::KubernetesSetupError;
use typha_tls::error::Quoted;

/// Finds the API server and our credentials for [`client`](crate::client()): in the kubeconfig that the environment
/// variable `KUBECONFIG` names, else in `~/.kube/config`, else in the pod's service account.
///
/// Unlike `kube::Config::infer`, it uses the service account only if there is no kubeconfig, not if a kubeconfig is
/// broken. It keeps the path of the CA file, so that [`client`](crate::client()) follows it. No environment variable
/// redirects the service account. `HTTPS_PROXY` and the like are ignored: the connection is direct. It blocks while it
/// reads files.
///
/// # Errors
///
/// [`Kubeconfig`](KubernetesSetupError::Kubeconfig), [`NoCredentials`](KubernetesSetupError::NoCredentials), and
/// [`Proxy`](KubernetesSetupError::Proxy) for a `proxy-url` in the kubeconfig.
pub fn infer_config() -> Result<Config, KubernetesSetupError> {
    let found = match Kubeconfig::from_env() {
        Ok(None) => match Kubeconfig::read() {
            Err(error) if is_absent(&error) => {
                return of_pod(|name| std::env::var(name).ok());
            }
            found => found,
        },
        Ok(Some(kubeconfig)) => Ok(kubeconfig),
        Err(error) => Err(error),
    };
    of_kubeconfig(found.map_err(|error| unusable(&error))?)
}

/// The configuration of a pod that has these environment variables.
pub(crate) fn of_pod(variable: impl Fn(&str) -> Option<String>) -> Result<Config, KubernetesSetupError> {
    let [host, port] = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"]
        .map(|name| variable(name).filter(|value| !value.is_empty()));
    let unusable = |pod: &str| KubernetesSetupError::NoCredentials { pod: pod.to_owned() };
    let (Some(host), Some(port)) = (host, port) else {
        return Err(unusable(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so that this is no pod",
        ));
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let url = format!("https://{host}:{port}").parse();
    let url =
        url.map_err(|_| unusable("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are no address"))?;
    // Of kube's functions for pods, it is the one that does not read the environment of the process.
    let mut config =
        Config::incluster_dns().map_err(|error| unusable(&Quoted(&error.to_string()).to_string()))?;
    config.cluster_url = url;
    Ok(config)
}

/// The configuration of a kubeconfig, with the file of its CAs. kube reads that file and forgets its path.
pub(crate) fn of_kubeconfig(mut kubeconfig: Kubeconfig) -> Result<Config, KubernetesSetupError> {
    let context =
        kubeconfig.contexts.iter().find(|named| Some(&named.name) == kubeconfig.current_context.as_ref());
    let cluster = context.and_then(|named| named.context.as_ref()).map(|context| context.cluster.clone());
    let cluster = kubeconfig.clusters.iter_mut().find(|named| Some(&named.name) == cluster.as_ref());
    let mut ca_file = None;
    if let Some(cluster) = cluster.and_then(|named| named.cluster.as_mut()) {
        if cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty()) {
            return Err(KubernetesSetupError::Proxy);
        }
        // Without one, kube takes that of the environment of the process, which is ignored.
        cluster.proxy_url = Some("http://proxy.invalid".to_owned());
        if cluster.certificate_authority_data.is_none() {
            ca_file = cluster.certificate_authority.as_ref().map(PathBuf::from);
        }
    }
    let mut config = Config::try_from(kubeconfig).map_err(|error| unusable(&error))?;
    config.proxy_url = None;
    if let Some(cluster) = config.auth_info.exec.as_mut().and_then(|exec| exec.cluster.as_mut()) {
        cluster.proxy_url = None;
    }
    config.root_cert_file = ca_file;
    Ok(config)
}

pub(crate) fn unusable(error: &KubeconfigError) -> KubernetesSetupError {
    KubernetesSetupError::Kubeconfig { problem: kubeconfig_problem(error) }
}

fn is_absent(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

fn kubeconfig_problem(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, path) => format!("{}: {error}", path.display()),
        // The error's own text shows the lines around, which may hold a token.
        KubeconfigError::Parse(error) => match error.location() {
            Some(place) => {
                format!("it is no valid kubeconfig (line {}, column {})", place.line(), place.column())
            }
            None => "it is no valid kubeconfig".to_owned(),
        },
        KubeconfigError::LoadCertificateAuthority(error) => {
            format!("its certificate-authority: {}", data_problem(error))
        }
        other => Quoted(&other.to_string()).to_string(),
    }
}

fn data_problem(error: &LoadDataError) -> String {
    match error {
        LoadDataError::ReadFile(error, path) => format!("{}: {error}", path.display()),
        other => other.to_string(),
    }
}

/// The problem of a token or an exec plugin. The plugin's output is not shown, because it may be the token.
pub(crate) fn auth_problem(error: &kube::Error) -> String {
    let kube::Error::Auth(error) = error else { return "they are not valid".to_owned() };
    match error {
        AuthError::AuthExecStart(error) => {
            format!("the exec plugin of the kubeconfig can not be started: {error}")
        }
        AuthError::AuthExecRun { status, .. } => {
            format!("the exec plugin of the kubeconfig failed: {status}")
        }
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => {
            "the exec plugin of the kubeconfig printed no ExecCredential with a status".to_owned()
        }
        AuthError::AuthExec(problem) => Quoted(problem).to_string(),
        AuthError::InvalidBearerToken(_) => BAD_TOKEN.to_owned(),
        AuthError::ReadTokenFile(error, path) => format!("{}: {error}", path.display()),
        _ => "they are not valid".to_owned(),
    }
}

/// Checks the token first, because kube panics if it can not be an HTTP header.
pub(crate) fn check_token(auth: &AuthInfo) -> Result<(), KubernetesSetupError> {
    match &auth.token {
        Some(token) if !token.expose_secret().bytes().all(|b| b.is_ascii_graphic()) => {
            Err(KubernetesSetupError::Credentials { problem: BAD_TOKEN.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The file of the token, if the token comes from a file. It is read here, so that it is followed more closely than by
/// kube. A file wins over a token, as in Kubernetes' own client; the rest of the order is that of kube.
pub(crate) fn token_file(auth: &AuthInfo) -> Option<PathBuf> {
    let has_password = auth.username.is_some() && auth.password.is_some();
    let comes_first = auth.auth_provider.is_some() || has_password;
    auth.token_file.as_ref().filter(|_| !comes_first).map(PathBuf::from)
}

pub(crate) const BAD_TOKEN: &str = "the token has characters that no token has, such as the end of a line";

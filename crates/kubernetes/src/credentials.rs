//! Finds the credentials for the API. Its errors never show the credentials.

use std::io;
use std::path::PathBuf;

use kube::Config;
use kube::client::AuthError;
use kube::config::{AuthInfo, InClusterError, Kubeconfig, KubeconfigError, LoadDataError};
use secrecy::ExposeSecret;

use crate::setup_error::KubernetesSetupError;
use typha_tls::error::Quoted;

/// Finds the API server and our credentials for [`client`](crate::client()): in the kubeconfig that the environment
/// variable `KUBECONFIG` names, else in `~/.kube/config`, else in the pod's service account.
///
/// Unlike `kube::Config::infer`, it uses the service account only if there is no kubeconfig, not if a kubeconfig is
/// broken. It keeps the path of the CA file, so that [`client`](crate::client()) follows it. No environment variable
/// redirects the service account. It blocks while it reads files.
///
/// # Errors
///
/// [`Kubeconfig`](KubernetesSetupError::Kubeconfig) and [`NoCredentials`](KubernetesSetupError::NoCredentials).
pub fn infer_config() -> Result<Config, KubernetesSetupError> {
    let found = match Kubeconfig::from_env() {
        Ok(None) => match Kubeconfig::read() {
            Err(error) if is_absent(&error) => return of_pod(),
            found => found,
        },
        Ok(Some(kubeconfig)) => Ok(kubeconfig),
        Err(error) => Err(error),
    };
    of_kubeconfig(found.map_err(|error| unusable(&error))?)
}

/// The configuration of a pod.
pub(crate) fn of_pod() -> Result<Config, KubernetesSetupError> {
    Config::incluster().map_err(|error| KubernetesSetupError::NoCredentials { pod: pod_problem(&error) })
}

/// The configuration of a kubeconfig, with the file of its CAs. kube reads that file and forgets its path.
pub(crate) fn of_kubeconfig(kubeconfig: Kubeconfig) -> Result<Config, KubernetesSetupError> {
    let context =
        kubeconfig.contexts.iter().find(|named| Some(&named.name) == kubeconfig.current_context.as_ref());
    let cluster = context.and_then(|named| named.context.as_ref()).map(|context| &context.cluster);
    let cluster = kubeconfig.clusters.iter().find(|named| Some(&named.name) == cluster);
    let cluster = cluster.and_then(|named| named.cluster.as_ref());
    let ca_file = cluster
        .filter(|cluster| cluster.certificate_authority_data.is_none())
        .and_then(|cluster| cluster.certificate_authority.as_ref())
        .map(PathBuf::from);
    let mut config = Config::try_from(kubeconfig).map_err(|error| unusable(&error))?;
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

fn pod_problem(error: &InClusterError) -> String {
    match error {
        InClusterError::ReadEnvironmentVariable(_) => {
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so that this is no pod"
                .to_owned()
        }
        other => Quoted(&other.to_string()).to_string(),
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
/// kube. The order is that of kube.
pub(crate) fn token_file(auth: &AuthInfo) -> Option<PathBuf> {
    let has_password = auth.username.is_some() && auth.password.is_some();
    let comes_first = auth.auth_provider.is_some() || has_password || auth.token.is_some();
    auth.token_file.as_ref().filter(|_| !comes_first).map(PathBuf::from)
}

pub(crate) const BAD_TOKEN: &str = "the token has characters that no token has, such as the end of a line";

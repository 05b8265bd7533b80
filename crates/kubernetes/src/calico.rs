//! Calico's parameters for the Kubernetes API.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hyper::Uri;
use kube::Config;
use kube::config::Kubeconfig;

use crate::credentials::{of_kubeconfig, of_pod, unusable};
use crate::server_url;
use crate::setup_error::KubernetesSetupError;
use typha_tls::error::WithCauses;

/// Finds the API server and our credentials for [`client`](crate::client()) in Calico's environment variables, as
/// Felix, Typha, calicoctl and kube-controllers do: `calico_config(std::env::vars_os())`.
///
/// The base is the kubeconfig that `KUBECONFIG` names. Without `KUBECONFIG`, there is no base if `K8S_API_ENDPOINT` is
/// set. Otherwise the base is `~/.kube/config` if it exists, else the pod's service account. These variables override
/// the base:
///
/// | variable | replaces |
/// | --- | --- |
/// | `K8S_CURRENT_CONTEXT` | the `current-context` of the kubeconfig |
/// | `K8S_API_ENDPOINT` | `server`, and removes `tls-server-name` |
/// | `K8S_CA_FILE` | `certificate-authority`, as a file or as data, and `insecure-skip-tls-verify` |
/// | `K8S_CERT_FILE`, `K8S_KEY_FILE` | `client-certificate` and `client-key`, as files or as data |
/// | `K8SAPITOKEN`, else `K8S_API_TOKEN` | `token`, `tokenFile`, user and password |
///
/// Each of these variables and `KUBECONFIG` may have the prefix `CALICO_`. A variable with the prefix wins over one
/// without, even if it is empty. An empty variable counts as unset. So the token is that of `CALICO_K8SAPITOKEN`, else
/// `K8SAPITOKEN` if the former does not exist. If that gives none, it is that of `CALICO_K8S_API_TOKEN`, else
/// `K8S_API_TOKEN` if the former does not exist. Calico itself reads `CALICO_K8SAPITOKEN` only.
///
/// The base uses `HOME`, and in a pod `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`. No other variable is
/// read, and the environment of the process is not read. In particular `HTTPS_PROXY` and the like are ignored, whatever
/// the base: the connection is direct.
///
/// The client follows the files. This function blocks while it reads them.
///
/// # Errors
///
/// [`Parameter`](KubernetesSetupError::Parameter) for a variable that can not be used. It is stricter than Calico about
/// an endpoint without TLS, a certificate without its key, a context without a kubeconfig, and a
/// `K8S_INSECURE_SKIP_TLS_VERIFY` that is not false. A user in the URL is an error, too. Otherwise as
/// [`infer_config`](crate::infer_config).
pub fn calico_config<N: Into<OsString>, V: Into<OsString>>(
    variables: impl IntoIterator<Item = (N, V)>,
) -> Result<Config, KubernetesSetupError> {
    let variables: HashMap<OsString, OsString> =
        variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let variable = |name: &'static str| {
        let with_prefix = variables.get(Path::new(&format!("CALICO_{name}")).as_os_str());
        let value = with_prefix.or_else(|| variables.get(Path::new(name).as_os_str()));
        value.filter(|value| !value.is_empty())
    };
    let problem = |name, problem: &str| KubernetesSetupError::Parameter { name, problem: problem.to_owned() };
    let text = |name| match variable(name).map(|value| value.to_str()) {
        Some(None) => Err(problem(name, "it is not UTF-8")),
        value => Ok(value.flatten()),
    };

    let is_true = |value: &str| !["0", "f", "F", "false", "FALSE", "False"].contains(&value);
    let insecure = "K8S_INSECURE_SKIP_TLS_VERIFY";
    if text(insecure)?.is_some_and(is_true) {
        let why = "it turns off the verification of the API server, which is not supported; remove it, and set \
                   K8S_CA_FILE to the cluster's CAs";
        return Err(problem(insecure, why));
    }
    let endpoint = text("K8S_API_ENDPOINT")?.map(|endpoint| {
        // Calico takes a host with its port, too.
        let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") };
        // What can not be parsed is not shown, because it may have a password.
        let no_url = |_| problem("K8S_API_ENDPOINT", "it is no URL; write https://HOST:PORT");
        let url: Uri = url.parse().map_err(no_url)?;
        let unusable = |error| problem("K8S_API_ENDPOINT", &WithCauses(&error).to_string());
        server_url::check(&url).map_err(unusable).map(|()| url)
    });
    let endpoint = endpoint.transpose()?;

    // The base.
    let kubeconfig = match variable("KUBECONFIG") {
        Some(paths) => {
            let paths = std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty());
            paths.into_iter().try_fold(None, |merged: Option<Kubeconfig>, path| {
                let next = Kubeconfig::read_from(path)?;
                merged.unwrap_or_default().merge(next).map(Some)
            })
        }
        None => {
            let home = variables.get(Path::new("HOME").as_os_str()).filter(|home| !home.is_empty());
            let path = home.map(|home| Path::new(home).join(".kube/config"));
            let path = path.filter(|path| endpoint.is_none() && path.exists());
            path.map(Kubeconfig::read_from).transpose()
        }
    };
    let mut config = match (kubeconfig.map_err(|error| unusable(&error))?, endpoint.clone()) {
        (Some(mut kubeconfig), _) => {
            if let Some(context) = text("K8S_CURRENT_CONTEXT")? {
                kubeconfig.current_context = Some(context.to_owned());
            }
            of_kubeconfig(kubeconfig)?
        }
        _ if variable("K8S_CURRENT_CONTEXT").is_some() => {
            let why = "there is no kubeconfig that could have the context; set KUBECONFIG, or remove it";
            return Err(problem("K8S_CURRENT_CONTEXT", why));
        }
        (None, Some(endpoint)) => Config::new(endpoint),
        (None, None) => {
            of_pod(|name| variables.get(Path::new(name).as_os_str())?.to_str().map(ToOwned::to_owned))?
        }
    };

    // What overrides it.
    if let Some(endpoint) = endpoint {
        config.cluster_url = endpoint;
        config.tls_server_name = None;
    }
    if let Some(file) = variable("K8S_CA_FILE") {
        config.root_cert_file = Some(PathBuf::from(file));
        config.accept_invalid_certs = false;
    }
    let auth = &mut config.auth_info;
    match (text("K8S_CERT_FILE")?, text("K8S_KEY_FILE")?) {
        (None, None) => {}
        (Some(certificate), Some(key)) => {
            auth.client_certificate = Some(certificate.to_owned());
            auth.client_key = Some(key.to_owned());
            (auth.client_certificate_data, auth.client_key_data) = (None, None);
        }
        (Some(_), None) => {
            return Err(problem("K8S_CERT_FILE", "K8S_KEY_FILE is not set; set both or neither"));
        }
        (None, Some(_)) => {
            return Err(problem("K8S_KEY_FILE", "K8S_CERT_FILE is not set; set both or neither"));
        }
    }
    let token = match text("K8SAPITOKEN")? {
        None => text("K8S_API_TOKEN")?,
        token => token,
    };
    if let Some(token) = token {
        (auth.username, auth.password, auth.auth_provider) = (None, None, None);
        (auth.token, auth.token_file) = (Some(token.into()), None);
    }
    Ok(config)
}

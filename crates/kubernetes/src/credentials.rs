//! Finds the credentials for the API. Its errors never show the credentials.

use std::fs;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::Config;
use kube::client::AuthError;
use kube::config::{AuthInfo, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret;
use tokio::runtime::Handle;

use crate::setup_error::KubernetesSetupError;
use typha_tls::error::Quoted;

/// The kubeconfig of the environment, else of the home directory, else the pod's service account. Blocks.
///
/// Unlike `kube::Config::infer`, it uses the service account only if there is no kubeconfig, not if a kubeconfig is
/// broken. No environment variable redirects the service account.
pub(crate) fn infer() -> Result<Config, KubernetesSetupError> {
    let options = KubeConfigOptions::default();
    let runtime = Handle::current();
    let found = match Kubeconfig::from_env() {
        Ok(Some(kubeconfig)) => runtime.block_on(Config::from_custom_kubeconfig(kubeconfig, &options)),
        Ok(None) => match runtime.block_on(Config::from_kubeconfig(&options)) {
            Err(error) if is_absent(&error) => {
                return Config::incluster()
                    .map_err(|error| KubernetesSetupError::NoCredentials { pod: pod_problem(&error) });
            }
            found => found,
        },
        Err(error) => Err(error),
    };
    found.map_err(|error| KubernetesSetupError::Kubeconfig { problem: kubeconfig_problem(&error) })
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

const BAD_TOKEN: &str = "the token has characters that no token has, such as the end of a line";

/// A client's certificate chain and private key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client certificate of a kubeconfig, if it has one.
pub(crate) fn identity(auth: &AuthInfo) -> Result<Option<Identity>, KubernetesSetupError> {
    let problem = |problem: String| KubernetesSetupError::ClientCertificate { problem };
    let certificate = load(auth.client_certificate_data.as_deref(), auth.client_certificate.as_deref());
    let key = auth.client_key_data.as_ref().map(ExposeSecret::expose_secret);
    let (certificate, key) = match (certificate, load(key, auth.client_key.as_deref())) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate.map_err(problem)?, key.map_err(problem)?),
        (Some(_), None) => return Err(problem("it has no client-key".to_owned())),
        (None, Some(_)) => return Err(problem("it has a client-key only".to_owned())),
    };
    let chain = CertificateDer::pem_slice_iter(&certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| problem("client-certificate is not valid PEM".to_owned()))?;
    if chain.is_empty() {
        return Err(problem("client-certificate holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| problem("client-key holds no private key in PEM (PKCS#8, SEC1 or PKCS#1)".to_owned()))?;
    Ok(Some((chain, key)))
}

/// The data in Base64, else the contents of the file, as kubeconfigs define it.
fn load(data: Option<&str>, path: Option<&str>) -> Option<Result<Vec<u8>, String>> {
    match (data, path) {
        (Some(data), _) => Some(BASE64.decode(data).map_err(|_| "its data is not valid Base64".to_owned())),
        (None, Some(path)) => Some(fs::read(path).map_err(|error| format!("{path}: {error}"))),
        (None, None) => None,
    }
}

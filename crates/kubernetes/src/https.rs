//! A client of the API whose TLS uses the crypto provider of a policy.
//!
//! kube's own TLS uses the crypto provider of the process, installs one, or panics if there is none. This module builds
//! the client from the same parts, but with an explicit provider.

use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{ClientBuilder, ConfigExt as _};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tower::BoxError;
use tower::util::MapErr;

use crate::credentials;
use crate::setup_error::KubernetesSetupError;
use typha_tls::policy::TlsPolicy;

/// How long an address of the API server is tried before the next one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// How long an idle connection is kept. A Felix without a Typha asks every few seconds; a connected one does not ask at
/// all.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Makes a client. It blocks if the credentials are in files or come from an exec plugin. It needs the context of a
/// tokio runtime.
pub(crate) fn client(config: &Config, policy: &TlsPolicy) -> Result<kube::Client, KubernetesSetupError> {
    if config.cluster_url.scheme_str() != Some("https") {
        return Err(KubernetesSetupError::NotHttps { url: config.cluster_url.to_string() });
    }
    if config.accept_invalid_certs {
        return Err(KubernetesSetupError::InsecureSkipTlsVerify);
    }
    if config.proxy_url.is_some() {
        return Err(KubernetesSetupError::Proxy);
    }
    let mut https = HttpsConnectorBuilder::new().with_tls_config(tls(config, policy)?).https_only();
    if let Some(name) = &config.tls_server_name {
        let name = ServerName::try_from(name.clone())
            .map_err(|_| KubernetesSetupError::TlsServerName { name: name.clone() })?;
        https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let http = hyper_util::client::legacy::Builder::new(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT_FOR)
        .pool_max_idle_per_host(1)
        .build(https.enable_http1().wrap_connector(tcp));

    let unusable = |error| KubernetesSetupError::Credentials { problem: credentials::auth_problem(&error) };
    credentials::check_token(&config.auth_info)?;
    let headers = config.extra_headers_layer().map_err(unusable)?;
    let builder = ClientBuilder::new(MapErr::new(http, BoxError::from), &*config.default_namespace)
        .with_layer(&headers)
        .with_layer(&config.base_uri_layer());
    match config.auth_layer().map_err(unusable)? {
        Some(authorization) => Ok(builder.with_layer(&authorization).build()),
        None if config.auth_info.exec.is_some() => Err(KubernetesSetupError::Credentials {
            problem: "the exec plugin of the kubeconfig gave no token; one that gives a certificate is not \
                      supported"
                .to_owned(),
        }),
        None => Ok(builder.build()),
    }
}

fn tls(config: &Config, policy: &TlsPolicy) -> Result<ClientConfig, KubernetesSetupError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities(config) {
        roots.add(certificate).map_err(KubernetesSetupError::CertificateAuthority)?;
    }
    if roots.is_empty() {
        return Err(KubernetesSetupError::NoCertificateAuthority);
    }
    let builder = ClientConfig::builder_with_provider(policy.provider().clone())
        .with_protocol_versions(policy.versions())
        .map_err(KubernetesSetupError::Tls)?
        .with_root_certificates(roots);
    match credentials::identity(&config.auth_info)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| KubernetesSetupError::ClientCertificate { problem: error.to_string() }),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The CAs of the file that a pod's configuration names, as it is now. Otherwise, those read with the configuration.
fn authorities(config: &Config) -> Vec<CertificateDer<'static>> {
    let of_file = config.root_cert_file.as_ref().and_then(|path| {
        let certificates = CertificateDer::pem_file_iter(path).ok()?;
        certificates.collect::<Result<Vec<_>, _>>().ok()
    });
    match of_file {
        Some(certificates) if !certificates.is_empty() => certificates,
        _ => config.root_cert.iter().flatten().map(|der| CertificateDer::from(&**der).into_owned()).collect(),
    }
}

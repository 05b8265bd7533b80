//! A client of the API whose connections are those of typha-tls.
//!
//! kube's own TLS uses the crypto provider of the process, installs one, or panics if there is none. kube reads a
//! client certificate once. This module builds the client from kube's parts around a connector that follows the files.

use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use secrecy::ExposeSecret;
use tokio::sync::watch;
use tower::{BoxError, Service};

use crate::credentials;
use crate::server_url;
use crate::setup_error::KubernetesSetupError;
use crate::token_file::TokenFile;
use typha_tls::ServerHost;
use typha_tls::host::{HostConnector, HostTlsConfig, HttpsConnector, HttpsError};
use typha_tls::material::HostTlsFiles;
use typha_tls::policy::TlsPolicy;
use typha_tls::reload::{FileSource, ReloadOptions};

/// The number of idle connections that are kept. With HTTP/1.1, each request in progress needs a connection. With fewer
/// than that, most of several parallel requests would begin with a handshake, because the others would have been
/// closed.
const KEPT: usize = 8;

/// How long an idle connection is kept.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Makes a client of the API server of `config`. Make one for the whole program: it follows what changes.
///
/// - **The server's certificate** must be valid for the host of the URL, or for `tls_server_name` if that is set. Its
///   chain must lead to a CA of `root_cert_file`, else of `root_cert`. The CAs of the system are not trusted for it.
/// - **We** present the client certificate of `auth_info` if it has one, and send its token, its password, or the token
///   that its exec plugin prints.
/// - **Files are followed:** the CAs, the client certificate and its key, as [`FileSource`] does, and the token. A new
///   token is sent within a minute, and at once after an answer 401. A new client certificate is presented with the
///   next request, on a new connection. [`infer_config`](crate::infer_config) and
///   [`calico_config`](crate::calico_config) name all files. `kube::Config::from_kubeconfig` reads the CAs once.
/// - **Timeouts** are those of `config`: `connect_timeout` for the connection with its handshake, `read_timeout` and
///   `write_timeout`.
///
/// Requests use HTTP/1.1, whatever application protocols `policy` has, and are never repeated: `default_retry` has no
/// effect. If no connection could be made, [`connection_error`] finds the reason in the error of the request.
///
/// It needs the context of a tokio runtime. It blocks while it reads files and while an exec plugin runs.
///
/// # Errors
///
/// [`KubernetesSetupError`]. Plain HTTP, a user in the URL, `insecure-skip-tls-verify`, proxies, and exec plugins that
/// give a certificate are not supported. `kube::Config::infer` sets a proxy if the process has the environment variable
/// `HTTPS_PROXY`; [`infer_config`](crate::infer_config) and [`calico_config`](crate::calico_config) ignore it.
///
/// # Panics
///
/// Outside of a tokio runtime. kube panics if an exec plugin prints a token that can not be an HTTP header.
pub fn client(config: &Config, policy: TlsPolicy) -> Result<kube::Client, KubernetesSetupError> {
    Ok(api_client(config, policy)?.client)
}

/// Finds the reason why no connection could be made to the API server in an error of [`client`], which is a
/// `kube::Error`. `None` if the request failed for another reason.
///
/// ```no_run
/// # async fn example(client: kube::Client) {
/// if let Err(error) = client.apiserver_version().await {
///     match typha_tls_kubernetes::connection_error(&error) {
///         Some(reason) => eprintln!("{}: {reason}", reason.label()), // such as host_mismatch, with its remedy
///         None => eprintln!("{error}"),
///     }
/// }
/// # }
/// ```
pub fn connection_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a HttpsError> {
    match error.downcast_ref() {
        None => connection_error(error.source()?),
        reason => reason,
    }
}

/// A client, and the connector behind it.
#[derive(Clone)]
pub(crate) struct ApiClient {
    pub(crate) client: kube::Client,
    /// `None` if it was made elsewhere.
    pub(crate) connector: Option<HostConnector>,
}

pub(crate) fn api_client(config: &Config, policy: TlsPolicy) -> Result<ApiClient, KubernetesSetupError> {
    server_url::check(&config.cluster_url)?;
    if config.accept_invalid_certs {
        return Err(KubernetesSetupError::InsecureSkipTlsVerify);
    }
    if config.proxy_url.is_some() {
        return Err(KubernetesSetupError::Proxy);
    }
    let server_name = config.tls_server_name.as_ref().map(|name| {
        ServerHost::new(name).map_err(|_| KubernetesSetupError::TlsServerName { name: name.clone() })
    });
    let server_name = server_name.transpose()?;

    // TLS, and the files that it follows.
    let policy = policy.with_alpn([""; 0])?;
    let (files, are_files) = tls_files(config)?;
    let tls = HostTlsConfig::from_files(&files, policy.clone()).map_err(KubernetesSetupError::Material)?;
    let connector = HostConnector::new(tls)
        .with_dial_timeout(config.connect_timeout.unwrap_or(Duration::MAX))
        .with_handshake_timeout(config.connect_timeout.unwrap_or(Duration::MAX))
        .with_read_timeout(config.read_timeout)
        .with_write_timeout(config.write_timeout);
    let mut https = HttpsConnector::new(connector.clone());
    if let Some(name) = server_name {
        https = https.with_server_name(name);
    }
    if are_files {
        let source = FileSource::of_host(files, policy);
        https = https.with_reloader(connector.follow(source, ReloadOptions::default()));
    }

    // What we send.
    let unusable = |error| KubernetesSetupError::Credentials { problem: credentials::auth_problem(&error) };
    credentials::check_token(&config.auth_info)?;
    let token_file = credentials::token_file(&config.auth_info)
        .map(|path| TokenFile::open(path, config.auth_info.token.as_ref()))
        .transpose()?;
    let authorization = match token_file {
        Some(_) => None,
        None => config.auth_layer().map_err(unusable)?,
    };
    if authorization.is_none() && token_file.is_none() && config.auth_info.exec.is_some() {
        return Err(KubernetesSetupError::Credentials {
            problem: "the exec plugin of the kubeconfig gave no token; one that gives a certificate is not \
                      supported"
                .to_owned(),
        });
    }

    let pool = Arc::new(Mutex::new(Pool { http: http(&https), generations: connector.generations() }));
    let requests = Requests { https, pool, token_file };
    let builder = ClientBuilder::new(requests, &*config.default_namespace)
        .with_layer(&config.extra_headers_layer().map_err(unusable)?)
        .with_layer(&config.base_uri_layer());
    let client = match authorization {
        Some(authorization) => builder.with_layer(&authorization).build(),
        None => builder.build(),
    };
    Ok(ApiClient { client, connector: Some(connector) })
}

/// The files of a configuration, and whether any of them is a real file. Data is given as the contents of a file.
fn tls_files(config: &Config) -> Result<(HostTlsFiles, bool), KubernetesSetupError> {
    let ca_data = "certificate-authority-data";
    let (mut files, mut are_files) = match (&config.root_cert_file, config.root_cert.as_deref()) {
        (Some(path), _) => (HostTlsFiles::new(path), true),
        (None, None | Some([])) => return Err(KubernetesSetupError::NoCertificateAuthority),
        (None, Some(cas)) => {
            let pem = |der| {
                format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(der))
            };
            let cas: String = cas.iter().map(pem).collect();
            (HostTlsFiles::new(ca_data).with_contents(ca_data, cas), false)
        }
    };
    let auth = &config.auth_info;
    let problem = |problem: String| KubernetesSetupError::ClientCertificate { problem };
    let key_data = auth.client_key_data.as_ref().map(ExposeSecret::expose_secret);
    let mut paths = [None, None];
    for ((path, name), (data, file)) in
        paths.iter_mut().zip(["client-certificate-data", "client-key-data"]).zip([
            (auth.client_certificate_data.as_deref(), auth.client_certificate.as_deref()),
            (key_data, auth.client_key.as_deref()),
        ])
    {
        // Data counts for more than a file, as kubeconfigs define it.
        if let Some(data) = data {
            let data = BASE64.decode(data).map_err(|_| {
                problem(format!("{name} is not valid Base64; write the output of base64 -w0"))
            })?;
            files = files.with_contents(name, data);
            *path = Some(name);
        } else if file.is_some() {
            are_files = true;
            *path = file;
        }
    }
    match paths {
        [Some(certificate), Some(key)] => Ok((files.with_own_files(certificate, key), are_files)),
        [None, None] => Ok((files, are_files)),
        [Some(_), None] => {
            Err(problem("it has client-certificate without client-key; set both, or neither".to_owned()))
        }
        [None, Some(_)] => {
            Err(problem("it has client-key without client-certificate; set both, or neither".to_owned()))
        }
    }
}

/// Sends requests over connections with the configuration in force, and with the current token of the file.
#[derive(Clone)]
struct Requests {
    https: HttpsConnector,
    pool: Arc<Mutex<Pool>>,
    token_file: Option<TokenFile>,
}

/// The connections of the configuration in force.
struct Pool {
    http: Client<HttpsConnector, Body>,
    generations: watch::Receiver<u64>,
}

fn http(https: &HttpsConnector) -> Client<HttpsConnector, Body> {
    Builder::new(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT_FOR)
        .pool_max_idle_per_host(KEPT)
        .build(https.clone())
}

impl Service<Request<Body>> for Requests {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.generations.has_changed().unwrap_or(false) {
            pool.generations.mark_unchanged();
            // A pooled connection has the former client certificate, which the API server refuses once it has expired.
            // Requests in progress keep theirs.
            pool.http = http(&self.https);
        }
        let (http, token_file) = (pool.http.clone(), self.token_file.clone());
        Box::pin(async move {
            let Some(token_file) = token_file else { return Ok(http.request(request).await?) };
            request.headers_mut().insert(header::AUTHORIZATION, token_file.header().await);
            let response = http.request(request).await?;
            if response.status() == StatusCode::UNAUTHORIZED {
                token_file.refused();
            }
            Ok(response)
        })
    }
}

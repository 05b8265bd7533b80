//! An API server as far as this crate needs one: HTTP over TLS, a bearer token or a client certificate, and scripted
//! answers. As the real one, it requests a client certificate and answers 401 to a wrong one.

use std::convert::Infallible;
use std::error::Error as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use typha_tls::dialer::{DiscoveryError, EndpointSource as _, TyphaEndpoint};
use typha_tls::error::{HandshakeError, WithCauses};
use typha_tls::host::HttpsError;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};
use typha_tls::verifier::Rejection;
use typha_tls_kubernetes::{KubernetesEndpoints, KubernetesError};

pub(crate) const TOKEN: &str = "good-token";

/// What a request is answered with.
#[derive(Clone)]
pub(crate) enum Answer {
    /// 200 and a list of these slices.
    Slices(Vec<Value>),
    /// The same with a token for the next page.
    Page(Vec<Value>, &'static str),
    /// A `Status`, as the API fails.
    Failure(u16, &'static str),
    /// Any text.
    Text(u16, String),
    /// None.
    Silence,
}

pub(crate) struct ApiServer {
    pub(crate) address: SocketAddr,
    pub(crate) ca: TestCa,
    shared: Arc<Shared>,
    // Ends with the test.
    _tasks: JoinSet<()>,
}

struct Shared {
    answers: Mutex<Vec<Answer>>,
    requests: Mutex<Vec<String>>,
    /// The client certificates of the requests.
    clients: Mutex<Vec<Option<CertificateDer<'static>>>>,
    token: Mutex<&'static str>,
    client_verifier: Arc<dyn ClientCertVerifier>,
    tls: Mutex<TlsAcceptor>,
    close: Notify,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

/// Counts a connection for as long as it is open.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ApiServer {
    /// Each request gets the next answer, and the last one is repeated.
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let leaf = CertificateSpec::leaf("kube-apiserver").ip_san(Ipv4Addr::LOCALHOST.into());
        Self::start_with(leaf, answers).await
    }

    pub(crate) async fn start_with(leaf: CertificateSpec, answers: Vec<Answer>) -> Self {
        no_process_default();
        let ca = TestCa::new(CertificateSpec::ca("kubernetes")).unwrap();
        let leaf = ca.issue(leaf.purpose(Purpose::ServerAuth)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca.root().clone()).unwrap();
        let client_verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answers: Mutex::new(answers),
            requests: Mutex::new(Vec::new()),
            clients: Mutex::new(Vec::new()),
            token: Mutex::new(TOKEN),
            tls: Mutex::new(acceptor(&leaf, &client_verifier)),
            client_verifier,
            close: Notify::new(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, shared.clone()));
        Self { address, ca, shared, _tasks: tasks }
    }

    /// The requests so far, as `GET /path?query`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The client certificates of the requests so far.
    pub(crate) fn clients(&self) -> Vec<Option<CertificateDer<'static>>> {
        self.shared.clients.lock().unwrap().clone()
    }

    /// From now on, only this token is accepted.
    pub(crate) fn set_token(&self, token: &'static str) {
        *self.shared.token.lock().unwrap() = token;
    }

    /// From now on, new connections see this certificate.
    pub(crate) fn present(&self, leaf: &TestLeaf) {
        *self.shared.tls.lock().unwrap() = acceptor(leaf, &self.shared.client_verifier);
    }

    /// Closes all connections that are open.
    pub(crate) fn close_all(&self) {
        self.shared.close.notify_waiters();
    }

    /// TCP connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Waits until so many connections are open.
    pub(crate) async fn until_open(&self, count: usize) {
        let is_so = async {
            while self.shared.open.load(Ordering::SeqCst) != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), is_so).await.unwrap();
    }

    /// Waits until so many requests have come.
    pub(crate) async fn until_asked(&self, count: usize) {
        let is_so = async {
            while self.requests().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), is_so).await.unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The kubeconfig of a user, with this server's CA.
    pub(crate) fn kubeconfig(&self, user: Value) -> Value {
        kubeconfig(
            &self.url(),
            json!({ "certificate-authority-data": BASE64.encode(self.ca.root_pem()) }),
            user,
        )
    }

    /// A source that uses the right token.
    pub(crate) async fn source(&self) -> KubernetesEndpoints {
        source(config(&self.kubeconfig(json!({ "token": TOKEN }))).await)
    }
}

pub(crate) fn kubeconfig(server: &str, mut cluster: Value, user: Value) -> Value {
    cluster["server"] = server.into();
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": cluster }],
        "users": [{ "name": "u", "user": user }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    })
}

pub(crate) async fn config(kubeconfig: &Value) -> kube::Config {
    let kubeconfig = Kubeconfig::from_yaml(&kubeconfig.to_string()).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    // Whatever HTTPS_PROXY is where the tests run.
    config.proxy_url = None;
    config
}

pub(crate) fn source(config: kube::Config) -> KubernetesEndpoints {
    KubernetesEndpoints::from_config(config, "kube-system", "calico-typha").unwrap()
}

/// The endpoints as texts, `address node`, or why there are none.
pub(crate) async fn ask(source: &KubernetesEndpoints) -> Result<Vec<String>, Failed> {
    let outcome = source.endpoints().await;
    no_process_default();
    let show = |typha: &TyphaEndpoint| format!("{typha} {}", typha.node_name.as_deref().unwrap_or("-"));
    outcome.map(|typhas| typhas.iter().map(show).collect()).map_err(Failed)
}

#[derive(Debug)]
pub(crate) struct Failed(DiscoveryError);

impl Failed {
    pub(crate) fn cause(&self) -> &KubernetesError {
        self.0.source().unwrap().downcast_ref().unwrap()
    }

    /// Why the API server was refused.
    pub(crate) fn rejection(&self) -> &Rejection {
        let KubernetesError::Untrusted(HttpsError::Dial(error)) = self.cause() else { panic!("{self:?}") };
        let Some(HandshakeError::Rejected(rejected)) = error.handshake() else { panic!("{self:?}") };
        rejected
    }

    /// The error with its causes, without its first words, which are always the same.
    pub(crate) fn text(&self) -> String {
        let text = WithCauses(&self.0).to_string();
        let first = "the Typhas of the Kubernetes service kube-system/calico-typha can not be found: ";
        text.strip_prefix(first).unwrap_or_else(|| panic!("{text}")).to_owned()
    }
}

/// No provider of the process is installed, neither relied on nor set.
pub(crate) fn no_process_default() {
    assert!(CryptoProvider::get_default().is_none());
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn acceptor(leaf: &TestLeaf, client_verifier: &Arc<dyn ClientCertVerifier>) -> TlsAcceptor {
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(AnyClient(client_verifier.clone())))
        .with_single_cert(leaf.chain().to_vec(), leaf.key())
        .unwrap();
    TlsAcceptor::from(Arc::new(tls))
}

/// Takes every certificate: whose it is, is checked for each request.
#[derive(Debug)]
struct AnyClient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let open = Open(shared.clone());
        let tls = shared.tls.lock().unwrap().clone();
        connections.spawn(async move {
            let Ok(stream) = tls.accept(tcp).await else { return };
            let client = stream.get_ref().1.peer_certificates().map(|chain| chain[0].clone().into_owned());
            let service = service_fn(|request| answer(request, client.clone(), open.0.clone()));
            tokio::select! {
                _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
                () = open.0.close.notified() => {}
            }
            drop(open);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    client: Option<CertificateDer<'static>>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let next = {
        let mut requests = shared.requests.lock().unwrap();
        requests.push(format!("{} {}", request.method(), request.uri()));
        let answers = shared.answers.lock().unwrap();
        answers[(requests.len() - 1).min(answers.len() - 1)].clone()
    };
    let authorization = request.headers().get(header::AUTHORIZATION);
    let token = format!("Bearer {}", shared.token.lock().unwrap());
    let is_ours = |client: &CertificateDer<'_>| {
        shared.client_verifier.verify_client_cert(client, &[], UnixTime::now()).is_ok()
    };
    let may = client.as_ref().is_some_and(is_ours) || authorization.is_some_and(|value| value == &token);
    shared.clients.lock().unwrap().push(client);
    let (status, body) = match next {
        _ if !may => failure(401, "Unauthorized"),
        Answer::Slices(items) => (200, list(items, "")),
        Answer::Page(items, token) => (200, list(items, token)),
        Answer::Failure(status, message) => failure(status, message),
        Answer::Text(status, text) => (status, text),
        Answer::Silence => std::future::pending().await,
    };
    Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
}

fn failure(status: u16, message: &str) -> (u16, String) {
    let status_object = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": status
    });
    (status, status_object.to_string())
}

fn list(items: Vec<Value>, token: &str) -> String {
    let mut metadata = json!({ "resourceVersion": "4711" });
    if !token.is_empty() {
        metadata["continue"] = token.into();
    }
    json!({
        "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata, "items": items
    })
    .to_string()
}

//! Several endpoints: their order, and how long they may take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt as _;
use typha_tls::stream::Acceptance;
use typha_tls::testing::{CertificateSpec, TestCa, TestLeaf};
use typha_tls_etcd::EtcdError;

use crate::site::{SOON, Site, client_spec, server_spec};
use crate::subscribers::let_all_be_asked;

struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// One that speaks first, as etcd does, and asks for no certificate.
    async fn start(leaf: &TestLeaf) -> Self {
        Self::start_with(leaf, None, b"settings").await
    }

    /// One that asks for a certificate of this CA, if there is one, and sends this after the handshake.
    async fn start_with(leaf: &TestLeaf, ca: Option<&TestCa>, first: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let provider = typha_tls::policy::TlsPolicy::builder().build().unwrap().provider().clone();
        let verifier = ca.map_or_else(WebPkiClientVerifier::no_client_auth, |ca| {
            let mut roots = RootCertStore::empty();
            roots.add(ca.root().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
            verifier.build().unwrap()
        });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(leaf.chain().to_vec(), leaf.key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let accepted = Arc::<AtomicUsize>::default();
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut tls) = acceptor.accept(tcp).await {
                    // The client may be gone already.
                    let _ = tls.write_all(first).await;
                    let _ = tls.flush().await;
                    open.push(tls);
                }
            }
        });
        Self { address, accepted, task }
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The URL of a port at which nothing listens.
fn closed_port() -> String {
    // It was free, and the system does not choose it again so soon.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("https://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn the_last_good_endpoint_comes_first() {
    let site = Site::new();
    let leaf = site.issue("server", server_spec());
    let (one, two) = (Server::start(&leaf).await, Server::start(&leaf).await);
    let endpoints = [closed_port(), one.url(), two.url()].join(",");
    let connector = site.connector(&endpoints, Some("client"));
    for calls in 1..=3 {
        let connection = connector.connect().await.unwrap();
        assert_eq!((connection.peer_address(), connection.acceptance()), (one.address, Acceptance::NotAsked));
        assert_eq!((one.accepted(), two.accepted()), (calls, 0));
    }
    let (gone, was_at) = (one.url(), one.address);
    drop(one);
    let connection = connector.connect().await.unwrap();
    assert_eq!(connection.peer_address(), two.address, "{gone} at {was_at}");
    assert_eq!(two.accepted(), 1);
}

#[tokio::test]
async fn every_attempt_is_in_the_error() {
    let site = Site::new();
    let wrong = Server::start(&site.issue("server", CertificateSpec::leaf("etcd").dns_san("other"))).await;
    let closed = closed_port();
    let connector = site.connector(&format!("{closed},{}", wrong.url()), Some("client"));
    let error = connector.connect().await.unwrap_err();
    let [first, second] = error.attempts() else { panic!("{error}") };
    assert_eq!((first.endpoint.to_string(), first.error.label()), (closed.clone(), "dial"));
    assert_eq!((second.endpoint.to_string(), second.error.label()), (wrong.url(), "host_mismatch"));
    assert_eq!(error.label(), "host_mismatch");
    assert_eq!(
        error.to_string(),
        format!(
            "could not connect to etcd: {closed}: no TCP connection: Connection refused (os error 111); {}: the \
             server's certificate is not valid for the host 127.0.0.1: it is valid for the DNS names [\"other\"]; \
             connect to a host that it has, or issue it again with subjectAltName = IP:127.0.0.1",
            wrong.url(),
        )
    );
}

/// With a paused clock, the time passes at once while nothing else happens.
#[tokio::test(start_paused = true)]
async fn silent_endpoints_take_ten_seconds_in_all() {
    let site = Site::new();
    // The system completes the TCP connections, and nobody reads from them.
    let silent: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let urls = silent.iter().map(|listener| format!("https://{}", listener.local_addr().unwrap()));
    let connector = site.connector(&urls.collect::<Vec<_>>().join(","), Some("client"));
    let began = tokio::time::Instant::now();
    let error = connector.connect().await.unwrap_err();
    let EtcdError::TimedOut { after, .. } = &error else { panic!("{error}") };
    assert_eq!(*after, Duration::from_secs(10));
    assert!(began.elapsed() < Duration::from_secs(11));
    assert_eq!(error.label(), "timed_out");
}

/// A silent endpoint delays the next one by a second only.
#[tokio::test]
async fn the_next_endpoint_is_tried_beside_a_silent_one() {
    let site = Site::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let good = Server::start(&site.issue("server", server_spec())).await;
    let endpoints = format!("https://{},{}", silent.local_addr().unwrap(), good.url());
    let connector = site.connector(&endpoints, Some("client"));
    let connection = tokio::time::timeout(SOON, connector.connect()).await.unwrap().unwrap();
    assert_eq!(connection.peer_address(), good.address);
}

/// A proxy may wait for our first data.
#[tokio::test]
async fn a_server_that_waits_for_us_is_used() {
    let site = Site::new();
    let waiting = Server::start_with(&site.issue("server", server_spec()), Some(&site.ca), b"").await;
    let connection = site.connector(&waiting.url(), Some("client")).connect().await.unwrap();
    assert_eq!(connection.acceptance(), Acceptance::Unconfirmed);
}

#[tokio::test]
async fn our_certificate_is_followed() {
    let site = Site::new();
    let server = Server::start_with(&site.issue("server", server_spec()), Some(&site.ca), b"settings").await;
    let other = TestCa::new(CertificateSpec::ca("other")).unwrap();
    site.issue_by(&other, "client", client_spec("felix"));
    let connector = site.connector(&server.url(), Some("client"));
    assert!(connector.reloader().is_none(), "nothing is followed before the first connection");
    assert_eq!(connector.connect().await.unwrap_err().label(), "refused_by_peer");
    site.issue("client", client_spec("felix"));
    connector.reloader().unwrap().reload_now().await.unwrap();
    assert_eq!(connector.connect().await.unwrap().acceptance(), Acceptance::Confirmed);
}

/// The runtime of the first connection ends, and the next one is on another runtime.
#[test]
fn files_are_followed_on_the_next_runtime() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let servers = runtime();
    let site = Site::new();
    let server = servers.block_on(Server::start(&site.issue("server", server_spec())));
    let connector = site.connector(&server.url(), None);
    let first = runtime();
    first.block_on(connector.connect()).unwrap();
    assert!(!connector.reloader().unwrap().is_stopped());
    drop(first);
    assert!(connector.reloader().unwrap().is_stopped());
    runtime().block_on(async {
        connector.connect().await.unwrap();
        site.write("ca.pem", &TestCa::new(CertificateSpec::ca("other")).unwrap().root_pem());
        connector.reloader().unwrap().reload_now().await.unwrap();
        assert_eq!(connector.connect().await.unwrap_err().label(), "unknown_ca");
    });
}

/// Counts the warnings of this package.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target().starts_with("typha_tls_etcd") && *metadata.level() == tracing::Level::WARN {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_requests_is_reported_once_for_each_configuration() {
    let_all_be_asked();
    let warnings = Warnings::default();
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(warnings.clone()));
    let count = || warnings.0.load(Ordering::Relaxed);
    let site = Site::new();
    let server = Server::start(&site.issue("server", server_spec())).await;
    let connection = site.connector(&server.url(), None).connect().await.unwrap();
    assert_eq!((connection.acceptance(), count()), (Acceptance::NotAsked, 0));
    let connector = site.connector(&server.url(), Some("client"));
    for generation in [1, 2] {
        for _ in 0..2 {
            connector.connect().await.unwrap();
            assert_eq!(count(), generation);
        }
        site.issue("client", client_spec("renewed"));
        connector.reloader().unwrap().reload_now().await.unwrap();
    }
}

/// As etcd does without TLS, if it has not read the whole ClientHello.
#[tokio::test]
async fn a_reset_is_explained() {
    let site = Site::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let connector = site.connector(&url, Some("client"));
    let resetting = async {
        let (tcp, _) = listener.accept().await.unwrap();
        // What has arrived stays unread, so that closing resets.
        tcp.peek(&mut [0]).await.unwrap();
    };
    let (error, ()) = tokio::join!(connector.connect(), resetting);
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "could not connect to etcd: {url}: the server closed the connection, or does not speak TLS; see in etcd's \
             --listen-client-urls whether this is its client port, and whether its scheme is https"
        )
    );
}

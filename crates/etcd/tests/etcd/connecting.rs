//! Several endpoints: their order, and how long they may take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use typha_tls::stream::Acceptance;
use typha_tls::testing::{CertificateSpec, TestLeaf};
use typha_tls_etcd::EtcdError;

use crate::site::{SOON, Site, server_spec};

/// A server that speaks first, as etcd does, and asks for no certificate.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(leaf: &TestLeaf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let provider = typha_tls::policy::TlsPolicy::builder().build().unwrap().provider().clone();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
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
                    let _ = tls.write_all(b"settings").await;
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
            "could not connect to etcd: {closed}: could not connect to {0}: {0}: no TCP connection: Connection refused \
             (os error 111); {1}: could not connect to {2}: {2}: the server's certificate is not valid for the host \
             127.0.0.1: it is valid for the DNS names [\"other\"]; connect to a host that it has, or issue it again \
             with subjectAltName = IP:127.0.0.1",
            closed.trim_start_matches("https://"),
            wrong.url(),
            wrong.address
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

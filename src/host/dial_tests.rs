//! A host with several addresses.

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::error::HandshakeError;
use crate::host::HostTlsConfig;
use crate::material::HostMaterial;
use crate::policy::TlsPolicy;
use crate::stream::Timeouts;
use crate::testing::{CertificateSpec, TestCa, TestLeaf};

const BOUND: Duration = Duration::from_secs(30);

#[test]
fn families_take_turns() {
    let parsed = |addresses: &[&str]| -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    };
    let found = parsed(&["[::1]:1", "[::2]:1", "[::3]:1", "192.0.2.1:1", "192.0.2.2:1"]);
    let in_turn = parsed(&["[::1]:1", "192.0.2.1:1", "[::2]:1", "192.0.2.2:1", "[::3]:1"]);
    assert_eq!(interleaved(found), in_turn);
    assert_eq!(interleaved(Vec::new()), []);
}

/// A final dot keeps the resolver from trying search domains. The certificate and the texts do without it.
#[test]
fn a_final_dot_is_for_the_resolver_only() {
    let [plain, absolute] = ["etcd.example", "ETCD.example."].map(|host| ServerHost::new(host).unwrap());
    assert_eq!([&plain, &absolute].map(ServerHost::lookup_name), ["etcd.example", "etcd.example."]);
    assert_eq!([&plain, &absolute].map(ServerHost::to_string), ["etcd.example"; 2]);
    assert_eq!(absolute.server_name().to_str(), "etcd.example");
    assert_eq!(plain, absolute);
}

/// A dial to `etcd.example` that trusts `ca`.
fn dial(ca: &TestCa, bound: Duration) -> HostDial {
    let policy = TlsPolicy::builder().build().unwrap();
    let config = HostTlsConfig::new(HostMaterial::new(ca.trust_bundle().unwrap(), None), policy);
    let host = ServerHost::new("etcd.example").unwrap();
    HostDial {
        in_force: InForce::new(config),
        client: ClientHandshake::new(Timeouts::FELIX),
        lifetime: ConnectionLifetime::default(),
        address: host.clone(),
        port: 2379,
        host,
        bound,
    }
}

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that presents `leaf` to everyone, until the runtime ends.
async fn server(leaf: &TestLeaf) -> SocketAddr {
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain().to_vec(), leaf.key())
        .unwrap();
    let (listener, address) = listening().await;
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            held.push(TlsAcceptor::from(Arc::new(config.clone())).accept(tcp).await);
        }
    });
    address
}

struct Site {
    ca: TestCa,
    good: SocketAddr,
    of_another_host: SocketAddr,
    closed: SocketAddr,
}

impl Site {
    async fn new() -> Self {
        let ca = TestCa::new(CertificateSpec::ca("etcd-ca")).unwrap();
        let leaf = |name| ca.issue(CertificateSpec::leaf("etcd").dns_san(name)).unwrap();
        let good = server(&leaf("etcd.example")).await;
        let of_another_host = server(&leaf("other.example")).await;
        let closed = listening().await.1;
        Self { ca, good, of_another_host, closed }
    }

    async fn try_each(&self, addresses: &[SocketAddr]) -> Result<Connection, HostDialError> {
        let tries = dial(&self.ca, BOUND).try_each(addresses.to_vec(), deadline_in(BOUND));
        timeout(BOUND * 2, tries).await.expect("it takes too long")
    }
}

#[tokio::test]
async fn the_next_address_is_tried_at_once() {
    let site = Site::new().await;
    for before in [&[][..], &[site.closed], &[site.of_another_host], &[site.closed, site.of_another_host]] {
        let addresses = [before, &[site.good, site.closed]].concat();
        let begin = Instant::now();
        let connection = site.try_each(&addresses).await.unwrap();
        assert_eq!(connection.peer_address(), site.good);
        assert!(begin.elapsed() < BOUND / 2);
    }
}

#[tokio::test]
async fn the_error_has_every_attempt() {
    let site = Site::new().await;
    let addresses = [site.closed, site.of_another_host, site.closed];
    let error = site.try_each(&addresses).await.unwrap_err();
    let HostDialError::AllFailed { host, port, attempts } = &error else { panic!("{error:?}") };
    assert_eq!((host.to_string(), *port), ("etcd.example".to_owned(), 2379));
    let attempts: Vec<_> = attempts.iter().map(|attempt| (attempt.address, attempt.error.label())).collect();
    let expected = ["dial", "host_mismatch", "dial"];
    assert_eq!(attempts, std::iter::zip(addresses, expected).collect::<Vec<_>>());
    // The label is that of the last attempt, and the handshake is the last one that there was.
    assert_eq!(error.label(), "dial");
    assert_eq!(error.handshake().map(HandshakeError::label), Some("host_mismatch"));
    let [AddressAttempt { error: first, .. }, ..] = error.attempts() else { panic!() };
    let refused = WithCauses(first).to_string();
    let text = error.to_string();
    let start = format!(
        "could not connect to etcd.example:2379: {}: {refused}; {}: the server's certificate is not \
                         valid for the host etcd.example: ",
        site.closed, site.of_another_host
    );
    assert!(text.starts_with(&start), "{text}");
    assert!(text.ends_with(&format!("; {}: {refused}", site.closed)), "{text}");

    // A long list is cut.
    let error = site.try_each(&[site.closed; 12]).await.unwrap_err();
    assert_eq!(error.attempts().len(), 12);
    let text = error.to_string();
    assert!(text.ends_with(&format!("; {}: {refused}; and 2 more", site.closed)), "{text}");
}

#[tokio::test]
async fn a_name_without_an_address() {
    let error = Site::new().await.try_each(&[]).await.unwrap_err();
    assert_eq!(
        WithCauses(&error).to_string(),
        "the name etcd.example can not be resolved: the name has no address"
    );
    assert_eq!(error.label(), "unresolved");
}

/// The attempts that had ended count among the reasons.
#[tokio::test]
async fn the_time_is_over_before_all_were_tried() {
    let site = Site::new().await;
    let (_silent, silent) = listening().await;
    let bound = Duration::from_secs(1);
    let tries = dial(&site.ca, bound).try_each(vec![site.closed, silent, silent], deadline_in(bound));
    let error = timeout(BOUND, tries).await.expect("it takes too long").unwrap_err();
    let HostDialError::TimedOut { after, attempts, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*after, bound);
    let attempts: Vec<_> = attempts.iter().map(|attempt| (attempt.address, attempt.error.label())).collect();
    assert_eq!(attempts, [(site.closed, "dial"), (silent, "timed_out"), (silent, "timed_out")]);
    assert_eq!(error.label(), "timed_out");
}

/// A server that accepts the TCP connection and says nothing has its share of the time only.
#[tokio::test]
async fn a_silent_server_leaves_time_for_the_next() {
    let site = Site::new().await;
    let (_silent, silent) = listening().await;
    let bound = Duration::from_secs(4);
    let tries = dial(&site.ca, bound).try_each(vec![silent, site.good], deadline_in(bound));
    let connection = timeout(BOUND, tries).await.expect("it takes too long").unwrap();
    assert_eq!(connection.peer_address(), site.good);
}

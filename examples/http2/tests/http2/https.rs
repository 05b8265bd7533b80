//! A client of hyper over [`HttpsConnector`], and a server of hyper over plain rustls.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use typha_tls::host::{HostConnector, HostTlsConfig, HttpsConnector, HttpsError};
use typha_tls::identity::InvalidHost;
use typha_tls::material::HostMaterial;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, TestCa, TestLeaf};
use typha_tls::{HandshakeError, ServerHost};

type HttpsClient = Client<HttpsConnector, Empty<Bytes>>;

fn leaf(ca: &TestCa) -> TestLeaf {
    let spec = CertificateSpec::leaf("server").dns_san("api.example").ip_san(IpAddr::V4(Ipv4Addr::LOCALHOST));
    ca.issue(spec).unwrap()
}

/// Answers each request with its HTTP version, until the runtime ends.
async fn serve(leaf: &TestLeaf, alpn: &[&str]) -> SocketAddr {
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain().to_vec(), leaf.key())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            // A client that refuses us is no fault of the server.
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let answer = service_fn(async |request: Request<Incoming>| {
                Ok::<_, hyper::Error>(Response::new(format!("{:?}", request.version())))
            });
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(tls), answer).await;
            });
        }
    });
    address
}

fn connector(ca: &TestCa, alpn: &[&str]) -> HttpsConnector {
    let policy = TlsPolicy::builder().alpn(alpn.iter().copied()).build().unwrap();
    let material = HostMaterial::new(ca.trust_bundle().unwrap(), None);
    HttpsConnector::new(HostConnector::new(HostTlsConfig::new(material, policy)))
}

async fn get(connector: HttpsConnector, uri: &str) -> Result<(Version, Bytes), Box<dyn Error>> {
    let client: HttpsClient = Client::builder(TokioExecutor::new()).build(connector);
    let response = client.get(uri.parse()?).await?;
    Ok((response.version(), response.into_body().collect().await?.to_bytes()))
}

/// The error of the connector, as a caller finds it among the sources of the client's error.
fn https_error<'a>(error: &'a (dyn Error + 'static)) -> &'a HttpsError {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return found;
        }
        source = error.source();
    }
    panic!("there is no HttpsError in {error:?}");
}

#[tokio::test]
async fn both_versions_of_http() {
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let leaf = leaf(&ca);
    for (ours, theirs, version) in [
        (&["h2"][..], &["h2", "http/1.1"][..], Version::HTTP_2),
        (&["h2", "http/1.1"], &["h2", "http/1.1"], Version::HTTP_2),
        (&["h2", "http/1.1"], &["http/1.1"], Version::HTTP_11),
        (&["http/1.1"], &["h2", "http/1.1"], Version::HTTP_11),
        (&[], &["h2", "http/1.1"], Version::HTTP_11),
    ] {
        let uri = format!("https://{}/version", serve(&leaf, theirs).await);
        let answer = get(connector(&ca, ours), &uri).await.unwrap();
        assert_eq!(answer, (version, format!("{version:?}").into()), "{ours:?} {theirs:?}");
    }
}

#[tokio::test]
async fn a_server_is_verified_for_another_host() {
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let uri = format!("https://{}/", serve(&leaf(&ca), &["h2"]).await);
    let connector = connector(&ca, &["h2"]);
    let api = ServerHost::new("api.example").unwrap();
    let (version, _) = get(connector.clone().with_server_name(api), &uri).await.unwrap();
    assert_eq!(version, Version::HTTP_2);

    let other = ServerHost::new("other.example").unwrap();
    let error = get(connector.with_server_name(other), &uri).await.unwrap_err();
    let error = https_error(&*error);
    assert_eq!(error.label(), "host_mismatch");
    let HttpsError::Dial(dial) = error else { panic!("{error:?}") };
    let Some(HandshakeError::Rejected(rejection)) = dial.handshake() else { panic!("{error:?}") };
    assert_eq!(rejection.label(), "host_mismatch");
}

#[tokio::test]
async fn a_server_of_an_unknown_ca_is_refused() {
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let other = TestCa::new(CertificateSpec::ca("other-ca")).unwrap();
    let uri = format!("https://{}/", serve(&leaf(&other), &["h2"]).await);
    let error = get(connector(&ca, &["h2"]), &uri).await.unwrap_err();
    assert_eq!(https_error(&*error).label(), "unknown_ca");
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear() {
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let uri = format!("http://user:secret@{address}/path");
    let error = get(connector(&ca, &["h2"]), &uri).await.unwrap_err();
    let error = https_error(&*error);
    assert_eq!(error.label(), "not_https");
    assert_eq!(
        error.to_string(),
        "the URI \"http://127.0.0.1\" does not begin with https://, and nothing is sent in the clear; write \
         https://HOST:PORT"
    );
    // Nobody has connected: the next one to come is this.
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let (_, from) = listener.accept().await.unwrap();
    assert_eq!(from, tcp.local_addr().unwrap());
}

/// What hyper does not refuse itself.
#[tokio::test]
async fn hosts_and_ports_that_can_not_be_dialled() {
    use tower::Service as _;
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    for (uri, expected) in [
        ("https://0.0.0.0/", InvalidHost::Unspecified(Ipv4Addr::UNSPECIFIED.into())),
        ("https://*.example/", InvalidHost::Wildcard("*.example".to_owned())),
        ("https://a..example/", InvalidHost::Malformed("a..example".to_owned())),
    ] {
        let error = connector(&ca, &[]).call(Uri::from_static(uri)).await.unwrap_err();
        let HttpsError::Host(invalid) = &error else { panic!("{error:?}") };
        assert_eq!((invalid, error.label()), (&expected, "invalid_host"));
    }
    for (uri, host, port) in [
        ("https://api.example/x?y", "api.example", 443),
        ("https://api.example:/", "api.example", 443),
        ("https://user:1@[::1]:06443", "::1", 6443),
        ("https://127.0.0.1:65535", "127.0.0.1", 65535),
    ] {
        let host = ServerHost::new(host).unwrap();
        assert_eq!(HttpsConnector::target(&uri.parse().unwrap()).unwrap(), (host, port), "{uri}");
    }
    for port in ["0", "00", "65536", "99999", "644300", "+1", "-1", "x"] {
        let uri = format!("https://user:secret@127.0.0.1:{port}/secret");
        let error = connector(&ca, &[]).call(uri.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.label(), "invalid_port", "{uri}");
        assert_eq!(
            error.to_string(),
            "the URI \"https://127.0.0.1\" has a port that is no TCP port; write a port from 1 to 65535, or none for \
             port 443"
        );
    }
    for uri in ["/path", "example", "ftp://example/"] {
        let error = connector(&ca, &[]).call(uri.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.label(), "not_https", "{uri}");
    }
}

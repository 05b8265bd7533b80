//! The code that axum and tonic need: an axum router over a listener, and a tonic channel over a connector.
//! `tonic::service::Routes::into_axum_router` converts a router of tonic's services.

use std::io;

use axum::Router;
use axum::routing::get;
use http_body_util::BodyExt as _;
use hyper::{Request, Version, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::{ServiceExt as _, service_fn};
use typha_tls::testing::TestPki;
use typha_tls::{TlsConfig, TyphaListener};

fn with_h2(mut config: TlsConfig) -> TlsConfig {
    config.policy = config.policy.with_alpn(["h2"]).unwrap();
    config
}

#[tokio::test]
async fn a_tonic_channel_calls_an_axum_router() {
    let pki = TestPki::new().unwrap();
    let (acceptor, connector) = (pki.acceptor().unwrap(), pki.connector().unwrap());
    acceptor.replace(with_h2(acceptor.config()));
    connector.replace(with_h2(connector.config()));

    let router = Router::<()>::new().route("/config", get(async || "hello"));
    let mut listener = TyphaListener::builder(acceptor).bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    tokio::spawn(async move {
        while let Some(connection) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            let http2 = server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(connection), service));
        }
    });

    // Not https: the connector has its own TLS and its own address.
    let channel = Endpoint::from_static("http://typha")
        .connect_with_connector(service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let tcp = TcpStream::connect(address).await?;
                connector.connect_tcp(tcp).await.map(TokioIo::new).map_err(io::Error::other)
            }
        }))
        .await
        .unwrap();
    let request = Request::get("http://typha/config").body(Body::empty()).unwrap();
    let response = channel.oneshot(request).await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (Version::HTTP_2, 200));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}

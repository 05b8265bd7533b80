//! HTTP/2 over the connections of a listener and of a dialer. Both ends are configured like Calico's daemons. They
//! negotiate the application protocol `h2`.
//!
//! ```text
//! cargo run -p typha-tls-http2 -- typha   # answers all requests of each Felix
//! cargo run -p typha-tls-http2 -- felix   # makes one request
//! ```
//!
//! `typha-tls pki DIR` makes files to try it with, and prints the variables to set.

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;
use std::pin::pin;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use typha_tls::Connection;
use typha_tls::config::{FelixConfig, Sources, TyphaConfig};
use typha_tls::error::WithCauses;
use typha_tls::listener::FailedHandshake;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("typha") => typha().await,
        Some("felix") => felix().await,
        _ => Err("usage: typha-tls-http2 typha|felix".into()),
    }
}

async fn typha() -> Result<(), Box<dyn Error>> {
    let mut config = TyphaConfig::load(&Sources::typha())?;
    let tls = config.tls.as_mut().ok_or("TLS is not configured")?;
    tls.policy = tls.policy.clone().with_alpn(["h2"])?;
    let refused = |failed: FailedHandshake| eprintln!("refused: {}", WithCauses(&failed.error));
    let builder = config.listener()?.on_failed_handshake(refused);
    let mut listener = builder.bind(config.listen_address()).await?;
    println!("listening on {}", listener.local_addr());
    while let Some(connection) = listener.accept().await {
        tokio::spawn(serve(connection));
    }
    Ok(())
}

/// Answers the requests of one Felix. With axum or tonic, the service is `TowerToHyperService::new(router)` of
/// hyper-util. There `router` is an `axum::Router` or a `tonic::service::Routes`: see `tests/http2/frameworks.rs`.
async fn serve(connection: Connection) {
    let felix = connection.peer().identity().to_string();
    let close_requested = connection.close_requested().clone();
    let service = service_fn(|request: Request<Incoming>| {
        let answer = format!("hello, {felix}; you asked for {}\n", request.uri().path());
        ready(Ok::<_, Infallible>(Response::new(answer)))
    });
    let http2 = server::conn::http2::Builder::new(TokioExecutor::new());
    let mut served = pin!(http2.serve_connection(TokioIo::new(connection), service));
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = close_requested.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    ended.unwrap_or_else(|error| eprintln!("ended: {}", WithCauses(&error)));
}

async fn felix() -> Result<(), Box<dyn Error>> {
    let mut config = FelixConfig::load(&Sources::felix())?;
    let tls = config.tls.as_mut().ok_or("TLS is not configured")?;
    tls.policy = tls.policy.clone().with_alpn(["h2"])?;
    config.read_timeout = None; // Calico's 30 s are for its own protocol; HTTP/2 may be silent for longer
    let dialer = config.dialer()?;
    let connection = dialer.connect().await?;
    println!("connected to {} over {}", connection.peer(), connection.tls());
    let (mut requests, connection) =
        client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection)).await?;
    let connection = tokio::spawn(connection);
    let response = requests.send_request(Request::get("http://typha/config").body(String::new())?).await?;
    println!("{:?} {}", response.version(), response.status());
    print!("{}", String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()));
    drop(requests); // the last one ends the connection
    Ok(connection.await??)
}

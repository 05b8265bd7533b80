//! A SPIFFE agent as far as this crate needs one: `FetchX509SVID` over gRPC on a Unix socket, with answers that a test
//! changes.

use std::convert::Infallible;
use std::fs;
use std::future::{Ready, ready};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Status;
use tonic::server::ServerStreamingService;
use typha_tls::RequiredIdentity;
use typha_tls::policy::TlsPolicy;
use typha_tls_spiffe::{SpiffeSource, SpiffeSourceBuilder};

use crate::messages::{X509SvidRequest, X509SvidResponse};

/// How long anything may take that is to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// What the agent says at the beginning of a stream, and in all of them when it changes.
#[derive(Clone)]
pub(crate) enum Says {
    Svids(X509SvidResponse),
    /// An error, which ends the stream.
    Status(tonic::Code, &'static str),
    /// The end of the stream.
    TheEnd,
    Nothing,
}

pub(crate) struct Agent {
    socket: PathBuf,
    says: watch::Sender<Says>,
    counts: watch::Sender<Counts>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    asked: usize,
    open: usize,
}

impl Agent {
    /// Its socket is `agent.sock` in `dir`.
    pub(crate) fn start(dir: &Path, says: Says) -> Self {
        let socket = dir.join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (says, counts) = (watch::Sender::new(says), watch::Sender::new(Counts::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Workload { says: says.clone(), counts: counts.clone() }));
        Self { socket, says, counts, tasks }
    }

    pub(crate) fn says(&self, says: Says) {
        self.says.send_replace(says);
    }

    pub(crate) fn has(&self, svids: impl Into<X509SvidResponse>) {
        self.says(Says::Svids(svids.into()));
    }

    /// Breaks all connections; the socket is gone.
    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
        fs::remove_file(&self.socket).unwrap();
    }

    /// Waits until it has been asked so many times.
    pub(crate) async fn until_asked(&self, count: usize) {
        self.until(|counts| counts.asked >= count).await;
    }

    /// Waits until so many streams are open.
    pub(crate) async fn until_open(&self, count: usize) {
        self.until(|counts| counts.open == count).await;
    }

    async fn until(&self, is_so: impl FnMut(&Counts) -> bool) {
        timeout(SOON, self.counts.subscribe().wait_for(is_so)).await.unwrap().unwrap();
    }

    pub(crate) fn asked(&self) -> usize {
        self.counts.borrow().asked
    }
}

pub(crate) fn endpoint(dir: &Path) -> String {
    format!("unix://{}", dir.join("agent.sock").display())
}

/// A source of the agent in `dir`, whose peer must have this SPIFFE ID.
pub(crate) fn source_in(dir: &Path, peer: &str) -> SpiffeSourceBuilder {
    let peer = RequiredIdentity::uri_san(peer).unwrap();
    SpiffeSource::builder(peer, TlsPolicy::builder().build().unwrap()).endpoint(endpoint(dir))
}

async fn accept(listener: UnixListener, workload: Workload) {
    let mut connections = JoinSet::new();
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let workload = workload.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, workload.clone()));
            let server = http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    workload: Workload,
) -> Result<Response<tonic::body::Body>, Infallible> {
    assert_eq!(request.uri().path(), "/SpiffeWorkloadAPI/FetchX509SVID");
    let mut grpc = tonic::server::Grpc::new(tonic_prost::ProstCodec::default());
    Ok(grpc.server_streaming(workload, request).await)
}

#[derive(Clone)]
struct Workload {
    says: watch::Sender<Says>,
    counts: watch::Sender<Counts>,
}

impl ServerStreamingService<X509SvidRequest> for Workload {
    type Response = X509SvidResponse;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<X509SvidResponse, Status>> + Send>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<X509SvidRequest>) -> Self::Future {
        // An agent refuses what lacks it, as it may come from a browser.
        if request.metadata().get("workload.spiffe.io").is_none_or(|value| value != "true") {
            return ready(Err(Status::invalid_argument("security header missing from request")));
        }
        self.counts.send_modify(|counts| {
            counts.asked += 1;
            counts.open += 1;
        });
        let open = Open(self.counts.clone());
        let mut says = self.says.subscribe();
        says.mark_changed();
        ready(Ok(tonic::Response::new(Box::pin(stream::unfold((says, open), next)))))
    }
}

type Streaming = (watch::Receiver<Says>, Open);

async fn next((mut says, open): Streaming) -> Option<(Result<X509SvidResponse, Status>, Streaming)> {
    loop {
        says.changed().await.ok()?;
        let said = says.borrow_and_update().clone();
        let message = match said {
            Says::Svids(response) => Ok(response),
            Says::Status(code, message) => Err(Status::new(code, message)),
            Says::TheEnd => return None,
            Says::Nothing => continue,
        };
        return Some((message, (says, open)));
    }
}

/// Counts a stream for as long as it is open.
struct Open(watch::Sender<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|counts| counts.open -= 1);
    }
}

//! The HTTP pages of `--metrics`: `/metrics` for Prometheus, and `/healthz` and `/readyz` for probes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, interval, sleep, timeout};
use typha_tls::listener::DurationHistogram;
use typha_tls::reload::Reloader;

use crate::options;

/// The address of the pages.
#[derive(Args)]
pub(crate) struct MetricsOptions {
    /// Serve /metrics, /healthz and /readyz by HTTP at this address, without TLS, to anyone who can reach it
    #[arg(long, value_name = "HOST:PORT", value_parser = options::address)]
    metrics: Option<String>,
}

/// Why this process is not ready; `Ok` if it is.
pub(crate) type Readiness = Result<(), String>;

/// Finds out whether this process is ready.
type Check = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Readiness> + Send>> + Send + Sync>;

/// The pages, before they are served.
pub(crate) struct MetricsPage {
    listener: TcpListener,
    recorder: PrometheusHandle,
}

/// The most connections at a time. A further connection closes the oldest one, so that silent clients do not block
/// probes.
const CONNECTIONS: usize = 64;

/// How long one connection, with one request, may last.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// How long a request waits for a check. The check then continues, and the next request gets its result.
const CHECK_TIME: Duration = Duration::from_secs(2);

/// The pause after an error of `accept()`.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How often the recorder merges new values.
const UPKEEP: Duration = Duration::from_secs(5);

impl MetricsPage {
    /// Binds the address, and installs the recorder of this process. `None` if no address is given. Call it before
    /// anything is counted.
    pub(crate) async fn start(options: &MetricsOptions) -> Result<Option<Self>, Box<dyn Error>> {
        let Some(address) = &options.metrics else { return Ok(None) };
        let listener = TcpListener::bind(address).await.map_err(|error| {
            format!("the address {address} of --metrics can not be used; give another one: {error}")
        })?;
        let handshakes = Matcher::Full("typha_handshake_seconds".to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(handshakes, &DurationHistogram::BOUNDS)?
            .build_recorder();
        let page = Self { listener, recorder: recorder.handle() };
        metrics::set_global_recorder(recorder)?;
        Ok(Some(page))
    }

    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers requests. Never ends.
    pub(crate) async fn serve<F>(self, check: impl Fn() -> F + Send + Sync + 'static, keep_for: Duration)
    where
        F: Future<Output = Readiness> + Send + 'static,
    {
        let upkeep = self.recorder.clone();
        let upkeep = async move {
            let mut ticks = interval(UPKEEP);
            loop {
                ticks.tick().await;
                upkeep.run_upkeep();
            }
        };
        let site = Arc::new(Site {
            recorder: self.recorder,
            check: Box::new(move || Box::pin(check())),
            keep_for,
            known: Mutex::new(None),
        });
        let accepting = async {
            let mut open = VecDeque::<AbortHandle>::new();
            loop {
                match self.listener.accept().await {
                    Ok((tcp, _)) => {
                        open.retain(|task| !task.is_finished());
                        if open.len() >= CONNECTIONS
                            && let Some(oldest) = open.pop_front()
                        {
                            oldest.abort();
                        }
                        let answer = timeout(CONNECTION_TIME, site.clone().answer(tcp));
                        open.push_back(tokio::spawn(async { drop(answer.await) }).abort_handle());
                    }
                    // Most often, there are no file descriptors left.
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                }
            }
        };
        tokio::join!(upkeep, accepting);
    }
}

struct Site {
    recorder: PrometheusHandle,
    check: Check,
    /// How long a result of the check counts. A check may open a connection.
    keep_for: Duration,
    known: Mutex<Option<(Instant, Readiness)>>,
}

impl Site {
    async fn answer(self: Arc<Self>, tcp: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let site = self.clone();
            async move { Ok::<_, Infallible>(site.page(&request).await) }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(CONNECTION_TIME).keep_alive(false);
        // An error concerns only this client.
        let _ = server.serve_connection(TokioIo::new(tcp), service).await;
    }

    async fn page(self: &Arc<Self>, request: &Request<Incoming>) -> Response<String> {
        let text = |status, text: String| {
            let mut response = Response::new(text);
            *response.status_mut() = status;
            response
                .headers_mut()
                .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; version=0.0.4"));
            response
        };
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD\n".to_owned());
        }
        match request.uri().path() {
            "/metrics" => text(StatusCode::OK, self.recorder.render()),
            "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => match self.clone().readiness().await {
                Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
                Err(problem) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
            },
            _ => text(
                StatusCode::NOT_FOUND,
                "there is no such page; the pages are /metrics, /healthz and /readyz\n".to_owned(),
            ),
        }
    }

    async fn readiness(self: Arc<Self>) -> Readiness {
        // A task of its own, so that the check continues if the probe gives up.
        let check = tokio::spawn(async move {
            let mut known = self.known.lock().await;
            match &*known {
                Some((at, readiness)) if at.elapsed() < self.keep_for => readiness.clone(),
                _ => {
                    let readiness = (self.check)().await;
                    *known = Some((Instant::now(), readiness.clone()));
                    readiness
                }
            }
        });
        match timeout(CHECK_TIME, check).await {
            Ok(Ok(readiness)) => readiness,
            Ok(Err(_)) | Err(_) => Err("the check has not ended within 2 s; ask again".to_owned()),
        }
    }
}

/// Whether our own certificate is valid now.
pub(crate) fn certificate_is_valid(reloader: &Reloader) -> Readiness {
    let now = rustls_pki_types::UnixTime::now();
    let state = reloader.state();
    let state = state.borrow();
    let Some(leaf) = state.certificates.iter().find(|certificate| certificate.kind == "own_leaf") else {
        return Ok(());
    };
    match leaf.time_left(now) {
        Some(_) if leaf.not_before.as_secs() <= now.as_secs() => Ok(()),
        Some(_) => Err(format!("our certificate {} is not valid yet; check the clock", leaf.subject)),
        None => Err(format!("our certificate {} has expired; issue a new one", leaf.subject)),
    }
}

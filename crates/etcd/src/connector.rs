//! Connects to one of the endpoints of etcd.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::Uri;
use tokio::time::{Instant, sleep_until};
use tonic::ConnectError;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt as _;
use tower_service::Service;
use tracing::warn;
use typha_tls::error::HandshakeError;
use typha_tls::host::{HostConnector, HostTlsConfig, HttpsConnection};
use typha_tls::material::{HostTlsFiles, MaterialError, MaterialWarning};
use typha_tls::policy::TlsPolicy;
use typha_tls::reload::{FileSource, ReloadOptions, Reloader};
use typha_tls::stream::Acceptance;
use typha_tls::{AcceptanceMode, Connection};

use crate::endpoint::EtcdEndpoint;
use crate::error::{EndpointAttempt, EtcdError};

/// Connects to etcd: to the endpoint that worked last, else to the others. It is cheap to clone; clones share the files
/// and the endpoint that worked last.
///
/// The certificate of an endpoint must be valid for the host of that endpoint. A call tries each endpoint once. If one
/// does not answer within 1 s, the next is tried beside it; the first that accepts us wins. A connection counts only
/// after etcd has sent its first data, because over TLS 1.3 etcd refuses a client after the client's handshake.
///
/// From the first connection on, it follows the files. A renewed certificate or CA is used for new connections. A live
/// connection whose server is not trusted any more is closed. It follows them on the tokio runtime of that connection.
/// If that runtime has ended, the next connection starts to follow again, on its own runtime.
///
/// It is a `tower` service for any client that is built on hyper. It ignores the URIs of the client: the endpoints are
/// those of the configuration. [`channel`](Self::channel) makes a channel of tonic, for etcd-client.
#[derive(Clone)]
pub struct EtcdConnector(Arc<Inner>);

struct Inner {
    connector: HostConnector,
    endpoints: Vec<EtcdEndpoint>,
    timeout: Duration,
    /// The index of the endpoint that worked last.
    last_good: AtomicUsize,
    source: Arc<FileSource<HostTlsConfig>>,
    reloader: Mutex<Option<Reloader>>,
    /// The generation of the configuration for which etcd did not request our certificate, and that was reported.
    reported: AtomicU64,
}

/// How long an endpoint may be silent before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_secs(1);

/// How long etcd may take to send its first data after the handshake. etcd sends it at once. A proxy in between may
/// wait for our data instead: then the connection is used anyway.
const FIRST_DATA: Duration = Duration::from_secs(2);

/// As in Calico's client of etcd.
const TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

impl EtcdConnector {
    pub(crate) fn new(
        endpoints: Vec<EtcdEndpoint>,
        files: HostTlsFiles,
        policy: &TlsPolicy,
    ) -> Result<Self, MaterialError> {
        // etcd speaks gRPC, and so HTTP/2, only.
        let policy = policy.clone().with_alpn(["h2"]);
        let policy = policy.unwrap_or_else(|error| unreachable!("this list is valid: {error}"));
        let tls = HostTlsConfig::from_files(&files, policy.clone())?;
        let connector = HostConnector::new(tls).with_acceptance(AcceptanceMode::FirstData(FIRST_DATA));
        Ok(Self(Arc::new(Inner {
            connector,
            endpoints,
            timeout: TIMEOUT,
            last_good: AtomicUsize::new(0),
            source: Arc::new(FileSource::of_host(files, policy)),
            reloader: Mutex::default(),
            reported: AtomicU64::new(0),
        })))
    }

    /// The endpoints.
    pub fn endpoints(&self) -> &[EtcdEndpoint] {
        &self.0.endpoints
    }

    /// The [`HostConnector`] that it uses. It has the configuration in force.
    pub fn connector(&self) -> &HostConnector {
        &self.0.connector
    }

    /// The reloader of the files; `None` before the first connection. It shows the state, and can read the files at
    /// once.
    pub fn reloader(&self) -> Option<Reloader> {
        self.following().clone()
    }

    /// A channel of tonic over this connector, for `etcd_client::Channel::Tonic`. It connects with the first request,
    /// and again with the first request after the connection is lost. It sends keep-alives every 30 s, as Calico does.
    ///
    /// If no endpoint can be connected to, a request fails with the code `Unavailable` and the text of the
    /// [`EtcdError`]; [`EtcdError::of`] finds it.
    pub fn channel(&self) -> Channel {
        let channel = Endpoint::from_static("https://etcd")
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let connector = self.clone().map_err(|error| ConnectError(Box::new(error)));
        Channel::new(connector, channel)
    }

    /// Connects to one of the endpoints.
    ///
    /// The future ends within 10 s, as in Calico's client of etcd. It may be dropped at any point, which closes every
    /// connection that it has started.
    ///
    /// # Errors
    ///
    /// [`EtcdError`], with every attempt.
    ///
    /// # Panics
    ///
    /// If it is called outside of a tokio runtime, or the runtime's clock is not enabled.
    pub async fn connect(&self) -> Result<Connection, EtcdError> {
        let inner = &*self.0;
        self.start_following();
        let deadline = Instant::now() + inner.timeout;
        let connector = inner.connector.clone().with_dial_timeout(inner.timeout);
        let presented = connector.config().material.credentials.is_some();
        let first = inner.last_good.load(Ordering::Relaxed);
        let mut waiting = (first..inner.endpoints.len()).chain(0..first).collect::<Vec<_>>().into_iter();
        let (mut dials, mut attempts) = (FuturesUnordered::new(), Vec::new());
        let mut next_dial_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_dial_at
                && let Some((index, endpoint)) =
                    waiting.next().and_then(|index| Some((index, inner.endpoints.get(index)?)))
            {
                let connector = &connector;
                dials.push(async move {
                    let outcome = connector.dial(&endpoint.host, endpoint.port).await;
                    (index, endpoint, outcome, now.elapsed())
                });
                next_dial_at = now + HEAD_START;
                continue;
            }
            if dials.is_empty() {
                return Err(EtcdError::AllFailed { attempts });
            }
            let wake_at = if waiting.len() == 0 { deadline } else { deadline.min(next_dial_at) };
            tokio::select! {
                biased;
                Some((index, endpoint, outcome, took)) = dials.next() => match outcome {
                    Ok(connection) => {
                        inner.last_good.store(index, Ordering::Relaxed);
                        self.report_unasked(&connection, endpoint, presented);
                        return Ok(connection);
                    }
                    Err(error) => {
                        let config = inner.connector.config();
                        attempts.push(EndpointAttempt {
                            endpoint: endpoint.clone(),
                            has_certificate: config.material.credentials.is_some(),
                            unusable_certificate: unusable_certificate(&config, error.handshake()),
                            error: Arc::new(error),
                            took,
                        });
                        next_dial_at = now;
                    }
                },
                () = sleep_until(wake_at) => if Instant::now() >= deadline {
                    return Err(EtcdError::TimedOut { after: inner.timeout, attempts });
                },
            }
        }
    }

    /// Starts to follow, if that was not done yet or its runtime has ended.
    fn start_following(&self) {
        let mut reloader = self.following();
        if reloader.as_ref().is_none_or(Reloader::is_stopped) {
            *reloader = Some(self.0.connector.follow(self.0.source.clone(), ReloadOptions::default()));
        }
    }

    fn following(&self) -> MutexGuard<'_, Option<Reloader>> {
        self.0.reloader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Warns, once for each configuration, if etcd did not request the certificate that we have.
    fn report_unasked(&self, connection: &Connection, endpoint: &EtcdEndpoint, presented: bool) {
        let generation = connection.generation();
        if presented
            && connection.acceptance() == Acceptance::NotAsked
            && self.0.reported.swap(generation, Ordering::Relaxed) != generation
        {
            warn!(
                %endpoint,
                "etcd does not ask for our certificate, so it accepts any client; start it with --client-cert-auth and \
                 --trusted-ca-file"
            );
        }
    }
}

/// Why every server refuses our certificate, if this one did.
fn unusable_certificate(config: &HostTlsConfig, failure: Option<&HandshakeError>) -> Option<String> {
    let Some(HandshakeError::RefusedByPeer { .. }) = failure else { return None };
    let is_reason = |warning: &MaterialWarning| {
        matches!(
            warning,
            MaterialWarning::LeafExpired { .. }
                | MaterialWarning::LeafLacksPurpose { .. }
                | MaterialWarning::LeafNotYetValid { .. }
        )
    };
    let warnings = config.warnings(config.policy.time_provider().current_time()?);
    warnings.into_iter().find(is_reason).map(|reason| reason.to_string())
}

impl Service<Uri> for EtcdConnector {
    type Response = HttpsConnection;
    type Error = EtcdError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpsConnection, EtcdError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EtcdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.connect().await?.into()) })
    }
}

impl fmt::Debug for EtcdConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdConnector")
            .field("endpoints", &self.0.endpoints)
            .field("connector", &self.0.connector)
            .finish_non_exhaustive()
    }
}

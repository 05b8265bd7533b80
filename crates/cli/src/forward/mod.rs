//! Forwarding: carries each connection with TLS to a connection without TLS, and the reverse.

mod counts;
pub(crate) mod exposure;
mod plain;
mod relay;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use metrics::{describe_gauge, gauge};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use typha_tls::Connection;

pub(crate) use counts::ForwardCounts;
use exposure::Exposure;
pub(crate) use plain::{PlainAddress, PlainError, PlainListener, PlainStream, take_error};
use relay::{Ending, Relay};

use crate::lines::Lines;
use crate::metrics_page::Readiness;
use crate::output;

/// The group of the flags that give the address of the side without TLS.
pub(crate) const PLAIN: &str = "plain";

/// What the side without TLS may do.
#[derive(Args)]
pub(crate) struct PlainOptions {
    /// Allow an address without TLS that is not a loopback address. TLS ends at this process: everyone who can read or
    /// change the traffic behind it can read or change everything
    #[arg(long, requires = PLAIN)]
    pub(crate) allow_unencrypted_network: bool,
}

/// Carries one connection until it ends, and prints the line about its end.
pub(crate) async fn carry(
    tls: Box<Connection>,
    plain: PlainStream,
    close_requested: &CancellationToken,
    grace: Duration,
    counts: &ForwardCounts,
    lines: &Lines,
) {
    let began = Instant::now();
    counts.active.rise();
    let mut relay = Relay::new(tls, plain, counts);
    relay.carry(close_requested, grace).await;
    let line = json!({
        "peer": relay.tls().peer_address().to_string(),
        "received": relay.received,
        "sent": relay.sent,
        "seconds": (began.elapsed().as_secs_f64() * 1e3).round() / 1e3,
    });
    let ending = relay.close().await;
    counts.active.fall();
    let line = match ending {
        Ending::InOrder => {
            counts.in_order.add(1);
            output::merge(json!({ "event": "ended" }), line)
        }
        Ending::Closed => {
            counts.closed.add(1);
            output::merge(json!({ "event": "closed" }), line)
        }
        Ending::Broken { side, error } => {
            counts.broken_off.add(1);
            let line = output::merge(line, json!({ "side": side.label(), "detail": output::detail(&error) }));
            output::merge(json!({ "event": "broken_off" }), line)
        }
    };
    lines.add(output::json_line(&line));
}

/// The program behind Typha's sidecar: most often a Typha without TLS.
pub(crate) struct Backend {
    address: PlainAddress,
    /// What it resolved to at the start.
    found: Vec<SocketAddr>,
    may_leave_host: bool,
    /// When a connection has to be closed: how long the backend may take to end its direction.
    grace: Duration,
    counts: ForwardCounts,
    /// Whether the last attempt to connect succeeded.
    is_reachable: Mutex<Option<bool>>,
    exposure: Arc<Exposure>,
    /// One for each connection.
    pub(crate) tasks: TaskTracker,
}

impl Backend {
    /// Fails if the address may not be used without TLS.
    pub(crate) async fn new(
        address: PlainAddress,
        may_leave_host: bool,
        grace: Duration,
    ) -> Result<Self, PlainError> {
        let found = address.check(may_leave_host).await?;
        exposure::warn_about_loopback(&address, &found);
        let exposure = Arc::new(Exposure::default());
        if let PlainAddress::Tcp(_) = &address {
            exposure.check(&address, &found);
        }
        describe_gauge!("typha_backend_reachable", "1 if the last attempt to connect without TLS succeeded");
        Ok(Self {
            address,
            found,
            may_leave_host,
            grace,
            counts: ForwardCounts::new(),
            is_reachable: Mutex::new(None),
            exposure,
            tasks: TaskTracker::new(),
        })
    }

    /// Fails if the backend is the listener itself.
    pub(crate) fn check_listener(&self, listening: SocketAddr) -> Result<(), PlainError> {
        match self.found.iter().any(|found| PlainAddress::is_own(listening, found)) {
            true => Err(PlainError::Own {
                target: self.address.to_string(),
                remedy: "another address with --forward, or with --listen (ServerHost and ServerPort)",
            }),
            false => Ok(()),
        }
    }

    async fn connect(&self) -> Result<PlainStream, PlainError> {
        let connected = self.address.connect(self.may_leave_host).await;
        *self.is_reachable() = Some(connected.is_ok());
        gauge!("typha_backend_reachable").set(if connected.is_ok() { 1.0 } else { 0.0 });
        if let Ok(Either::Left(tcp)) = &connected
            && self.exposure.is_due()
            && let Ok(found) = tcp.peer_addr()
        {
            let (exposure, address) = (self.exposure.clone(), self.address.clone());
            // The table may be long.
            spawn_blocking(move || exposure.check(&address, &[found]));
        }
        connected
    }

    pub(crate) fn to_json(&self) -> Value {
        output::merge(self.counts.to_json(), json!({ "backend_reachable": *self.is_reachable() }))
    }

    fn is_reachable(&self) -> MutexGuard<'_, Option<bool>> {
        self.is_reachable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the backend accepts connections.
    pub(crate) async fn check(&self) -> Readiness {
        self.connect().await.map(drop).map_err(|error| output::detail(&error))
    }

    /// Carries a connection to the backend. If the backend can not be reached, the connection is reset, and Felix tries
    /// another Typha.
    pub(crate) async fn serve(&self, tls: Box<Connection>, lines: &Lines) {
        let close_requested = tls.close_requested().clone();
        // Boxed, because it is needed only at the beginning.
        let connecting = Box::pin(self.connect());
        let plain = tokio::select! {
            plain = connecting => plain,
            () = close_requested.cancelled() => return,
        };
        match plain {
            Ok(plain) => carry(tls, plain, &close_requested, self.grace, &self.counts, lines).await,
            Err(error) => {
                self.counts.plain_failed();
                let line = json!({
                    "event": "forward_failed",
                    "peer": tls.peer_address().to_string(),
                    "detail": output::detail(&error),
                });
                lines.add(output::json_line(&line));
            }
        }
    }
}

//! Accepts the connections of local programs without TLS, and carries each over TLS to one of the Typhas.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use metrics::{counter, describe_counter};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use typha_tls::dialer::FelixDialer;
use typha_tls::reload::Reloader;

use super::outcome::not_connected;
use super::readiness::{READINESS, ready};
use crate::following::Follower;
use crate::forward::{
    ForwardCounts, PLAIN, PlainAddress, PlainError, PlainListener, PlainOptions, PlainStream, carry,
    exposure, take_error,
};
use crate::lines::{LAST_LINES, Lines};
use crate::metrics_page::MetricsPage;
use crate::options;
use crate::output::{self, FAILED, SUCCESS, UNUSABLE};
use crate::signals::Signals;

/// The side without TLS, to which Felix connects.
#[derive(Args)]
pub(super) struct LocalOptions {
    /// Accept connections without TLS at this address, and carry each to a Typha, instead of stdin and stdout
    #[arg(long, value_name = "HOST:PORT|unix:PATH", group = PLAIN)]
    pub(super) listen: Option<PlainAddress>,
    #[command(flatten)]
    plain: PlainOptions,
    /// With --listen unix:PATH: the UID of a user that may connect; may be given several times [default: our own user,
    /// and root]
    #[arg(long, value_name = "UID", requires = "listen")]
    allow_uid: Vec<u32>,
    /// With --listen: the most connections at a time; later ones wait
    #[arg(long, value_name = "N", default_value = "1000", requires = "listen")]
    max_connections: NonZeroUsize,
    /// With --listen: print a line with all counts at this interval, and once at the end
    #[arg(long, value_name = "SECS", value_parser = options::positive_seconds, requires = "listen")]
    stats_interval: Option<Duration>,
}

/// How long a connection may take to end in order when this process shuts down.
const GRACE: Duration = Duration::from_secs(1);

/// The pause after an error of `accept()`. Most often, there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often to check, while a Typha is searched for a program, whether the program has reset its connection.
const LOOK: Duration = Duration::from_secs(1);

/// What every connection needs.
struct Local {
    dialer: FelixDialer,
    wanted: String,
    counts: Arc<ForwardCounts>,
    /// The number of failed connects, by the reason in their lines.
    failed: Mutex<BTreeMap<String, u64>>,
    lines: Lines,
    stop: CancellationToken,
}

pub(super) async fn run(
    dialer: FelixDialer,
    wanted: String,
    follow: (Reloader, Follower),
    page: Option<MetricsPage>,
    address: &PlainAddress,
    options: &LocalOptions,
) -> u8 {
    if let (PlainAddress::Tcp(_), [_, ..]) = (address, &*options.allow_uid) {
        output::complain(&io::Error::other(
            "--allow-uid needs a Unix socket: the user of a TCP connection is not known; use --listen unix:PATH",
        ));
        return UNUSABLE;
    }
    match serve(dialer, wanted, follow, page, address, options).await {
        Ok(()) => SUCCESS,
        Err(error) => {
            output::complain(&*error);
            match error.downcast_ref().is_some_and(PlainError::is_of_usage) {
                true => UNUSABLE,
                false => FAILED,
            }
        }
    }
}

async fn serve(
    dialer: FelixDialer,
    wanted: String,
    (reloader, follower): (Reloader, Follower),
    page: Option<MetricsPage>,
    address: &PlainAddress,
    options: &LocalOptions,
) -> Result<(), Box<dyn std::error::Error>> {
    // Each connection takes two descriptors.
    #[cfg(target_os = "linux")]
    if let Err(error) = crate::descriptors::raise_limit() {
        tracing::warn!(%error, "keeping the current limit");
    }
    let mut signals = Signals::new()?;
    let may_leave_host = options.plain.allow_unencrypted_network;
    exposure::warn_about_loopback(address, &address.check(may_leave_host).await?);
    let listener = PlainListener::bind(address, may_leave_host, &options.allow_uid).await?;
    listener.check_targets(&wanted.split(", ").collect::<Vec<_>>()).await?;
    describe_counter!("typha_connects_failed", "connects to a Typha that failed, by reason");
    let local = Arc::new(Local {
        dialer,
        wanted,
        counts: Arc::new(ForwardCounts::new()),
        failed: Mutex::default(),
        lines: Lines::stdout()?,
        stop: CancellationToken::new(),
    });
    let lines = &local.lines;
    let listening = json!({ "event": "listening", "address": listener.address()?.to_string() });
    lines.add(output::json_line(&match &page {
        Some(page) => output::merge(listening, json!({ "metrics": page.address()?.to_string() })),
        None => listening,
    }));
    if let Some(page) = page {
        let counts = local.counts.clone();
        tokio::spawn(page.serve(ready(&local.dialer, &reloader, move || counts.active() > 0), READINESS));
    }
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(options.max_connections.get().min(Semaphore::MAX_PERMITS)));
    tokio::select! {
        () = signals.recv() => {}
        () = accept_all(&listener, &local, &connections, &room) => {}
        () = follower.print_changes(|line| lines.add(output::json_line(&line))) => {}
        () = lines.add_every(options.stats_interval, || output::json_line(&stats_line(&local))) => {}
    }
    drop(listener);
    local.stop.cancel();
    connections.close();
    tokio::select! {
        _ = timeout(2 * GRACE, connections.wait()) => {}
        () = signals.recv() => {}
    }
    lines.add_last(output::json_line(&json!({ "event": "shut_down", "left": connections.len() })));
    if options.stats_interval.is_some() {
        lines.add_last(output::json_line(&stats_line(&local)));
    }
    lines.finish(LAST_LINES);
    Ok(())
}

async fn accept_all(
    listener: &PlainListener,
    local: &Arc<Local>,
    connections: &TaskTracker,
    room: &Arc<Semaphore>,
) {
    loop {
        // The semaphore is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok(Ok(plain)) => {
                let local = local.clone();
                connections.spawn(async move {
                    local.serve(plain).await;
                    drop(permit);
                });
            }
            Ok(Err(wrong)) => {
                let line = json!({ "event": "refused_local", "uid": wrong.uid, "detail": wrong.to_string() });
                local.lines.add(output::json_line(&line));
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a local connection can not be accepted"
                );
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Local {
    /// Carries one connection. If no Typha accepts us, the connection is reset.
    async fn serve(&self, plain: PlainStream) {
        // Boxed, because it is needed only at the beginning.
        let dialling = Box::pin(async {
            let connected = self.dialer.connect().await;
            connected.map(|tls| Box::new(tls.with_reset_on_drop()))
        });
        let connected = tokio::select! {
            connected = dialling => connected,
            () = has_failed(&plain) => {
                return self.note_failed(json!({
                    "event": "refused",
                    "peer": self.wanted,
                    "reason": "local_reset",
                    "detail": "the local program reset its connection before a Typha accepted us",
                }));
            }
            () = self.stop.cancelled() => return,
        };
        match connected {
            Ok(tls) => {
                self.lines.add(output::json_line(&output::accepted(&tls)));
                // Both a close request and the shutdown of this process close the connection.
                let close_requested = tls.close_requested().clone();
                let closing = self.stop.child_token();
                let request = async {
                    close_requested.cancelled().await;
                    closing.cancel();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = carry(tls, plain, &closing, GRACE, &self.counts, &self.lines) => {}
                    () = request => {}
                }
            }
            Err(error) => self.note_failed(not_connected(&self.wanted, &error).0),
        }
    }

    fn note_failed(&self, line: Value) {
        let reason = line.get("reason").and_then(Value::as_str).unwrap_or("io").to_owned();
        counter!("typha_connects_failed", "reason" => reason.clone()).increment(1);
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
        self.lines.add(output::json_line(&line));
    }
}

/// Waits until a connection that is not being read yet is reset. An end of the program's direction does not count: the
/// program may still wait for an answer.
async fn has_failed(plain: &PlainStream) {
    // Wait first: if a Typha is found soon, data that was sent before a reset is carried.
    sleep(LOOK).await;
    while let Ok(None) = take_error(plain) {
        sleep(LOOK).await;
    }
}

fn stats_line(local: &Local) -> Value {
    let failed = local.failed.lock().unwrap_or_else(PoisonError::into_inner);
    json!({
        "event": "stats",
        "forwarded": local.counts.to_json(),
        "connects_failed": *failed,
        "tasks": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        "lines_lost": local.lines.lost(),
    })
}

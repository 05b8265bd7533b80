//! `typha-tls typha`: Typha's end. It echoes the data that it receives, or forwards it to a Typha without TLS.

use std::error::Error;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use typha_tls::Connection;
use typha_tls::TyphaListener;
use typha_tls::config::{SetupError, TyphaConfig};
use typha_tls::listener::{ListenerHandle, ListenerLimits, TyphaListenerBuilder};

use crate::following::{FollowOptions, Follower};
#[cfg(unix)]
use crate::forward::{Backend, PLAIN, PlainAddress, PlainError, PlainOptions};
use crate::lines::{LAST_LINES, Lines};
use crate::metrics_page::{MetricsOptions, MetricsPage, certificate_is_valid};
use crate::options::{self, RevocationOptions, TyphaOptions};
use crate::output::{self, FAILED, SUCCESS, UNUSABLE};
use crate::signals::Signals;

/// Accepts Felixes and echoes what they send, or forwards it to a Typha without TLS
///
/// Prints {"event":"listening",...} when ready, then a line for each connection that is accepted or refused. SIGTERM
/// and SIGINT shut it down gracefully: connections are dropped one by one, spread over 95 % of ShutdownTimeoutSecs. A
/// second signal ends it at once. Certificates, CAs and the configuration file are reloaded when they change:
/// {"event":"reloaded",...} is printed when a new configuration is active, {"event":"reload_failed",...} when it can
/// not be used. SIGHUP reloads at once and always prints one of them. Exit code: 0 ended by a signal, 2 bad usage or
/// configuration, 5 the address can not be used.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The address to listen on; port 0 takes a free one [default: ServerHost and ServerPort]
    #[arg(long, value_name = "HOST:PORT", value_parser = options::address)]
    listen: Option<String>,
    /// Carry each connection to the Typha that listens without TLS at this address, instead of echoing
    #[cfg(unix)]
    #[arg(long, value_name = "HOST:PORT|unix:PATH", group = PLAIN)]
    forward: Option<PlainAddress>,
    #[cfg(unix)]
    #[command(flatten)]
    plain: PlainOptions,
    #[command(flatten)]
    limits: LimitOptions,
    /// Print a line with all counts at this interval, and once at the end
    #[arg(long, value_name = "SECS", value_parser = options::positive_seconds)]
    stats_interval: Option<Duration>,
    #[command(flatten)]
    metrics: MetricsOptions,
    #[command(flatten)]
    following: FollowOptions,
    #[command(flatten)]
    tls: TyphaOptions,
    #[command(flatten)]
    revocation: RevocationOptions,
}

/// The limits of Typha.
#[derive(Args)]
struct LimitOptions {
    /// Most connections in service [default: MaxConnectionsUpperLimit]
    #[arg(long, value_name = "N")]
    max_connections: Option<NonZeroUsize>,
    /// Most connections in service from one address [default: half of --max-connections]
    #[arg(long, value_name = "N")]
    max_connections_per_address: Option<NonZeroUsize>,
    /// Most handshakes in progress [default: 256]
    #[arg(long, value_name = "N")]
    max_handshakes: Option<NonZeroUsize>,
    /// Most handshakes in progress from one address [default: 64]
    #[arg(long, value_name = "N")]
    max_handshakes_per_address: Option<NonZeroUsize>,
    /// Most connections that wait for their handshake [default: 4096]
    #[arg(long, value_name = "N")]
    max_queue: Option<NonZeroUsize>,
    /// Most connections from one address that wait for their handshake [default: 1024]
    #[arg(long, value_name = "N")]
    max_queue_per_address: Option<NonZeroUsize>,
    /// Time for the graceful shutdown, in seconds [default: ShutdownTimeoutSecs]
    #[arg(long, value_name = "SECS", value_parser = options::seconds)]
    shutdown_timeout: Option<Duration>,
}

impl LimitOptions {
    fn apply(&self, mut limits: ListenerLimits) -> ListenerLimits {
        let set = |limit: &mut usize, option: Option<NonZeroUsize>| {
            *limit = option.map_or(*limit, NonZeroUsize::get);
        };
        set(&mut limits.connections, self.max_connections);
        if let Some(share) = self.max_connections_per_address {
            limits.connections_per_address = Some(share.get());
        }
        set(&mut limits.handshakes, self.max_handshakes);
        set(&mut limits.handshakes_per_address, self.max_handshakes_per_address);
        set(&mut limits.queue, self.max_queue);
        set(&mut limits.queue_per_address, self.max_queue_per_address);
        limits.shutdown_timeout = self.shutdown_timeout.unwrap_or(limits.shutdown_timeout);
        limits
    }
}

pub(crate) async fn run(arguments: Arguments) -> u8 {
    let mut config = match TyphaConfig::load(&arguments.tls.sources()) {
        Ok(config) => config,
        Err(error) => {
            output::complain(&error);
            return UNUSABLE;
        }
    };
    if let Some(tls) = &mut config.tls {
        arguments.revocation.apply(&mut tls.files);
    }
    let page = match MetricsPage::start(&arguments.metrics).await {
        Ok(page) => page,
        Err(error) => {
            output::complain(&*error);
            return FAILED;
        }
    };
    let limits = arguments.limits.apply(config.limits());
    let builder = match config.listener() {
        Ok(builder) => {
            builder.limits(limits.clone()).follow(config.source(), arguments.following.to_reload())
        }
        Err(SetupError::TlsNotConfigured { .. }) => {
            output::complain(&io::Error::other(
                "TLS is not configured: set the five TLS parameters (see --help)",
            ));
            return UNUSABLE;
        }
        Err(error) => {
            output::complain(&error);
            return UNUSABLE;
        }
    };
    // As long as the listener gives it, and a little less: then it is this command that ends a connection.
    let grace = limits.drop_grace.min(limits.shutdown_timeout / 25).mul_f64(0.9);
    let service = match Service::new(&arguments, grace).await {
        Ok(service) => service,
        Err(error) => {
            output::complain(&*error);
            return code(&*error);
        }
    };
    match serve(&config, &arguments, builder, page, Arc::new(service)).await {
        Ok(()) => SUCCESS,
        Err(error) => {
            output::complain(&*error);
            code(&*error)
        }
    }
}

/// The exit code for an error.
fn code(error: &(dyn Error + 'static)) -> u8 {
    #[cfg(unix)]
    if error.downcast_ref().is_some_and(PlainError::is_of_usage) {
        return UNUSABLE;
    }
    let _ = error;
    FAILED
}

/// What the command does with its connections.
enum Service {
    Echo,
    #[cfg(unix)]
    Forward(Arc<Backend>),
}

impl Service {
    async fn new(arguments: &Arguments, grace: Duration) -> Result<Self, Box<dyn Error>> {
        #[cfg(unix)]
        if let Some(address) = arguments.forward.clone() {
            let may_leave_host = arguments.plain.allow_unencrypted_network;
            return Ok(Self::Forward(Arc::new(Backend::new(address, may_leave_host, grace).await?)));
        }
        Ok(Self::Echo)
    }
}

async fn serve(
    config: &TyphaConfig,
    arguments: &Arguments,
    builder: TyphaListenerBuilder,
    page: Option<MetricsPage>,
    service: Arc<Service>,
) -> Result<(), Box<dyn Error>> {
    // Go's runtime raises the soft limit, too: 1024 only serves old programs.
    #[cfg(target_os = "linux")]
    if let Err(error) = crate::descriptors::raise_limit() {
        tracing::warn!(%error, "keeping the current limit");
    }
    let mut signals = Signals::new()?;
    let lines = Lines::stdout()?;
    let refused_lines = lines.clone();
    let lost_lines = lines.clone();
    let builder =
        builder.on_lost_trust(move |lost| lost_lines.add(output::json_line(&output::lost_trust(&lost))));
    let builder = builder.on_failed_handshake(move |handshake| {
        let line = output::refused(&handshake.peer_address.to_string(), &handshake.error);
        refused_lines.add(output::json_line(&line));
    });
    let mut listener = match &arguments.listen {
        Some(address) => builder.bind(address).await,
        None => builder.bind(config.listen_address()).await,
    }?;
    #[cfg(unix)]
    if let Service::Forward(backend) = &*service {
        backend.check_listener(listener.local_addr())?;
    }
    let handle = listener.handle();
    let reloader = listener.reloader().ok_or_else(|| io::Error::other("the listener follows no files"))?;
    let follower = Follower::new(reloader.clone())?;
    let listening = json!({ "event": "listening", "address": listener.local_addr().to_string() });
    lines.add(output::json_line(&match &page {
        Some(page) => output::merge(listening, json!({ "metrics": page.address()?.to_string() })),
        None => listening,
    }));
    let stopping = CancellationToken::new();
    if let Some(page) = page {
        let (reloader, service, stopping) = (reloader.clone(), service.clone(), stopping.clone());
        let check = move || {
            let (certificate, service) = (certificate_is_valid(&reloader), service.clone());
            let is_stopping = stopping.is_cancelled();
            async move {
                if is_stopping {
                    return Err("it is shutting down".to_owned());
                }
                certificate?;
                match &*service {
                    Service::Echo => Ok(()),
                    #[cfg(unix)]
                    Service::Forward(backend) => backend.check().await,
                }
            }
        };
        tokio::spawn(page.serve(check, Duration::from_secs(1)));
    }
    let report = {
        let serving = accept_all(&mut listener, &service, &lines);
        // This continues during the shutdown and never ends.
        let stats = || output::json_line(&stats_line(&handle, &service, &lines));
        let reporting = lines.add_every(arguments.stats_interval, stats);
        let following = follower.print_changes(|line| lines.add(output::json_line(&line)));
        let until_signals = async {
            signals.recv().await;
            stopping.cancel();
            tokio::select! {
                report = handle.shutdown() => Some(report),
                () = signals.recv() => None,
            }
        };
        tokio::select! {
            report = until_signals => report,
            ((), (), ()) = async { tokio::join!(serving, reporting, following) } => None,
        }
    };
    if let Some(report) = report {
        // Their lines come before the last one.
        #[cfg(unix)]
        if let Service::Forward(backend) = &*service {
            backend.tasks.close();
            let _ = timeout(LAST_LINES, backend.tasks.wait()).await;
        }
        let line = json!({ "event": "shut_down", "dropped": report.dropped, "left": report.left });
        lines.add_last(output::json_line(&line));
    }
    if arguments.stats_interval.is_some() {
        lines.add_last(output::json_line(&stats_line(&handle, &service, &lines)));
    }
    lines.finish(LAST_LINES);
    Ok(())
}

async fn accept_all(listener: &mut TyphaListener, service: &Arc<Service>, lines: &Lines) {
    while let Some(connection) = listener.accept().await {
        lines.add(output::json_line(&output::accepted(&connection)));
        match &**service {
            Service::Echo => drop(tokio::spawn(serve_felix(connection))),
            #[cfg(unix)]
            Service::Forward(backend) => {
                let (served, lines) = (backend.clone(), lines.clone());
                // Boxed, because each future that holds the connection would need room for it.
                let connection = Box::new(connection.with_reset_on_drop());
                backend.tasks.spawn(async move { served.serve(connection, &lines).await });
            }
        }
    }
}

fn stats_line(handle: &ListenerHandle, service: &Service, lines: &Lines) -> Value {
    let stats = handle.stats();
    let seconds = &stats.handshake_seconds;
    let buckets = seconds.buckets.iter().map(|(bound, count)| json!([bound, count]));
    let line = json!({
        "event": "stats",
        "accepted": stats.accepted,
        "active": stats.active,
        "unreleased": stats.unreleased,
        "active_by_ca": handle.active_by_ca(),
        "queued": stats.queued,
        "in_handshake": stats.in_handshake,
        "matched": stats.matched,
        "refused": stats.refused,
        "failed": stats.failed,
        "timed_out": stats.timed_out,
        "shed": stats.shed,
        "probed": stats.probed,
        "dropped": stats.dropped,
        "lost_trust": stats.lost_trust,
        "accept_errors": stats.accept_errors,
        "tasks": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        "handshake_seconds": {
            "count": seconds.count(),
            "sum": seconds.sum.as_secs_f64(),
            "buckets": buckets.collect::<Vec<_>>(),
        },
        "lines_lost": lines.lost(),
    });
    match service {
        Service::Echo => line,
        #[cfg(unix)]
        Service::Forward(backend) => output::merge(line, json!({ "forwarded": backend.to_json() })),
    }
}

async fn serve_felix(mut connection: Connection) {
    let peer = connection.peer_address().to_string();
    let dropping = connection.close_requested().clone();
    tokio::select! {
        ended = echo(&mut connection) => if let Err(error) = ended {
            tracing::info!(peer, %error, "connection broke off");
        },
        () = dropping.cancelled() => {
            let _ = connection.close().await;
        }
    }
}

async fn echo(stream: &mut Connection) -> io::Result<()> {
    loop {
        // There is no buffer of our own, because most connections are idle.
        let data = stream.fill_buf().await?.to_vec();
        if data.is_empty() {
            return stream.shutdown().await;
        }
        stream.consume(data.len());
        stream.write_all(&data).await?;
        stream.flush().await?;
    }
}

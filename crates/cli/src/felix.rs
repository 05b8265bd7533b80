//! `typha-tls felix`: Felix's end, between stdin and stdout, or for local programs without TLS.

#[cfg(unix)]
mod local;
mod outcome;
mod readiness;
mod talk;

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;
use typha_tls::config::{FelixConfig, SetupError};
use typha_tls::dialer::{DialerLimits, DnsEndpoints, FelixDialer};
use typha_tls_kubernetes::KubernetesSetupError;

use crate::following::{FollowOptions, Follower};
use crate::metrics_page::{MetricsOptions, MetricsPage};
use crate::options::{self, FelixOptions, RevocationOptions};
use crate::output::{self, FAILED, UNUSABLE};
use outcome::not_connected;
use readiness::{READINESS, ready};

/// Connects to a Typha: sends stdin to it and writes what it receives to stdout, or carries local connections to it
///
/// Of several Typhas, those of our own node come first, then the others in random order, each once, until one accepts
/// us.
///
/// One JSON line on stderr gives the outcome, with every attempt that failed. Exit code: 0 accepted and closed cleanly,
/// 2 bad usage or configuration, 3 Typha refused us, 4 we refused Typha, 5 unreachable, timed out or broken off. After
/// several attempts, the last refusal by either end counts. If Typha sends nothing for 30 s (TyphaReadTimeout), the
/// connection fails.
///
/// With --listen, it accepts connections without TLS, and carries each to a Typha. Its JSON lines are then on stdout:
/// {"event":"listening",...} when ready, then lines for each connection. SIGTERM and SIGINT shut it down: each
/// connection has 1 s to end in order. A second signal ends it at once. Exit code: 0 ended by a signal, 2 bad usage or
/// configuration, 5 the address can not be used.
///
/// Certificates, CAs and the configuration file are reloaded when they change; later attempts to connect use them. A
/// line {"event":"reloaded",...} or {"event":"reload_failed",...} reports the result. SIGHUP reloads at once, and
/// always prints one of these lines.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A Typha to connect to, at all of its addresses; may be given several times [default: TyphaAddr]
    #[arg(long, value_name = "HOST:PORT", value_parser = options::address, conflicts_with = "kubernetes_service")]
    connect: Vec<String>,
    /// A name that resolves to the addresses of all Typhas, such as that of a headless service
    #[arg(long, value_name = "HOST:PORT", value_parser = options::address)]
    #[arg(conflicts_with_all = ["connect", "kubernetes_service"])]
    dns: Option<String>,
    /// The Kubernetes service of the Typhas [default: TyphaK8sServiceName]
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = options::service)]
    kubernetes_service: Option<(String, String)>,
    /// Our Kubernetes node, whose Typhas are tried first [default: FelixHostname, or the host name]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    node_name: Option<String>,
    /// Try this often, with a back-off after all Typhas were tried [default: each Typha once]
    #[arg(long, value_name = "N")]
    tries: Option<NonZeroUsize>,
    #[cfg(unix)]
    #[command(flatten)]
    local: local::LocalOptions,
    #[command(flatten)]
    metrics: MetricsOptions,
    #[command(flatten)]
    following: FollowOptions,
    #[command(flatten)]
    tls: FelixOptions,
    #[command(flatten)]
    revocation: RevocationOptions,
}

pub(crate) async fn run(arguments: Arguments) -> u8 {
    let page = match MetricsPage::start(&arguments.metrics).await {
        Ok(page) => page,
        Err(error) => {
            output::complain(&*error);
            return FAILED;
        }
    };
    let prepared = prepare(&arguments).and_then(|(dialer, wanted, config)| {
        let source = config.source();
        let reloader = dialer.connector().follow(source, arguments.following.to_reload());
        let follower = Follower::new(reloader.clone())?;
        Ok((dialer, wanted, reloader, follower))
    });
    let (dialer, wanted, reloader, follower) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            output::print_outcome(&json!({
                "event": "unusable",
                "reason": "configuration",
                "detail": output::detail(&*error),
            }));
            return UNUSABLE;
        }
    };
    #[cfg(unix)]
    if let Some(address) = &arguments.local.listen {
        let follow = (reloader, follower);
        return local::run(dialer, wanted, follow, page, address, &arguments.local).await;
    }
    let is_connected = Arc::new(AtomicBool::new(false));
    if let Some(page) = page {
        if let Ok(address) = page.address() {
            output::print_event(&json!({ "event": "metrics", "address": address.to_string() }));
        }
        let is_connected = is_connected.clone();
        tokio::spawn(page.serve(ready(&dialer, &reloader, move || is_connected.load(Relaxed)), READINESS));
    }
    tokio::select! {
        code = connect_and_talk(&dialer, &wanted, &is_connected) => code,
        () = follower.print_changes(|line| output::print_event(&line)) => FAILED,
    }
}

async fn connect_and_talk(dialer: &FelixDialer, wanted: &str, is_connected: &AtomicBool) -> u8 {
    match dialer.connect().await {
        Ok(connection) => {
            is_connected.store(true, Relaxed);
            let accepted = output::accepted(&connection);
            let (line, code) = talk::talk(connection).await;
            output::print_outcome(&output::merge(accepted, line));
            code
        }
        Err(error) => {
            let (line, code) = not_connected(wanted, &error);
            output::print_outcome(&line);
            code
        }
    }
}

/// The dialer, its targets as text, and the configuration of both.
fn prepare(arguments: &Arguments) -> Result<(FelixDialer, String, FelixConfig), Box<dyn Error>> {
    let sources = arguments.tls.sources();
    let mut config = FelixConfig::load(&match &arguments.node_name {
        Some(name) => sources.with_value("FelixHostname", name),
        None => sources,
    })?;
    let tls = config.tls.as_mut().ok_or("TLS is not configured: set the five TLS parameters (see --help)")?;
    arguments.revocation.apply(&mut tls.files);
    if let Some((namespace, name)) = arguments.kubernetes_service.clone() {
        (config.typha_k8s_namespace, config.typha_k8s_service_name) = (namespace, Some(name));
        config.typha_addr = None;
    }
    let names: Vec<_> = arguments.connect.iter().chain(&arguments.dns).cloned().collect();
    let (dialer, wanted) = if names.is_empty() {
        let service = config.typha_k8s_service_name.as_ref();
        let service = service.map(|service| format!("{}/{service}", config.typha_k8s_namespace));
        let dialer = match typha_tls_kubernetes::dialer(&config) {
            Err(KubernetesSetupError::Config(SetupError::NoEndpoint)) => Err(
                "there is no Typha to connect to; give --connect, --dns, --kubernetes-service or TyphaAddr",
            )?,
            dialer => dialer?,
        };
        (dialer, config.typha_addr.clone().or(service).unwrap_or_default())
    } else {
        // A name gives no nodes, so our own node does not matter.
        (FelixDialer::new(config.connector()?, DnsEndpoints::several(&names)?), names.join(", "))
    };
    let mut limits = DialerLimits::default();
    match arguments.tries {
        Some(tries) => limits.max_tries = Some(tries.get()),
        // One round, so that the operator has the result soon. No deployment has more Typhas than that.
        None => (limits.max_rounds, limits.max_tries) = (Some(1), Some(usize::MAX)),
    }
    // Reloads are reported from before the first connect on.
    Ok((dialer.with_limits(limits).without_reload(), wanted, config))
}

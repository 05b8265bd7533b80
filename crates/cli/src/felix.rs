//! `typha-tls felix`: Felix's end, between stdin and stdout.

mod talk;

use std::error::Error;
use std::num::NonZeroUsize;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};
use typha_tls::HandshakeError;
use typha_tls::config::{FelixConfig, SetupError};
use typha_tls::dialer::{AttemptError, DialError, DialerLimits, DnsEndpoints, FailedAttempt, FelixDialer};
use typha_tls_kubernetes::KubernetesSetupError;

use crate::following::{FollowOptions, Follower};
use crate::options::{self, FelixOptions, RevocationOptions};
use crate::output::{self, FAILED, REFUSED_BY_PEER, REJECTED, UNUSABLE};

/// Connects to a Typha: sends stdin to it and writes what it receives to stdout
///
/// Of several Typhas, those of our own node come first, then the others in random order, each once, until one accepts
/// us.
///
/// One JSON line on stderr gives the outcome, with every attempt that failed. Exit code: 0 accepted and closed cleanly,
/// 2 bad usage or configuration, 3 Typha refused us, 4 we refused Typha, 5 unreachable, timed out or broken off. After
/// several attempts, the last refusal by either end counts. If Typha sends nothing for 30 s (TyphaReadTimeout), the
/// connection fails.
///
/// Certificates, CAs and the configuration file are reloaded for the remaining attempts. Lines {"event":"reloaded",...}
/// and {"event":"reload_failed",...} on stderr report the result. SIGHUP reloads at once, and always prints one of
/// them.
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
    #[command(flatten)]
    following: FollowOptions,
    #[command(flatten)]
    tls: FelixOptions,
    #[command(flatten)]
    revocation: RevocationOptions,
}

pub(crate) async fn run(arguments: Arguments) -> u8 {
    let prepared = prepare(&arguments).and_then(|(dialer, wanted, config)| {
        let source = config.source();
        let reloader = dialer.connector().follow(source, arguments.following.to_reload());
        let follower = Follower::new(reloader)?;
        Ok((dialer, wanted, follower))
    });
    let (dialer, wanted, follower) = match prepared {
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
    tokio::select! {
        code = connect_and_talk(&dialer, &wanted) => code,
        () = follower.print_changes(|line| output::print_event(&line)) => FAILED,
    }
}

async fn connect_and_talk(dialer: &FelixDialer, wanted: &str) -> u8 {
    match dialer.connect().await {
        Ok(connection) => {
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
            Err(KubernetesSetupError::Config(SetupError::NoEndpoint)) => {
                Err("there is no Typha to connect to: give --connect or TyphaAddr")?
            }
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

/// The most attempts in an outcome line. The earlier ones are left out.
const MAX_ATTEMPTS: usize = 10;

/// The outcome line and the exit code if no connection was made.
fn not_connected(wanted: &str, error: &DialError) -> (Value, u8) {
    let attempts = error.attempts();
    let is_refusal = |attempt: &&FailedAttempt| exit_code(&attempt.error) != FAILED;
    // The error of a Typha that was reached says more than that of one that was not.
    let decisive = attempts.iter().rfind(is_refusal).or(attempts.last());
    let (line, code) = match decisive {
        Some(attempt) => (attempt_line(attempt), exit_code(&attempt.error)),
        None => (json!({ "peer": wanted, "reason": "io" }), FAILED),
    };
    let line = output::merge(json!({ "event": "refused" }), line);
    // One attempt needs one line; several attempts are all listed.
    let line = match (attempts, error.is_own_fault()) {
        ([_], false) => line,
        _ => output::merge(line, json!({ "detail": output::detail(error) })),
    };
    let omitted = attempts.len().saturating_sub(MAX_ATTEMPTS);
    let last: Vec<_> = attempts.iter().skip(omitted).map(attempt_line).collect();
    let line = output::merge(line, json!({ "attempts": last }));
    match omitted {
        0 => (line, code),
        omitted => (output::merge(line, json!({ "attempts_omitted": omitted })), code),
    }
}

fn attempt_line(attempt: &FailedAttempt) -> Value {
    let peer = attempt.endpoint.address.to_string();
    match &*attempt.error {
        AttemptError::Handshake(error) => output::refusal(&peer, error),
        error => {
            let reason = if matches!(error, AttemptError::DialTimedOut { .. }) { "timed_out" } else { "io" };
            json!({ "peer": peer, "reason": reason, "detail": output::detail(error) })
        }
    }
}

fn exit_code(error: &AttemptError) -> u8 {
    match error {
        AttemptError::Handshake(HandshakeError::RefusedByPeer { .. }) => REFUSED_BY_PEER,
        AttemptError::Handshake(HandshakeError::Rejected(_)) => REJECTED,
        _ => FAILED,
    }
}

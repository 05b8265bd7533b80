//! The command `typha-tls`: both ends of the connection, the verifier, a check of the configuration, a PKI to start
//! with, and a storm of connections. The README of this package describes it.

mod check;
#[cfg(target_os = "linux")]
mod descriptors;
mod felix;
mod following;
#[cfg(unix)]
mod forward;
#[cfg(target_os = "linux")]
mod interrupted;
mod lines;
mod metrics_page;
mod options;
mod output;
#[cfg(target_os = "linux")]
mod percentile;
mod pki;
mod signals;
#[cfg(target_os = "linux")]
mod storm;
mod typha;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use lines::{LAST_LINES, Lines};

/// Mutual TLS between Calico's Felix and Typha, with Calico's identity rule, on rustls
#[derive(Parser)]
#[command(name = "typha-tls", version, arg_required_else_help = true)]
struct Arguments {
    /// What to log to stderr: off, error, warn, info, debug or trace [default: warn for typha and felix, else
    /// off]
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<LevelFilter>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Arguments),
    Felix(felix::Arguments),
    Pki(pki::Arguments),
    #[cfg(target_os = "linux")]
    Storm(storm::Arguments),
    Typha(typha::Arguments),
    Verify(verify::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = match (arguments.log, &arguments.command) {
        (Some(level), _) => Targets::new().with_default(level),
        (None, Command::Felix(_) | Command::Typha(_)) => {
            // Refused connections and failed attempts have JSON lines already.
            let off = [("typha_tls::dialer", LevelFilter::OFF), ("typha_tls::events", LevelFilter::OFF)];
            Targets::new().with_default(LevelFilter::WARN).with_targets(off)
        }
        (None, _) => Targets::new().with_default(LevelFilter::OFF),
    };
    let stderr = match Lines::stderr() {
        Ok(started) => output::STDERR.get_or_init(|| started),
        Err(error) => {
            eprintln!("typha-tls: {error}");
            return ExitCode::from(output::FAILED);
        }
    };
    let log = tracing_subscriber::fmt::layer().with_writer(|| stderr.clone());
    tracing_subscriber::registry().with(log.with_filter(filter)).init();
    let code = match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Felix(arguments) => run_async(felix::run(arguments)),
        Command::Pki(arguments) => pki::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Storm(arguments) => run_async(storm::run(arguments)),
        Command::Typha(arguments) => run_async(typha::run(arguments)),
        Command::Verify(arguments) => verify::run(&arguments),
    };
    stderr.finish(LAST_LINES);
    ExitCode::from(code)
}

fn run_async(command: impl Future<Output = u8>) -> u8 {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(command);
            // A read of stdin can not be cancelled, and must not keep the process alive.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            output::complain(&error);
            output::FAILED
        }
    }
}

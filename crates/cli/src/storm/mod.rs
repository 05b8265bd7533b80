//! `typha-tls storm`: many good and bad Felixes at once against a running Typha.

mod clients;
mod felixes;
mod kept;
mod plan;
mod progress;
mod report;
mod stalled;
mod tally;
mod target;

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use clap::Args;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use typha_tls::config::FelixConfig;

use crate::descriptors;
use crate::interrupted::interrupted;
use crate::options::{self, FelixOptions};
use crate::output::{self, FAILED, UNUSABLE};
use clients::Storm;
use felixes::Felixes;
use kept::Kept;
use plan::Plan;
use progress::Progress;
use report::{Ended, Report};
use stalled::Stalled;
use target::{Target, TargetError};

/// Opens many connections to a running Typha and counts the results
///
/// Some of them are bad, stalled or kept, on request. Each client begins its next handshake when its last one is done,
/// or at a --rate. A connection counts as accepted if Typha sends a sign of acceptance; without one within 1 s it is
/// unconfirmed. Typha must refuse a bad one with an alert. Times are measured from connect(), or from the due time, to
/// that sign. SIGINT ends the storm early.
///
/// At the end one JSON line on stdout has the counts by outcome, separately for good and bad ones. Exit code: 0 all
/// good ones were accepted and all bad ones refused, 1 otherwise, 2 bad usage or configuration, 5 Typha could not be
/// reached at all.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The Typha to connect to [default: TyphaAddr]
    #[arg(long, value_name = "HOST:PORT", value_parser = options::address)]
    connect: Option<String>,
    #[command(flatten)]
    plan: Plan,
    #[command(flatten)]
    tls: FelixOptions,
}

pub(crate) async fn run(arguments: Arguments) -> u8 {
    let unusable = |error: &dyn Error| {
        output::complain(error);
        UNUSABLE
    };
    let Arguments { connect, plan, tls } = arguments;
    let (typha, felixes) = match prepare(connect, &plan, &tls) {
        Ok(prepared) => prepared,
        Err(error) => return unusable(&*error),
    };
    let plan = Arc::new(plan);
    let stop = CancellationToken::new();
    let interruption = interrupted();
    let ended = {
        let mut storm = pin!(storm(&typha, &plan, felixes, &stop));
        tokio::select! {
            ended = &mut storm => ended,
            () = interruption => {
                stop.cancel();
                storm.await
            }
        }
    };
    let interrupted_again = interrupted();
    let report = match ended {
        Ok(ended) => Report::new(typha, &plan, ended),
        Err(error) => return unusable(&*error),
    };
    let line = serde_json::to_string(&report).map_err(io::Error::other);
    let printing = spawn_blocking(|| line.and_then(|line| output::print_whole(&line)));
    // The signals no longer end the process by themselves, and perhaps nobody reads stdout.
    let printed = tokio::select! {
        printed = printing => printed.unwrap_or_else(|error| Err(io::Error::other(error))),
        () = interrupted_again => Err(io::Error::other("a signal ended the command before its report was read from \
        stdout")),
    };
    if let Err(error) = printed {
        output::complain(&error);
        return FAILED;
    }
    report.exit_code()
}

/// Checks everything that can be checked before connecting.
fn prepare(
    connect: Option<String>,
    plan: &Plan,
    tls: &FelixOptions,
) -> Result<(String, Felixes), Box<dyn Error>> {
    let config = FelixConfig::load(&tls.sources())?;
    let felixes = Felixes::new(&config, plan)?;
    let typha = connect
        .or(config.typha_addr)
        .ok_or("there is no Typha to connect to: give --connect or TyphaAddr")?;
    let (wanted, most) = (plan.most_connections(), descriptors::most_connections());
    if wanted > most {
        return Err(format!(
            "-c, --stalled and --keep come to {wanted} connections, and this process may have {most}: raise the limit \
             of file descriptors (ulimit -Hn), or take fewer"
        )
        .into());
    }
    descriptors::raise_limit()?;
    Ok((typha, felixes))
}

async fn storm(
    typha: &str,
    plan: &Arc<Plan>,
    felixes: Felixes,
    stop: &CancellationToken,
) -> Result<Ended, Box<dyn Error>> {
    let resolving = Target::resolve(typha, plan.has_sources(), plan.timeout);
    let target = match stop.run_until_cancelled(resolving).await {
        None => return Ok(Ended { interrupted: true, ..Ended::default() }),
        Some(Ok(target)) => Arc::new(target),
        Some(Err(error @ TargetError::Unresolved { .. })) => {
            output::complain(&error);
            return Ok(Ended { unresolved: true, ..Ended::default() });
        }
        Some(Err(error)) => return Err(error.into()),
    };
    let progress = Progress::new(plan.handshakes);
    if plan.stalled > 0 {
        progress.show("opening the stalled ones");
    }
    let over = stop.child_token();
    let mut stalled = Stalled::open(&target, &felixes.good, plan, &over).await?;
    if let Some(warm_up) = plan.warm_up {
        progress.show("warming up");
        stop.run_until_cancelled(sleep(warm_up)).await;
    }
    progress.show("");
    let kept = Kept::new(plan.keep as usize);
    let storm = Arc::new(Storm { plan: plan.clone(), felixes, target, kept, progress });
    let (tally, elapsed) = clients::run(&storm, stop).await;
    if let Some(hold) = plan.hold {
        storm.progress.show("holding what is kept");
        stop.run_until_cancelled(sleep(hold)).await;
    }
    let kept = storm.kept.end().await;
    if plan.stalled_for.is_none() {
        over.cancel();
    }
    let stalled = stalled.ended().await;
    let (port_waits, interrupted) = (storm.target.port_waits(), stop.is_cancelled());
    Ok(Ended { tally, elapsed, port_waits, stalled, kept, interrupted, unresolved: false })
}

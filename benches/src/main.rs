//! `typha-tls-bench`: measures handshakes over real sockets, this crate against others, and how the cost grows.

#![cfg(target_os = "linux")]

mod arguments;
mod comparison;
mod context;
mod floor;
mod forward;
mod go;
mod growth;
mod machine;
mod material;
mod pace;
mod plot;
mod process;
mod protocol;
mod proxy;
mod report;
mod run;
mod table;
mod worker;
mod works;

use std::error::Error;
use std::future::pending;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use typha_tls::error::WithCauses;

use arguments::{Arguments, Format, Hidden};
use process::{BenchError, Stop};

/// The command line cannot be used.
const UNUSABLE: u8 = 2;
/// Something failed, or the run was interrupted.
const FAILED: u8 = 5;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.hidden {
        Some(Hidden::Worker) => exit_code(worker::run().map_err(|failure| (failure, FAILED))),
        Some(Hidden::BuildGo { dir }) => {
            exit_code(go::build(dir, &Stop::default()).map(drop).map_err(|error| (error.into(), FAILED)))
        }
        None => exit_code(measure(arguments).map_err(|error| {
            let code = if matches!(error, BenchError::Unusable(_)) { UNUSABLE } else { FAILED };
            (error.into(), code)
        })),
    }
}

fn exit_code(result: Result<(), (Box<dyn Error + Send + Sync>, u8)>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((error, code)) => {
            let _ = writeln!(io::stderr(), "typha-tls-bench: {}", WithCauses(&*error));
            code.into()
        }
    }
}

#[tokio::main]
async fn measure(arguments: Arguments) -> Result<(), BenchError> {
    let (stop, format, plot) = (Stop::default(), arguments.format(), arguments.plot.clone());
    let stopped = stop.clone();
    let asked_to_end = interrupted();
    let mut running = tokio::task::spawn_blocking(move || run::run(&arguments, &stopped));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = asked_to_end => {
            // The run ends its workers and removes its files before it returns. A second signal does not wait for that.
            stop.now();
            tokio::select! {
                ended = &mut running => ended,
                () = interrupted() => std::process::exit(FAILED.into()),
            }
        }
    };
    let report = ended.map_err(BenchError::machine("the run ended without a result"))??;
    if let Some(path) = plot {
        plot::write(&report, &path)?;
    }
    let text = match format {
        Format::Json => serde_json::to_string(&report).map_err(io::Error::other),
        Format::Text => Ok(table::text(&report).trim_end().to_owned()),
    };
    text.and_then(|text| print(&text)).map_err(BenchError::machine("the report cannot be written"))
}

/// A reader that stops reading early is no error.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Returns when the process is asked to end: SIGINT, SIGTERM or SIGHUP.
///
/// From the call on, none of them ends the process by itself, whether or not the future is polled yet.
fn interrupted() -> impl Future<Output = ()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let signals = kinds.map(signal);
    async {
        let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else {
            return pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

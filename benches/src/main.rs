//! `typha-tls-bench`: handshakes over real sockets, this crate against others, and how the cost grows.

#![cfg(target_os = "linux")]

mod bulk;
mod contest;
mod context;
mod cores;
mod course;
mod crew;
mod descriptors;
mod error;
mod figures;
mod floor;
mod fresh;
mod go;
mod go_command;
mod growth;
mod idle;
mod in_memory;
mod interrupted;
mod material;
mod mode;
mod output;
mod pace;
mod percentile;
mod plan;
mod plot;
mod process;
mod progress;
mod protocol;
mod report;
mod resumption;
mod run;
mod spread;
mod stderr;
mod table;
mod targets;
mod watch;
mod worker;
mod works;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use interrupted::interrupted;
use output::{FAILED, SUCCESS, UNUSABLE};
use plan::{Growth, ModeFlags, Work};
use process::{BenchError, Stop};
use protocol::Implementation;
use report::Report;

/// Measures this crate against bare tokio-rustls and Go's crypto/tls on this machine
///
/// Typha and Felix are processes of their own, on cores of their own where there are enough. The peers take turns in
/// short slices of one run. Exit code: 0 measured, 2 bad usage, 5 a worker or a handshake failed, or the run was
/// interrupted.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    worker: Option<Worker>,
    /// Take 10 seconds instead of 60, for a first impression
    ///
    /// To start and to warm up may take some more, and to build the Go pair comes before it. Works for which there is
    /// no time left are left out. No target is judged by so few rounds.
    #[arg(long, conflicts_with = "seconds")]
    quick: bool,
    /// How long to take, about
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Which implementations to measure [default: ours, bare, and go if it is on this machine]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    peers: Vec<Implementation>,
    /// What to measure [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "grow")]
    work: Vec<Work>,
    #[command(flatten)]
    modes: ModeFlags,
    /// Measure how the cost grows instead of the works: cores, clients, bundle, hit-share, or all
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = growth)]
    grow: Vec<Grow>,
    /// How many handshakes are under way at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clients)]
    clients: usize,
    /// Print one JSON object instead of the tables
    #[arg(long)]
    json: bool,
    /// Also draw what was measured into an SVG file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Worker {
    /// One end of one implementation: see `protocol.rs`
    #[command(hide = true)]
    Worker,
}

/// One curve, or all.
#[derive(Clone, Copy, Debug)]
enum Grow {
    All,
    One(Growth),
}

fn growth(text: &str) -> Result<Grow, String> {
    match text {
        "all" => Ok(Grow::All),
        text => <Growth as clap::ValueEnum>::from_str(text, false)
            .map(Grow::One)
            .map_err(|_| "the curves are cores, clients, bundle, hit-share, and all".to_owned()),
    }
}

fn clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(clients @ 1..=4096) => Ok(clients),
        _ => Err("there can be 1 to 4096 clients".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let code = if arguments.worker.is_some() { worker::run() } else { measure(arguments) };
    ExitCode::from(code)
}

#[tokio::main]
async fn measure(arguments: Arguments) -> u8 {
    let stop = Stop::default();
    let stopped = stop.clone();
    let (json, plot) = (arguments.json, arguments.plot.clone());
    let mut running = tokio::task::spawn_blocking(move || run::run(&arguments, &stopped));
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = interrupted() => {
            // The run ends its workers and removes its files before it returns; who can not wait for it asks again.
            stop.now();
            tokio::select! {
                ended = &mut running => ended,
                () = interrupted() => std::process::exit(FAILED.into()),
            }
        }
    };
    let result = ended.unwrap_or_else(|error| Err(BenchError::machine("the run broke off")(error)));
    match result.and_then(|report| {
        plot.map_or(Ok(()), |path| plot::write(&report, &path))?;
        Ok(report)
    }) {
        Ok(report) => show(&report, json),
        Err(error) => {
            output::complain(&error);
            if matches!(error, BenchError::Unusable(_)) { UNUSABLE } else { FAILED }
        }
    }
}

fn show(report: &Report, json: bool) -> u8 {
    let text =
        if json { serde_json::to_string(report) } else { Ok(table::text(report).trim_end().to_owned()) };
    let printed = text.map_err(std::io::Error::other).and_then(|text| output::print_whole(&text));
    if let Err(error) = printed {
        output::complain(&BenchError::machine("the report can not be written")(error));
        return FAILED;
    }
    SUCCESS
}

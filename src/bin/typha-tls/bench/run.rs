//! A run: what it needs, its measurements one after the other, its report.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Arguments;
use super::Grow;
use super::context::Context;
use super::mode::Mode;
use super::plan::{Growth, Work};
use super::process::{BenchError, Stop};
use super::progress::Progress;
use super::protocol::Implementation;
use super::report::{Curve, Machine, Report, WorkResult};
use super::{cores, go, growth, targets, works};

/// A least number of rounds, so that there is a median.
const ROUNDS: usize = 3;
const ROUNDS_WHEN_QUICK: usize = 2;
const QUICK: Duration = Duration::from_secs(10);

/// Something that takes its share of the time.
enum Measurement {
    Curve(Growth),
    Mode(Mode),
    Work(Work),
}

impl Measurement {
    fn weight(&self) -> f64 {
        match self {
            Self::Curve(_) | Self::Mode(_) => 1.0,
            Self::Work(work) => work.weight(),
        }
    }
}

/// Measures what the command line asks for.
pub(crate) fn run(arguments: &Arguments, stop: &Stop) -> Result<Report, BenchError> {
    let total = if arguments.quick { QUICK } else { Duration::from_secs(arguments.seconds) };
    let measurements = measurements(arguments)?;
    if let Some(path) = &arguments.plot {
        can_be_written(path)?;
    }
    let dir = tempfile::Builder::new()
        .prefix("typha-tls-bench-")
        .tempdir()
        .map_err(BenchError::machine("there is no temporary directory"))?;
    let mut notes = Vec::new();
    let (peers, go) = peers(&arguments.peers, dir.path(), &mut notes)?;
    // Not before: the first build of the Go pair on a machine takes as long as a whole run.
    let began = Instant::now();
    let context = Context {
        dir: dir.path().to_owned(),
        program: std::env::current_exe().map_err(BenchError::machine("the command does not find itself"))?,
        go,
        peers,
        cores: cores::available().map_err(BenchError::machine("the cores are not known"))?,
        clients: arguments.clients,
        rounds: if arguments.quick { ROUNDS_WHEN_QUICK } else { ROUNDS },
        stop: stop.clone(),
        progress: Progress::new(total),
        versions: RefCell::new(BTreeMap::new()),
        materials: Cell::new(0),
    };
    if context.cores.len() < 2 {
        notes.push("there is one core only: nothing is pinned, and both ends share it".to_owned());
    }
    let (works, growth) = measure(&context, &measurements, began + total, &mut notes)?;
    let of_works = |measurement: &Measurement| matches!(measurement, Measurement::Work(_));
    let targets = if measurements.iter().any(of_works) { targets::targets(&works) } else { Vec::new() };
    Ok(Report {
        peers: context.peers.clone(),
        seconds_asked: total.as_secs_f64(),
        seconds_taken: began.elapsed().as_secs_f64(),
        works,
        growth,
        targets,
        machine: Machine::this(&context.cores),
        versions: context.versions.into_inner(),
        notes,
    })
}

fn measurements(arguments: &Arguments) -> Result<Vec<Measurement>, BenchError> {
    let all = |growth: &Grow| match growth {
        Grow::All => <Growth as clap::ValueEnum>::value_variants().to_vec(),
        Grow::One(growth) => vec![*growth],
    };
    if !arguments.grow.is_empty() {
        return Ok(arguments.grow.iter().flat_map(all).map(Measurement::Curve).collect());
    }
    if arguments.modes.any() {
        let modes = arguments.modes.matrix();
        if modes.is_empty() {
            return Err(BenchError::Unusable(
                "none of these modes is possible: X25519MLKEM768 is for TLS 1.3 only".to_owned(),
            ));
        }
        return Ok(modes.into_iter().map(Measurement::Mode).collect());
    }
    let works = match arguments.work.as_slice() {
        [] => <Work as clap::ValueEnum>::value_variants(),
        works => works,
    };
    Ok(works.iter().copied().map(Measurement::Work).collect())
}

/// Before the measurements, not after them.
fn can_be_written(path: &Path) -> Result<(), BenchError> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    opened
        .map(drop)
        .map_err(|error| BenchError::Unusable(format!("{} can not be written: {error}", path.display())))
}

/// The peers, and the program of the Go one. Go is left out if it is missing, unless it was asked for.
fn peers(
    asked: &[Implementation],
    dir: &Path,
    notes: &mut Vec<String>,
) -> Result<(Vec<Implementation>, Option<PathBuf>), BenchError> {
    let mut peers = vec![Implementation::Ours, Implementation::Bare, Implementation::Go];
    peers.retain(|peer| asked.is_empty() || asked.contains(peer));
    if !peers.contains(&Implementation::Go) {
        return Ok((peers, None));
    }
    let built = if go::is_installed() {
        go::build(dir)
    } else {
        Err(BenchError::Unusable("go is not on this machine".to_owned()))
    };
    match built {
        Ok(program) => Ok((peers, Some(program))),
        Err(error) if asked.is_empty() => {
            notes.push(typha_tls::error::WithCauses(&error).to_string());
            peers.retain(|peer| *peer != Implementation::Go);
            Ok((peers, None))
        }
        Err(error) => Err(error),
    }
}

/// Each measurement gets its share of the time that the ones before it have left.
fn measure(
    context: &Context,
    measurements: &[Measurement],
    deadline: Instant,
    notes: &mut Vec<String>,
) -> Result<(Vec<WorkResult>, Vec<Curve>), BenchError> {
    let (mut results, mut curves) = (Vec::new(), Vec::new());
    let mut weights: f64 = measurements.iter().map(Measurement::weight).sum();
    for measurement in measurements {
        let now = Instant::now();
        let share = (measurement.weight() / weights).clamp(0.0, 1.0);
        let deadline = now + deadline.saturating_duration_since(now).mul_f64(share);
        weights -= measurement.weight();
        match measurement {
            Measurement::Curve(growth) => curves.push(growth::measure(context, *growth, deadline, notes)?),
            Measurement::Mode(mode) => {
                results.push(works::throughput_of(context, &mode.to_string(), *mode, deadline)?);
            }
            Measurement::Work(work) => match works::measure(context, *work, deadline)? {
                Ok(result) => results.push(result),
                Err(note) => notes.push(note),
            },
        }
    }
    Ok((results, curves))
}

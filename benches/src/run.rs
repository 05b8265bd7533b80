//! A run: what it needs, its measurements one after the other, its report.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Arguments;
use crate::Grow;
use crate::context::Context;
use crate::figures::peer_name;
use crate::mode::{Mode, name};
use crate::plan::{Growth, Work};
use crate::process::{BenchError, Stop};
use crate::progress::Progress;
use crate::protocol::Implementation;
use crate::report::{Curve, Machine, Report, WorkResult};
use crate::watch::Limit;
use crate::works::Outcome;
use crate::{cores, descriptors, go, growth, targets, works};

/// A least number of rounds, so that there is a median.
const ROUNDS: usize = 3;
const ROUNDS_WHEN_QUICK: usize = 2;
const QUICK: Duration = Duration::from_secs(10);
/// By so much the run may take longer before works are left out.
const GRACE: Duration = Duration::from_millis(1500);
/// Leaves of the clients that every Typha has seen: to see them takes time.
const USUAL_LEAVES: usize = 1000;
const USUAL_LEAVES_WHEN_QUICK: usize = 200;

/// Something that takes its share of the time.
enum Measurement {
    Curve(Growth),
    Mode(Mode),
    Work { work: Work, title: String, mode: Mode },
}

impl Measurement {
    fn title(&self) -> String {
        match self {
            Self::Curve(growth) => name(growth),
            Self::Mode(mode) => mode.to_string(),
            Self::Work { title, .. } => title.clone(),
        }
    }

    fn weight(&self) -> f64 {
        match self {
            Self::Curve(_) | Self::Mode(_) => 1.0,
            Self::Work { work, .. } => work.weight(),
        }
    }
}

/// Measures what the command line asks for.
pub(crate) fn run(arguments: &Arguments, stop: &Stop) -> Result<Report, BenchError> {
    let total = if arguments.quick { QUICK } else { Duration::from_secs(arguments.seconds) };
    let measurements = measurements(arguments)?;
    if !descriptors::are_enough_for(arguments.clients) {
        let most = descriptors::most_connections() / 2;
        return Err(BenchError::Unusable(format!(
            "{} clients need more file descriptors than this process may have: raise the limit (ulimit -Hn), or take \
             {most} clients",
            arguments.clients
        )));
    }
    // Each worker has three pipes.
    descriptors::raise_limit().map_err(BenchError::machine("workers can not be started"))?;
    if let Some(path) = &arguments.plot {
        can_be_written(path)?;
    }
    let dir = tempfile::Builder::new()
        .prefix("typha-tls-bench-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(BenchError::machine("there is no temporary directory"))?;
    let mut notes = Vec::new();
    let (peers, go) = peers(&arguments.peers, dir.path(), stop, &mut notes)?;
    // Not before: the first build of the Go pair on a machine takes as long as a whole run.
    let began = Instant::now();
    let context = Context {
        dir: dir.path().to_owned(),
        program: std::env::current_exe().map_err(BenchError::machine("the command does not find itself"))?,
        go,
        peers,
        cores: cores::available().map_err(BenchError::machine("the cores are not known"))?,
        clients: arguments.clients,
        usual_leaves: if arguments.quick { USUAL_LEAVES_WHEN_QUICK } else { USUAL_LEAVES },
        quick: arguments.quick,
        rounds: if arguments.quick { ROUNDS_WHEN_QUICK } else { ROUNDS },
        stop: stop.clone(),
        progress: Progress::new(total),
        versions: RefCell::new(BTreeMap::new()),
        materials: Cell::new(0),
    };
    if context.cores.len() < 2 {
        notes.push("there is one core only: nothing is pinned, and both ends share it".to_owned());
    }
    // What was asked for by its name is measured, whatever it takes.
    let all = arguments.work.is_empty() && arguments.grow.is_empty() && !arguments.modes.any();
    let (works, growth) = measure(&context, &measurements, began + total, all, &mut notes)?;
    for work in
        works.iter().chain(growth.iter().flat_map(|curve| curve.points.iter().map(|point| &point.result)))
    {
        notes.extend(disturbed(work));
    }
    let of_works = |measurement: &Measurement| matches!(measurement, Measurement::Work { .. });
    let targets = if measurements.iter().any(of_works) { targets::targets(&works) } else { Vec::new() };
    Ok(Report {
        peers: context.peers.clone(),
        clients: arguments.clients,
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
    let standard = |work: &Work| Measurement::Work { work: *work, title: name(work), mode: work.mode() };
    if arguments.modes.any() {
        let modes = arguments.modes.matrix();
        if modes.is_empty() {
            return Err(BenchError::Unusable(
                "none of these modes is possible: X25519MLKEM768 is for TLS 1.3 only".to_owned(),
            ));
        }
        if arguments.work.is_empty() {
            return Ok(modes.into_iter().map(Measurement::Mode).collect());
        }
        let works = modes.iter().flat_map(|mode| arguments.work.iter().map(|work| (*work, *mode)));
        return works.map(|(work, mode)| in_mode(work, mode, &wanted(&arguments.peers))).collect();
    }
    let works = match arguments.work.as_slice() {
        [] => <Work as clap::ValueEnum>::value_variants(),
        works => works,
    };
    Ok(works.iter().map(standard).collect())
}

fn in_mode(work: Work, mode: Mode, peers: &[Implementation]) -> Result<Measurement, BenchError> {
    match work.conflict(&mode, peers) {
        Some(why) => Err(BenchError::Unusable(format!("{} [{mode}]: this work {why}", name(&work)))),
        None => Ok(Measurement::Work { work, title: format!("{} {mode}", name(&work)), mode }),
    }
}

/// Where somebody else had a part in what was measured.
fn disturbed(work: &WorkResult) -> Option<String> {
    let peers = work.peers.iter().filter(|peer| peer.limited_by == Some(Limit::Disturbed));
    let names: Vec<_> = peers.map(|peer| peer_name(peer.peer)).collect();
    (!names.is_empty()).then(|| {
        let (work, names) = (&work.work, names.join(", "));
        format!(
            "{work}: disturbed ({names}): the machine had something else to do, or the load came in jerks"
        )
    })
}

/// The peers that are asked for, in the order of the report.
fn wanted(asked: &[Implementation]) -> Vec<Implementation> {
    use Implementation::{Bare, BareAes128, Go, Ours};
    let default = [Ours, Bare, Go];
    let asked = if asked.is_empty() { &default } else { asked };
    [Ours, Bare, BareAes128, Go].into_iter().filter(|peer| asked.contains(peer)).collect()
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
    stop: &Stop,
    notes: &mut Vec<String>,
) -> Result<(Vec<Implementation>, Option<PathBuf>), BenchError> {
    let mut peers = wanted(asked);
    if !peers.contains(&Implementation::Go) {
        return Ok((peers, None));
    }
    let built = if go::is_installed() {
        go::build(dir, stop)
    } else {
        Err(BenchError::Unusable("go is not on this machine".to_owned()))
    };
    match built {
        Ok(program) => Ok((peers, Some(program))),
        Err(BenchError::Interrupted) => Err(BenchError::Interrupted),
        Err(error) if asked.is_empty() => {
            notes.push(typha_tls::error::WithCauses(&error).to_string());
            peers.retain(|peer| *peer != Implementation::Go);
            Ok((peers, None))
        }
        Err(error) => Err(error),
    }
}

/// Each measurement gets its share of the time that the ones before it have left. If some may be left out, those are for
/// which nothing is left.
fn measure(
    context: &Context,
    measurements: &[Measurement],
    deadline: Instant,
    may_leave_out: bool,
    notes: &mut Vec<String>,
) -> Result<(Vec<WorkResult>, Vec<Curve>), BenchError> {
    let (mut results, mut curves) = (Vec::new(), Vec::new());
    let mut weights: f64 = measurements.iter().map(Measurement::weight).sum();
    for measurement in measurements {
        let now = Instant::now();
        if may_leave_out && now >= deadline + GRACE {
            notes.push(format!("{} is left out: there was no time left for it", measurement.title()));
            continue;
        }
        let share = (measurement.weight() / weights).clamp(0.0, 1.0);
        let deadline = now + deadline.saturating_duration_since(now).mul_f64(share);
        weights -= measurement.weight();
        match measurement {
            Measurement::Curve(growth) => curves.push(growth::measure(context, *growth, deadline, notes)?),
            Measurement::Mode(mode) => {
                results.push(works::throughput_of(context, &mode.to_string(), *mode, deadline)?);
            }
            Measurement::Work { work, title, mode } => {
                match works::measure(context, *work, title, *mode, deadline)? {
                    Outcome::Measured(result) => results.push(result),
                    Outcome::LeftOut(why) => notes.push(why),
                }
            }
        }
    }
    Ok((results, curves))
}

//! A run: what it needs, its measurements one after the other, its report.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use typha_tls::error::WithCauses;

use crate::arguments::{Arguments, Measurement, Subject};
use crate::context::{Context, Job};
use crate::machine::{Machine, available_cores, most_connections, raise_descriptor_limit, seconds_of_others};
use crate::pace::Progress;
use crate::process::{BenchError, Stop};
use crate::protocol::Implementation;
use crate::report::{Curve, Report, WorkResult};
use crate::{go, growth, works};

/// A least number of rounds, so that there is a median.
const ROUNDS: usize = 3;
const ROUNDS_WHEN_QUICK: usize = 2;
const QUICK: Duration = Duration::from_secs(10);
/// By so much the run may take longer before works are skipped.
const GRACE: Duration = Duration::from_millis(1500);
/// Other programs that use more than this share of the cores disturb the measurement.
const DISTURBING: f64 = 0.05;
/// Clients that every Typha knows: so many for each second of the run, since to introduce them takes time, and at most.
const USUAL_LEAVES_PER_SECOND: f64 = 20.0;
const MOST_USUAL_LEAVES: f64 = 1000.0;

/// Measures what the command line asks for.
pub(crate) fn run(arguments: &Arguments, stop: &Stop) -> Result<Report, BenchError> {
    let total = if arguments.quick { QUICK } else { Duration::from_secs(arguments.seconds) };
    let measurements = arguments.measurements().map_err(BenchError::Unusable)?;
    // Also for the connections before them, which are not quite closed yet.
    let (clients, most) = (arguments.clients, most_connections() / 2);
    if clients > most {
        return Err(BenchError::Unusable(format!(
            "{clients} clients need more file descriptors than this process may have: \
             raise the limit (ulimit -Hn), or take {most} clients",
        )));
    }
    // Each worker has three pipes.
    raise_descriptor_limit().map_err(BenchError::machine("workers cannot be started"))?;
    if let Some(path) = &arguments.plot {
        // Before the measurements, not after them.
        OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
            BenchError::Unusable(format!("{} cannot be written: {error}", path.display()))
        })?;
    }
    let dir = tempfile::Builder::new()
        .prefix("typha-tls-bench-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(BenchError::machine("there is no temporary directory"))?;
    let mut notes = Vec::new();
    let (peers, go) = peers(arguments, dir.path(), stop, &mut notes)?;
    // Not before: the first build of the Go worker on a machine takes as long as a whole run.
    let began = Instant::now();
    let context = Context {
        dir: dir.path().to_owned(),
        program: std::env::current_exe().map_err(BenchError::machine("the program does not find itself"))?,
        go,
        peers,
        cores: available_cores().map_err(BenchError::machine("the cores are unknown"))?,
        clients,
        usual_leaves: (total.as_secs_f64() * USUAL_LEAVES_PER_SECOND).min(MOST_USUAL_LEAVES) as usize,
        rounds: if arguments.quick { ROUNDS_WHEN_QUICK } else { ROUNDS },
        stop: stop.clone(),
        progress: Progress::new(total),
        versions: RefCell::new(BTreeMap::new()),
        notes: RefCell::new(notes),
        materials: Cell::new(0),
        addresses: Cell::new(0),
    };
    if context.cores.len() < 2 {
        context.note("there is one core only: nothing is pinned, and both ends share it".to_owned());
    }
    let before = seconds_of_others(&context.cores);
    let (works, growth) = measure(&context, &measurements, began + total, arguments.may_skip())?;
    if let Some((before, after)) = before.zip(seconds_of_others(&context.cores)) {
        let share = (after - before) / began.elapsed().as_secs_f64() / context.cores.len() as f64;
        if share > DISTURBING {
            let percent = share * 100.0;
            context.note(format!(
                "other programs used {percent:.0} % of the CPU time: repeat this on an idle machine"
            ));
        }
    }
    Ok(Report {
        clients,
        seconds_asked: total.as_secs_f64(),
        seconds_taken: began.elapsed().as_secs_f64(),
        works,
        growth,
        machine: Machine::this(&context.cores),
        peers: context.peers,
        versions: context.versions.into_inner(),
        notes: context.notes.into_inner(),
    })
}

/// The implementations, and the program of the Go worker. Go is left out if it is missing, unless it was named.
fn peers(
    arguments: &Arguments,
    dir: &Path,
    stop: &Stop,
    notes: &mut Vec<String>,
) -> Result<(Vec<Implementation>, Option<PathBuf>), BenchError> {
    let mut peers = arguments.peers();
    if !peers.contains(&Implementation::Go) {
        return Ok((peers, None));
    }
    let built = if go::is_installed() {
        go::build(dir, stop)
    } else {
        Err(BenchError::Unusable("go is not installed".to_owned()))
    };
    match built {
        Ok(program) => Ok((peers, Some(program))),
        Err(error) if arguments.peers_are_named() || matches!(error, BenchError::Interrupted) => Err(error),
        Err(error) => {
            notes.push(WithCauses(&error).to_string());
            peers.retain(|peer| *peer != Implementation::Go);
            Ok((peers, None))
        }
    }
}

/// Each measurement gets its share of the time that the ones before it have left. Those for which no time is left are
/// skipped, if they may be.
fn measure(
    context: &Context,
    measurements: &[Measurement],
    deadline: Instant,
    may_skip: bool,
) -> Result<(Vec<WorkResult>, Vec<Curve>), BenchError> {
    let (mut results, mut curves) = (Vec::new(), Vec::new());
    let mut weights: f64 = measurements.iter().map(Measurement::weight).sum();
    for measurement in measurements {
        let Measurement { subject, title, mode } = measurement;
        let now = Instant::now();
        if may_skip && now >= deadline + GRACE {
            context.note(format!("{title} is left out: there was no time left for it"));
            continue;
        }
        let share = (measurement.weight() / weights).clamp(0.0, 1.0);
        let deadline = now + deadline.saturating_duration_since(now).mul_f64(share);
        weights -= measurement.weight();
        let job = Job { context, title: title.clone(), mode: *mode, deadline };
        match subject {
            Subject::Curve(growth) => curves.push(growth::measure(&job, *growth)?),
            Subject::Work(work) => results.extend(works::measure(&job, *work)?),
        }
    }
    Ok((results, curves))
}

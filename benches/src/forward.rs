//! The work `forward`: proxies that end TLS in front of a server without TLS. All of them are up at the same time, with
//! one backend and one load, and take turns.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::arguments::Cache;
use crate::context::{FIRST_CLIENTS, FIRST_HANDSHAKES, Felixes, HELD, HOLDING, Job, PAUSE};
use crate::machine::{Assignment, most_connections};
use crate::material::Material;
use crate::pace::{Pace, in_order, millis};
use crate::process::{BenchError, Worker};
use crate::protocol::{Bulk, Direction, Echoes, End, Handshakes, Held, Implementation, Request};
use crate::proxy::{Proxy, installed};
use crate::report::{Figure, PeerResult, Slice, WorkResult, add_cpu, handshake_slice, round_times};

/// New leaves for a slice, if each client is new: so many for each second.
const FRESH_LEAVES: f64 = 8_000.0;

type Programs = [(Implementation, PathBuf)];

/// Measures new connections, bulk data, small requests and idle connections, each as a work of its own.
pub(crate) fn measure(job: &Job<'_>) -> Result<Vec<WorkResult>, BenchError> {
    let programs = installed(job)?;
    type Part = fn(&Job<'_>, &Programs) -> Result<Option<WorkResult>, BenchError>;
    let parts: [(&str, Part, f64); 4] = [
        ("connections", connections, 0.35),
        ("bulk", bulk, 0.3),
        ("latency", latency, 0.2),
        ("idle", idle, 0.15),
    ];
    let mut results = Vec::new();
    let (mut begins, time) = (Instant::now(), job.deadline.saturating_duration_since(Instant::now()));
    for (name, part, share) in parts {
        begins += time.mul_f64(share);
        let title = job.title.replacen("forward", &format!("forward-{name}"), 1);
        let job = Job { title, deadline: begins, ..job.clone() };
        results.extend(part(&job, &programs)?);
    }
    Ok(results)
}

/// The proxies, the backend behind all of them, and the load.
struct Stage {
    material: Material,
    assignment: Assignment,
    proxies: Vec<(Implementation, Proxy)>,
    backend: Worker,
    felixes: Felixes,
}

impl Stage {
    fn start(job: &Job<'_>, programs: &Programs) -> Result<Self, BenchError> {
        let context = job.context;
        let (material, assignment) = (job.material()?, Assignment::one_for_typha(&context.cores));
        let mut backend = context.start(Implementation::Direct, End::Typha, &material, &assignment.felix)?;
        let address = backend.address()?;
        let start = |program: &(Implementation, PathBuf)| {
            Ok((program.0, Proxy::start(job, program, &material, &address, &assignment.typha)?))
        };
        let proxies = programs.iter().map(start).collect::<Result<Vec<_>, BenchError>>()?;
        // Only the bare Felix makes new clients. It prefers the same cipher suite as that of this crate.
        let felix = match job.mode.cache {
            Cache::Cold => Implementation::BareAes128,
            Cache::Warm => Implementation::Ours,
        };
        let felixes = Felixes::start(context, felix, &material, &assignment, context.clients)?;
        Ok(Self { material, assignment, proxies, backend, felixes })
    }

    /// An error if a proxy serves a Felix with the name of another.
    fn refuse_strangers(&mut self, job: &Job<'_>) -> Result<(), BenchError> {
        let stranger = self.material.stranger()?;
        let felix = std::mem::replace(&mut self.material.felix, stranger);
        let mut worker =
            job.context.start(Implementation::Ours, End::Felix, &self.material, &self.assignment.felix)?;
        self.material.felix = felix;
        for (_, proxy) in &self.proxies {
            let request =
                Request::Handshakes { address: proxy.address.clone(), clients: 1, millis: 1, rides: false };
            let answer: Handshakes = worker.ask(&request, Duration::ZERO)?;
            if (answer.completed, answer.failed) != (0, 1) {
                let cannot = format!("{} cannot be measured", proxy.name);
                return Err(BenchError::machine(cannot)("it serves a Felix with another name"));
            }
        }
        Ok(())
    }

    fn results(&self) -> Vec<PeerResult> {
        self.proxies.iter().map(|(peer, _)| PeerResult::new(*peer)).collect()
    }

    fn result(&self, job: &Job<'_>, by: Figure, results: Vec<PeerResult>) -> WorkResult {
        let peers = results.into_iter().map(PeerResult::summed_up).collect();
        WorkResult::new(&job.title, job.mode, &self.assignment, Some(by), None, peers)
    }

    fn proxy(&self, index: usize) -> Result<&Proxy, BenchError> {
        let proxy = self.proxies.get(index).map(|(_, proxy)| proxy);
        proxy.ok_or_else(|| BenchError::Unusable("there is no such proxy".to_owned()))
    }

    /// A slice of connections, each of which gets one byte from the backend.
    fn connections(
        &mut self,
        job: &Job<'_>,
        index: usize,
        clients: usize,
        length: Duration,
    ) -> Result<(Handshakes, Slice), BenchError> {
        let proxy = self.proxy(index)?;
        let (name, address) = (proxy.name.clone(), proxy.address.clone());
        if job.mode.cache == Cache::Cold {
            let leaves = (FRESH_LEAVES * length.as_secs_f64()).ceil() as usize;
            let felixes = self.felixes.len();
            let fresh = self.material.fresh(felixes, leaves.div_ceil(felixes).max(1), 1.0)?;
            self.felixes.set_leaves(&[], &fresh)?;
        }
        let before = self.proxy(index)?.usage()?;
        let answer = self.felixes.handshakes(&address, clients, length, false)?;
        let cpu = self.proxy(index)?.usage()?.since(before);
        self.felixes.first.all_succeeded(&name, answer.failed, answer.first_failure.as_deref())?;
        let none = || self.felixes.first.failed(&name, 0, "no connection was completed within a slice");
        let mut slice = handshake_slice(&answer, cpu, self.assignment.typha.len()).ok_or_else(none)?;
        let seconds = cpu.total_nanos().max(1) as f64 / 1e9;
        slice.insert(Figure::ConnectionsPerCpuSecond, answer.completed as f64 / seconds);
        Ok((answer, slice))
    }

    /// Data in both directions over one connection each.
    fn both_directions(&mut self, index: usize, length: Duration) -> Result<Slice, BenchError> {
        let mut slice = Slice::new();
        for (direction, speed, proxy_cpu) in [
            (Direction::ToFelix, Figure::MegabytesPerSecondToFelix, Figure::TyphaCpuMicrosPerMegabyteToFelix),
            (Direction::ToTypha, Figure::MegabytesPerSecondToTypha, Figure::TyphaCpuMicrosPerMegabyteToTypha),
        ] {
            let proxy = self.proxy(index)?;
            let (address, before) = (proxy.address.clone(), proxy.usage()?);
            let request = Request::Bulk { address, direction, millis: millis(length) };
            let answer: Bulk = self.felixes.first.ask(&request, length)?;
            let cpu = self.proxy(index)?.usage()?.since(before);
            let megabytes = answer.bytes.max(1) as f64 / 1e6;
            slice.insert(speed, megabytes / (answer.elapsed_nanos.max(1) as f64 / 1e9));
            add_cpu(&mut slice, proxy_cpu, cpu, megabytes);
        }
        Ok(slice)
    }
}

fn connections(job: &Job<'_>, programs: &Programs) -> Result<Option<WorkResult>, BenchError> {
    let mut stage = Stage::start(job, programs)?;
    stage.refuse_strangers(job)?;
    let mut results = stage.results();
    let mut pace = Pace::new(job.deadline, results.len(), job.context.rounds);
    for index in 0..results.len() {
        stage.connections(job, index, job.context.clients, pace.warm_up())?;
    }
    while let Some(round) = pace.next_round() {
        for (index, result) in in_order(&mut results, round) {
            job.show(result.peer.name());
            let (answer, slice) = stage.connections(job, index, job.context.clients, pace.slice())?;
            result.slices.push(slice);
            result.completed += answer.completed;
            result.resumed += answer.resumed;
            result.unseen += answer.fresh;
            result.negotiated = answer.negotiated.or(result.negotiated.take());
        }
    }
    Ok(Some(stage.result(job, Figure::ConnectionsPerCpuSecond, results)))
}

fn bulk(job: &Job<'_>, programs: &Programs) -> Result<Option<WorkResult>, BenchError> {
    let mut stage = Stage::start(job, programs)?;
    let mut results = stage.results();
    let mut pace = Pace::new(job.deadline, 2 * results.len(), job.context.rounds);
    for index in 0..results.len() {
        stage.both_directions(index, pace.warm_up() / 2)?;
    }
    while let Some(round) = pace.next_round() {
        for (index, result) in in_order(&mut results, round) {
            job.show(result.peer.name());
            result.slices.push(stage.both_directions(index, pace.slice())?);
        }
    }
    Ok(Some(stage.result(job, Figure::TyphaCpuMicrosPerMegabyteToFelix, results)))
}

/// Small requests, also to the backend without a proxy.
fn latency(job: &Job<'_>, programs: &Programs) -> Result<Option<WorkResult>, BenchError> {
    let mut stage = Stage::start(job, programs)?;
    let context = job.context;
    let core = stage.assignment.felix.get(..1).unwrap_or_default();
    let mut direct = context.start(Implementation::Direct, End::Felix, &stage.material, core)?;
    let backend = stage.backend.address()?;
    let mut results = stage.results();
    results.push(PeerResult::new(Implementation::Direct));
    let mut pace = Pace::new(job.deadline, results.len(), context.rounds);
    let mut measure = |peer: Implementation, index: usize, length: Duration| {
        let (worker, address) = match peer {
            Implementation::Direct => (&mut direct, backend.clone()),
            _ => (
                &mut stage.felixes.first,
                stage.proxies.get(index).map(|(_, proxy)| proxy.address.clone()).unwrap_or_default(),
            ),
        };
        let answer: Echoes = worker.ask(&Request::Echo { address, millis: millis(length) }, length)?;
        let none = || BenchError::Unusable(format!("{}: no request was answered", peer.name()));
        Ok::<_, BenchError>((answer.rounds_nanos.len(), round_times(answer.rounds_nanos).ok_or_else(none)?))
    };
    for (index, result) in results.iter().enumerate() {
        measure(result.peer, index, pace.warm_up())?;
    }
    while let Some(round) = pace.next_round() {
        for (index, result) in in_order(&mut results, round) {
            job.show(result.peer.name());
            let (requests, slice) = measure(result.peer, index, pace.slice())?;
            result.completed += requests as u64;
            result.slices.push(slice);
        }
        let p50 = |result: &PeerResult| result.slices.last()?.get(&Figure::P50Micros).copied();
        let direct = results.last().and_then(p50).unwrap_or_default();
        for result in results.iter_mut().filter(|result| result.peer != Implementation::Direct) {
            let added = p50(result).unwrap_or_default() - direct;
            if let Some(slice) = result.slices.last_mut() {
                slice.insert(Figure::AddedP50Micros, added);
            }
        }
    }
    Ok(Some(stage.result(job, Figure::AddedP50Micros, results)))
}

/// Memory for each idle connection, in new proxies each time.
fn idle(job: &Job<'_>, programs: &Programs) -> Result<Option<WorkResult>, BenchError> {
    let context = job.context;
    // Felix and the backend hold those of all proxies, and a proxy holds both ends of its own.
    let held = HELD.min(most_connections() / programs.len().max(2));
    if held < 100 {
        context.note(format!("{} needs a higher limit of file descriptors (ulimit -Hn)", job.title));
        return Ok(None);
    }
    let mut pace = Pace::new(job.deadline, programs.len(), context.rounds - 1);
    let mut stage = Stage::start(job, programs)?;
    let mut results = stage.results();
    while let Some(round) = pace.next_round() {
        if round > 0 {
            stage = Stage::start(job, programs)?;
        }
        let mut before = Vec::new();
        for index in 0..results.len() {
            stage.connections(job, index, context.clients.min(FIRST_CLIENTS), FIRST_HANDSHAKES)?;
        }
        context.stop.pause(PAUSE)?;
        for index in 0..results.len() {
            before.push(stage.proxy(index)?.resident()?);
        }
        for (index, result) in in_order(&mut results, round) {
            job.show(result.peer.name());
            let proxy = stage.proxy(index)?;
            let (name, address) = (proxy.name.clone(), proxy.address.clone());
            let felix = &mut stage.felixes.first;
            let answer: Held = felix.ask(&Request::Hold { address, connections: held }, HOLDING)?;
            felix.all_succeeded(&name, answer.failed as u64, answer.first_failure.as_deref())?;
        }
        context.stop.pause(PAUSE)?;
        for (index, (result, before)) in results.iter_mut().zip(before).enumerate() {
            let bytes = (stage.proxy(index)?.resident()? - before) / held as f64;
            result.completed += held as u64;
            result.slices.push([(Figure::BytesPerIdleConnection, bytes)].into());
        }
    }
    Ok(Some(stage.result(job, Figure::BytesPerIdleConnection, results)))
}

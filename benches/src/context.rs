//! What all measurements of a run share, and how they start workers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use typha_tls::testing::{FELIX_COMMON_NAME, FELIX_SPIFFE_ID, TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID};

use crate::arguments::Mode;
use crate::machine::{Assignment, Core};
use crate::material::Material;
use crate::pace::{Progress, millis};
use crate::process::{BenchError, Stop, Worker};
use crate::protocol::{
    Chains, CpuTime, End, Fresh, Handshakes, Implementation, Ready, Request, Required, Setup, Version,
};

/// Idle connections that are held to measure one.
pub(crate) const HELD: usize = 1000;
/// What a worker may take to open them.
pub(crate) const HOLDING: Duration = Duration::from_secs(30);
/// After that, closed connections are gone and opened ones are idle.
pub(crate) const PAUSE: Duration = Duration::from_millis(150);
/// Handshakes before the first look at memory: after them, what is allocated once is allocated.
pub(crate) const FIRST_HANDSHAKES: Duration = Duration::from_millis(50);
/// Clients that make them.
pub(crate) const FIRST_CLIENTS: usize = 4;

/// What all measurements of a run share.
pub(crate) struct Context {
    /// For files; its owner removes it.
    pub(crate) dir: PathBuf,
    /// This program, which is also the worker.
    pub(crate) program: PathBuf,
    pub(crate) go: Option<PathBuf>,
    pub(crate) peers: Vec<Implementation>,
    pub(crate) cores: Vec<Core>,
    pub(crate) clients: usize,
    /// Leaves of the clients that every Typha knows.
    pub(crate) usual_leaves: usize,
    /// The least number of rounds of slices.
    pub(crate) rounds: usize,
    pub(crate) stop: Stop,
    pub(crate) progress: Progress,
    pub(crate) versions: RefCell<BTreeMap<&'static str, String>>,
    /// What people should know about the results.
    pub(crate) notes: RefCell<Vec<String>>,
    /// How many directories of certificates there are.
    pub(crate) materials: Cell<usize>,
    /// How many addresses proxies have got.
    pub(crate) addresses: Cell<u16>,
}

/// What to measure, and until when.
#[derive(Clone)]
pub(crate) struct Job<'a> {
    pub(crate) context: &'a Context,
    pub(crate) title: String,
    pub(crate) mode: Mode,
    pub(crate) deadline: Instant,
}

impl Job<'_> {
    /// Shows what is measured now.
    pub(crate) fn show(&self, what: &str) {
        self.context.progress.show(&self.title, what);
    }

    /// New certificates.
    pub(crate) fn material(&self) -> Result<Material, BenchError> {
        self.context.stop.check()?;
        let number = self.context.materials.get();
        self.context.materials.set(number + 1);
        Material::make(&self.context.dir.join(format!("pki-{number}")), self.mode)
    }
}

impl Context {
    pub(crate) fn note(&self, note: String) {
        self.notes.borrow_mut().push(note);
    }

    /// An address for a proxy.
    pub(crate) fn new_address(&self) -> SocketAddr {
        let number = self.addresses.get();
        self.addresses.set(number.wrapping_add(1) % 50_000);
        address(std::process::id(), number)
    }

    /// Starts a worker on these cores.
    pub(crate) fn start(
        &self,
        peer: Implementation,
        end: End,
        material: &Material,
        cores: &[Core],
    ) -> Result<Worker, BenchError> {
        self.stop.check()?;
        let (name, files, [common_name, uri_san]) = match end {
            End::Felix => ("Felix", &material.felix, [TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID]),
            End::Typha => ("Typha", &material.typha, [FELIX_COMMON_NAME, FELIX_SPIFFE_ID]),
            // The leaf that is good for both ends has Felix's names.
            End::Memory => ("in memory", &material.memory, [FELIX_COMMON_NAME, FELIX_SPIFFE_ID]),
        };
        let Mode { tls, group, .. } = material.mode;
        let setup = Setup {
            implementation: peer,
            end,
            threads: cores.len().max(1),
            files: files.clone(),
            required: Required {
                common_name: Some(common_name.to_owned()),
                uri_san: Some(uri_san.to_owned()),
            },
            // The floor is the same in both versions, and the Felix of this crate has no maximum version.
            max_version: if end == End::Memory { Version::Tls13 } else { tls },
            groups: group.offered(),
            resumption: false,
        };
        let command = match (peer, &self.go) {
            (Implementation::Go, Some(go)) => Command::new(go),
            (Implementation::Go, None) => {
                return Err(BenchError::Unusable("go is not installed".to_owned()));
            }
            _ => {
                let mut command = Command::new(&self.program);
                command.arg("worker");
                command
            }
        };
        let worker = Worker::start(format!("{name} ({})", peer.name()), command, &setup, cores, &self.stop)?;
        self.versions.borrow_mut().entry(peer.name()).or_insert_with(|| worker.ready.versions.clone());
        Ok(worker)
    }
}

/// An address for one proxy of a run. No other connection can have taken its port: those of this machine come from
/// 127.0.0.1.
fn address(run: u32, number: u16) -> SocketAddr {
    let [_, high, middle, low] = (run & 0x3f_ffff).to_be_bytes();
    (Ipv4Addr::new(127, 64 | high, middle, low), 10_000 + number).into()
}

/// The load: a process of Felix for each of its cores. With one process for all of them, the kernel decides which
/// thread runs where, and can leave cores idle.
pub(crate) struct Felixes {
    pub(crate) first: Worker,
    others: Vec<Worker>,
}

impl Felixes {
    /// As many as there are cores for them, and clients.
    pub(crate) fn start(
        context: &Context,
        peer: Implementation,
        material: &Material,
        assignment: &Assignment,
        clients: usize,
    ) -> Result<Self, BenchError> {
        let felix = |cores: &[_]| context.start(peer, End::Felix, material, cores);
        match assignment.felix.get(..clients.clamp(1, assignment.felix.len())) {
            Some([first, others @ ..]) if assignment.disjoint => Ok(Self {
                first: felix(&[*first])?,
                others: others.iter().map(|core| felix(&[*core])).collect::<Result<_, _>>()?,
            }),
            _ => Ok(Self { first: felix(&assignment.felix)?, others: Vec::new() }),
        }
    }

    pub(crate) fn len(&self) -> usize {
        1 + self.others.len()
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Worker> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    /// Sets the leaves that they use from now on, for each Felix its own.
    pub(crate) fn set_leaves(&mut self, usual: &[Chains], fresh: &[Fresh]) -> Result<(), BenchError> {
        for (index, worker) in self.all().enumerate() {
            let (usual, fresh) = (usual.get(index).cloned(), fresh.get(index).cloned());
            worker.send(&Request::Leaves { usual, fresh })?;
        }
        self.all().try_for_each(|worker| worker.receive(Duration::ZERO).map(|_: Ready| ()))
    }

    /// Handshakes of all of them at the same time, by so many clients together.
    pub(crate) fn handshakes(
        &mut self,
        address: &str,
        clients: usize,
        length: Duration,
        rides: bool,
    ) -> Result<Handshakes, BenchError> {
        let count = self.len();
        for (index, worker) in self.all().enumerate() {
            let (address, clients) = (address.to_owned(), share(clients, count, index));
            worker.send(&Request::Handshakes { address, clients, millis: millis(length), rides })?;
        }
        let answers = self.all().map(|worker| worker.receive(length));
        Ok(sum(answers.collect::<Result<Vec<Handshakes>, _>>()?))
    }
}

/// One of so many parts, as equal as possible.
fn share(whole: usize, parts: usize, index: usize) -> usize {
    whole / parts + usize::from(index < whole % parts)
}

fn sum(answers: Vec<Handshakes>) -> Handshakes {
    let sum = |of: fn(&Handshakes) -> u64| answers.iter().map(of).sum::<u64>();
    Handshakes {
        completed: sum(|answer| answer.completed),
        failed: sum(|answer| answer.failed),
        first_failure: answers.iter().find_map(|answer| answer.first_failure.clone()),
        resumed: sum(|answer| answer.resumed),
        fresh: sum(|answer| answer.fresh),
        // All Felixes have the same settings.
        negotiated: answers.iter().find_map(|answer| answer.negotiated.clone()),
        elapsed_nanos: answers.iter().map(|answer| answer.elapsed_nanos).max().unwrap_or_default(),
        cpu: answers.iter().map(|answer| answer.cpu).sum::<CpuTime>(),
        rounds_nanos: answers.into_iter().flat_map(|answer| answer.rounds_nanos).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_are_divided() {
        let shares = |whole, parts| (0..parts).map(|index| share(whole, parts, index)).collect::<Vec<_>>();
        assert_eq!(shares(32, 3), [11, 11, 10]);
        assert_eq!(shares(2, 2), [1, 1]);
        assert_eq!(shares(1, 1), [1]);
    }

    #[test]
    fn each_run_has_addresses_of_its_own() {
        assert_eq!(address(0x12_3456, 7).to_string(), "127.82.52.86:10007");
        assert_eq!(address(u32::MAX, 0).to_string(), "127.127.255.255:10000");
    }

    #[test]
    fn answers_are_summed_up() {
        let answer = |completed, nanos, failure: Option<&str>| Handshakes {
            completed,
            failed: u64::from(failure.is_some()),
            first_failure: failure.map(str::to_owned),
            resumed: 1,
            fresh: 3,
            negotiated: None,
            elapsed_nanos: nanos,
            cpu: CpuTime { user_nanos: 5, system_nanos: 2 },
            rounds_nanos: vec![nanos, nanos + 1],
        };
        let sum = sum(vec![answer(10, 100, None), answer(30, 200, Some("refused"))]);
        assert_eq!((sum.completed, sum.failed, sum.resumed, sum.fresh), (40, 1, 2, 6));
        assert_eq!((sum.elapsed_nanos, sum.cpu), (200, CpuTime { user_nanos: 10, system_nanos: 4 }));
        assert_eq!(sum.rounds_nanos, [100, 101, 200, 201]);
        assert_eq!(sum.first_failure.as_deref(), Some("refused"));
    }
}

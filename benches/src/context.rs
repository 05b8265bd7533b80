//! What all measurements of a run share, and how they start workers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cores::{Assignment, Core};
use super::figures::peer_name;
use super::material::Material;
use super::mode::Mode;
use super::process::{BenchError, Stop, Worker};
use super::progress::Progress;
use super::protocol::{End, Files, Implementation, Setup, Version};

/// What all measurements of a run share.
pub(crate) struct Context {
    /// Where files go; removed by its owner.
    pub(crate) dir: PathBuf,
    /// This command, which is also its own worker.
    pub(crate) program: PathBuf,
    pub(crate) go: Option<PathBuf>,
    pub(crate) peers: Vec<Implementation>,
    pub(crate) cores: Vec<Core>,
    pub(crate) clients: usize,
    /// Leaves of the clients that every Typha has seen.
    pub(crate) usual_leaves: usize,
    /// A first impression is enough.
    pub(crate) quick: bool,
    /// The least number of rounds of slices.
    pub(crate) rounds: usize,
    pub(crate) stop: Stop,
    pub(crate) progress: Progress,
    pub(crate) versions: RefCell<BTreeMap<&'static str, String>>,
    pub(crate) materials: Cell<usize>,
}

impl Context {
    /// New certificates for a mode.
    pub(crate) fn material(&self, mode: &Mode) -> Result<Material, BenchError> {
        self.stop.check()?;
        let number = self.materials.get();
        self.materials.set(number + 1);
        Material::make(&self.dir, &format!("pki-{number}"), mode)
    }

    /// Starts a Typha that trusts `ca`, or the CA of the material.
    pub(crate) fn typha(
        &self,
        peer: Implementation,
        mode: &Mode,
        material: &Material,
        ca: Option<&str>,
        assignment: &Assignment,
    ) -> Result<Worker, BenchError> {
        let mut files = material.typha.clone();
        if let Some(ca) = ca {
            ca.clone_into(&mut files.ca);
        }
        let setup = Self::setup(peer, End::Typha, files, mode, &assignment.typha);
        let setup = Setup { required: mode.identity.of_felix(), ..setup };
        self.start(setup, &assignment.typha)
    }

    /// Starts a Felix.
    pub(crate) fn felix(
        &self,
        peer: Implementation,
        mode: &Mode,
        material: &Material,
        cores: &[Core],
        resumption: bool,
    ) -> Result<Worker, BenchError> {
        let setup = Self::setup(peer, End::Felix, material.felix.clone(), mode, cores);
        let setup = Setup { groups: mode.group.offered(), resumption, ..setup };
        self.start(setup, cores)
    }

    /// Starts a worker for what needs no sockets, on the first of Typha's cores.
    pub(crate) fn memory(
        &self,
        peer: Implementation,
        mode: &Mode,
        material: &Material,
        assignment: &Assignment,
    ) -> Result<Worker, BenchError> {
        let core = assignment.typha.get(..1).unwrap_or_default();
        let setup = Self::setup(peer, End::Memory, material.memory.clone(), mode, core);
        let setup = Setup {
            groups: mode.group.offered(),
            // The one leaf of the material has Felix's names.
            required: mode.identity.of_felix(),
            // The primitives are the same in both versions, and this crate's Felix knows no highest one.
            max_version: Version::Tls13,
            ..setup
        };
        self.start(setup, core)
    }

    fn setup(implementation: Implementation, end: End, files: Files, mode: &Mode, cores: &[Core]) -> Setup {
        Setup {
            implementation,
            end,
            threads: cores.len().max(1),
            files,
            required: mode.identity.of_typha(),
            max_version: mode.tls.version(),
            groups: Vec::new(),
            resumption: false,
        }
    }

    fn start(&self, setup: Setup, cores: &[Core]) -> Result<Worker, BenchError> {
        self.stop.check()?;
        let (peer, end) = (setup.implementation, setup.end);
        let name = format!("{} ({})", end_name(end), peer_name(peer));
        let worker = Worker::start(name, self.command(peer)?, &setup, cores, &self.stop)?;
        self.versions.borrow_mut().entry(peer_name(peer)).or_insert_with(|| worker.ready.versions.clone());
        Ok(worker)
    }

    fn command(&self, peer: Implementation) -> Result<Command, BenchError> {
        let worker = |program: &Path| {
            let mut command = Command::new(program);
            command.arg("worker");
            command
        };
        match peer {
            Implementation::Ours | Implementation::Bare | Implementation::BareAes128 => {
                Ok(worker(&self.program))
            }
            Implementation::Go => {
                let go = self.go.as_ref().map(Command::new);
                go.ok_or_else(|| BenchError::Unusable("go is not on this machine".to_owned()))
            }
        }
    }
}

fn end_name(end: End) -> &'static str {
    match end {
        End::Felix => "Felix",
        End::Memory => "in memory",
        End::Typha => "Typha",
    }
}

//! Reads all files as they are at one moment.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::source::SourceError;
use super::hints::Hints;
use crate::file::ReadFile;
use crate::host_config::HostTlsConfig;
use crate::identity::RequiredIdentity;
use crate::material::{
    HostMaterial, HostTlsFiles, Material, MaterialError, OwnFiles, ReadFiles, ReadOwnFiles, TlsFiles,
};
use crate::policy::TlsPolicy;
use crate::tls_config::TlsConfig;

/// Files, and the settings that belong to them.
pub(crate) trait PlannedFiles: Clone + Send + Sync + 'static {
    type Config: Clone + Send + Sync;
    type Own: ReadOwnFiles;

    fn paths(&self) -> impl Iterator<Item = &PathBuf>;

    fn read(&self) -> ReadFiles<Self::Own>;

    /// Parses the contents of the files.
    fn parse(self, files: ReadFiles<Self::Own>) -> Result<Self::Config, MaterialError>;

    /// Whether the same contents make the same configuration.
    fn is_same_as(&self, other: &Self) -> bool;
}

/// The files of a Felix or a Typha.
#[derive(Clone)]
pub(crate) struct PeerFiles {
    pub(crate) files: TlsFiles,
    pub(crate) required_peer: RequiredIdentity,
    pub(crate) policy: TlsPolicy,
}

impl PlannedFiles for PeerFiles {
    type Config = TlsConfig;
    type Own = OwnFiles;

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.paths()
    }

    fn read(&self) -> ReadFiles<OwnFiles> {
        self.files.read()
    }

    fn parse(self, files: ReadFiles<OwnFiles>) -> Result<TlsConfig, MaterialError> {
        let (trust_bundle, credentials, revocation_lists) =
            files.parse(self.files.revocation, self.policy.provider())?;
        let material = Material { revocation_lists, ..Material::new(trust_bundle, credentials) };
        Ok(TlsConfig::new(material, self.required_peer, self.policy))
    }

    fn is_same_as(&self, other: &Self) -> bool {
        self.files.revocation == other.files.revocation
            && self.required_peer == other.required_peer
            && self.policy.is_same_as(&other.policy)
    }
}

/// The files of a client whose servers are verified for their hosts.
#[derive(Clone)]
pub(super) struct HostFiles {
    pub(super) files: HostTlsFiles,
    pub(super) policy: TlsPolicy,
}

impl PlannedFiles for HostFiles {
    type Config = HostTlsConfig;
    type Own = Option<OwnFiles>;

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.paths()
    }

    fn read(&self) -> ReadFiles<Option<OwnFiles>> {
        self.files.read()
    }

    fn parse(self, files: ReadFiles<Option<OwnFiles>>) -> Result<HostTlsConfig, MaterialError> {
        let (trust_bundle, credentials, revocation_lists) =
            files.parse(self.files.revocation, self.policy.provider())?;
        let material = HostMaterial { revocation_lists, ..HostMaterial::new(trust_bundle, credentials) };
        Ok(HostTlsConfig::new(material, self.policy))
    }

    fn is_same_as(&self, other: &Self) -> bool {
        self.files.revocation == other.files.revocation && self.policy.is_same_as(&other.policy)
    }
}

type Plan<P> = Box<dyn Fn() -> Result<P, SourceError> + Send + Sync>;

pub(super) struct Reader<P: PlannedFiles> {
    configuration: Option<PathBuf>,
    plan: Plan<P>,
    hints: Arc<Hints>,
    hasher: RandomState,
    memory: Mutex<Memory<P>>,
}

struct Memory<P: PlannedFiles> {
    /// The files of the last plan that succeeded.
    watched: Vec<PathBuf>,
    last: Option<Last<P>>,
}

/// The configuration that was parsed last.
struct Last<P: PlannedFiles> {
    /// A hash of all paths and contents. Inode and modification time do not suffice: a file system may count time in
    /// seconds.
    contents: u64,
    planned: P,
    config: P::Config,
}

/// How often files that change during a read are read again at once.
const ATTEMPTS: usize = 3;

impl<P: PlannedFiles> Reader<P> {
    pub(super) fn new(configuration: Option<PathBuf>, hints: Arc<Hints>, plan: Plan<P>) -> Self {
        let memory = Mutex::new(Memory { watched: Vec::new(), last: None });
        Self { configuration, plan, hints, hasher: RandomState::default(), memory }
    }

    /// Reads and parses the files. Blocks for as long as the file system does.
    pub(super) fn read(&self) -> Result<P::Config, SourceError> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ATTEMPTS {
            let configuration = self.read_configuration();
            let planned = (self.plan)();
            if let Ok(planned) = &planned {
                memory.watched = planned.paths().cloned().collect();
            }
            // If the plan failed, the files of the previous plan are watched.
            self.hints.watch(self.configuration.iter().chain(&memory.watched).map(PathBuf::as_path));
            let read = planned.map(|planned| (planned.read(), planned));
            // The plan reads the configuration file itself. Its contents must be the same before and after.
            let is_unchanged = configuration.is_none_or(|before| {
                before.is_unchanged()
                    && before.bytes.ok() == self.read_configuration().and_then(|now| now.bytes.ok())
            });
            // Each file was unchanged from its read until now, so all of them existed together.
            if is_unchanged
                && read.as_ref().map_or(true, |(files, _)| files.all().all(ReadFile::is_unchanged))
            {
                let (files, planned) = read?;
                return memory.parse(files, planned, &self.hasher);
            }
        }
        Err(SourceError::new("the files changed each time while they were read"))
    }

    fn read_configuration(&self) -> Option<ReadFile> {
        self.configuration.as_deref().map(ReadFile::new)
    }
}

impl<P: PlannedFiles> Memory<P> {
    /// Parses the files, unless their contents and settings are those parsed last.
    fn parse(
        &mut self,
        files: ReadFiles<P::Own>,
        planned: P,
        hasher: &RandomState,
    ) -> Result<P::Config, SourceError> {
        let read: Vec<_> = files.all().map(|file| (&file.path, file.bytes.as_ref().ok())).collect();
        let contents = hasher.hash_one(read);
        let is_same = |last: &&Last<P>| last.contents == contents && last.planned.is_same_as(&planned);
        if let Some(last) = self.last.as_ref().filter(is_same) {
            return Ok(last.config.clone());
        }
        let config = planned.clone().parse(files)?;
        self.last = Some(Last { contents, planned, config: config.clone() });
        Ok(config)
    }
}

//! Reads all files as they are at one moment.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::source::SourceError;
use super::hints::Hints;
use crate::file::ReadFile;
use crate::identity::RequiredIdentity;
use crate::material::{Material, ReadFiles, RevocationPolicy, TlsFiles};
use crate::policy::TlsPolicy;
use crate::tls_config::TlsConfig;

/// Files, and the identity and policy that belong to them.
#[derive(Clone)]
pub(crate) struct PlannedFiles {
    pub(crate) files: TlsFiles,
    pub(crate) required_peer: RequiredIdentity,
    pub(crate) policy: TlsPolicy,
}

pub(super) type Plan = Box<dyn Fn() -> Result<PlannedFiles, SourceError> + Send + Sync>;

pub(super) struct Reader {
    configuration: Option<PathBuf>,
    plan: Plan,
    pub(super) hints: Hints,
    hasher: RandomState,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The files of the last plan that succeeded.
    watched: Vec<PathBuf>,
    last: Option<Last>,
}

/// The material that was parsed last.
struct Last {
    /// A hash of all paths and contents. Inode and modification time do not suffice: a file system may count time in
    /// seconds.
    contents: u64,
    policy: TlsPolicy,
    revocation: RevocationPolicy,
    material: Arc<Material>,
}

/// How often files that change during a read are read again at once.
const ATTEMPTS: usize = 3;

impl Reader {
    pub(super) fn new(configuration: Option<PathBuf>, plan: Plan) -> Self {
        let (hints, hasher, memory) = Default::default();
        Self { configuration, plan, hints, hasher, memory }
    }

    /// Reads and parses the files. Blocks for as long as the file system does.
    pub(super) fn read(&self) -> Result<TlsConfig, SourceError> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ATTEMPTS {
            let configuration = self.read_configuration();
            let planned = (self.plan)();
            if let Ok(planned) = &planned {
                memory.watched = planned.files.paths().cloned().collect();
            }
            // If the plan failed, the files of the previous plan are watched.
            self.hints.watch(self.configuration.iter().chain(&memory.watched).map(PathBuf::as_path));
            let read = planned.map(|planned| (planned.files.read(), planned));
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

impl Memory {
    /// Parses the files, unless their contents are those parsed last.
    fn parse(
        &mut self,
        files: ReadFiles,
        planned: PlannedFiles,
        hasher: &RandomState,
    ) -> Result<TlsConfig, SourceError> {
        let PlannedFiles { files: TlsFiles { revocation, .. }, required_peer, policy } = planned;
        let read: Vec<_> = files.all().map(|file| (&file.path, file.bytes.as_ref().ok())).collect();
        let contents = hasher.hash_one(read);
        let is_same = |last: &&Last| {
            last.contents == contents && last.policy.is_same_as(&policy) && last.revocation == revocation
        };
        let material = match self.last.as_ref().filter(is_same) {
            Some(last) => last.material.clone(),
            None => {
                let material = Arc::new(files.parse(revocation, policy.provider())?);
                self.last =
                    Some(Last { contents, policy: policy.clone(), revocation, material: material.clone() });
                material
            }
        };
        Ok(TlsConfig::new(material, required_peer, policy))
    }
}

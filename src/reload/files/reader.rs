//! Reads all files as they are at one moment.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::source::SourceError;
use super::fingerprint::{Fingerprint, Fingerprints};
use super::hints::Hints;
use crate::identity::RequiredIdentity;
use crate::material::{Material, MaterialError, RevocationPolicy, TlsFiles};
use crate::policy::TlsPolicy;
use crate::tls_config::TlsConfig;

/// Files, and what goes with them.
#[derive(Clone)]
pub(crate) struct PlannedFiles {
    pub(crate) files: TlsFiles,
    pub(crate) required_peer: RequiredIdentity,
    pub(crate) policy: TlsPolicy,
}

/// All files that are read.
pub(super) fn paths(files: &TlsFiles) -> Vec<&Path> {
    let three = [&files.ca_file, &files.cert_file, &files.key_file];
    three.into_iter().chain(&files.crl_files).map(PathBuf::as_path).collect()
}

pub(super) type Plan = Box<dyn Fn() -> Result<PlannedFiles, SourceError> + Send + Sync>;

pub(super) struct Reader {
    configuration: Option<PathBuf>,
    plan: Plan,
    fingerprints: Fingerprints,
    pub(super) hints: Hints,
    /// The files of the last plan that there was.
    watched: Mutex<Vec<PathBuf>>,
    last: Mutex<Option<Last>>,
}

/// What was read last, and parsed.
struct Last {
    contents: Vec<Fingerprint>,
    policy: TlsPolicy,
    revocation: RevocationPolicy,
    material: Arc<Material>,
}

/// How often files that change meanwhile are read again at once.
const ATTEMPTS: usize = 3;

impl Reader {
    pub(super) fn new(configuration: Option<PathBuf>, plan: Plan) -> Self {
        Self {
            configuration,
            plan,
            fingerprints: Fingerprints::default(),
            hints: Hints::default(),
            watched: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// Blocks, for ever if the file system does.
    pub(super) fn read(&self) -> Result<TlsConfig, SourceError> {
        for _ in 0..ATTEMPTS {
            let configuration = self.configuration_now();
            let (read, is_of_one_moment) = self.attempt();
            if is_of_one_moment && configuration == self.configuration_now() {
                return read;
            }
        }
        Err(SourceError::new("the files changed each time while they were read"))
    }

    /// What was read, and whether nothing changed meanwhile.
    fn attempt(&self) -> (Result<TlsConfig, SourceError>, bool) {
        let planned = match (self.plan)() {
            Ok(planned) => planned,
            Err(error) => {
                self.watch(None);
                return (Err(error), true);
            }
        };
        let paths = paths(&planned.files);
        self.watch(Some(&paths));
        let before = self.fingerprints.of(&paths);
        if let Some(material) = self.parsed_before(&before, &planned) {
            let is_of_one_moment = before.iter().all(Fingerprint::has_same_stamp);
            return (Ok(planned.with(material)), is_of_one_moment);
        }
        let loaded: Result<Material, MaterialError> = planned.files.load(planned.policy.provider());
        let is_of_one_moment = before == self.fingerprints.of(&paths);
        let read = loaded.map(|material| {
            let (material, policy) = (Arc::new(material), planned.policy.clone());
            if is_of_one_moment {
                let revocation = planned.files.revocation;
                self.remember(Last { contents: before, policy, revocation, material: material.clone() });
            }
            planned.with(material)
        });
        (read.map_err(SourceError::from), is_of_one_moment)
    }

    /// Watches the configuration file and these files, or those of before if it is not known which ones now.
    fn watch(&self, files: Option<&[&Path]>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = files {
            *watched = files.iter().map(|path| path.to_path_buf()).collect();
        }
        let paths: Vec<_> = self.configuration.iter().chain(&*watched).map(PathBuf::as_path).collect();
        self.hints.watch(&paths);
    }

    /// The configuration file as it is now.
    fn configuration_now(&self) -> Option<Fingerprint> {
        let path = self.configuration.as_deref()?;
        self.fingerprints.of(&[path]).pop()
    }

    fn parsed_before(&self, contents: &[Fingerprint], planned: &PlannedFiles) -> Option<Arc<Material>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref()
            .filter(|last| {
                last.policy.is_same_as(&planned.policy)
                    && last.revocation == planned.files.revocation
                    && last.contents.len() == contents.len()
                    && last.contents.iter().zip(contents).all(|(one, other)| one.has_same_contents_as(other))
            })
            .map(|last| last.material.clone())
    }

    fn remember(&self, last: Last) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}

impl PlannedFiles {
    fn with(self, material: Arc<Material>) -> TlsConfig {
        TlsConfig::new(material, self.required_peer, self.policy)
    }
}

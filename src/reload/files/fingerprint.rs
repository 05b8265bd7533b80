//! Tells whether a file is still what it was.

use std::fs::Metadata;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};

/// A file as it was found under a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fingerprint {
    path: PathBuf,
    /// Not what it is, nor its time, tells this: a file system may count time in seconds.
    contents: Result<u64, io::ErrorKind>,
    stamp: Option<Stamp>,
}

/// What tells, without reading it, that a file was replaced or written to.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Stamp {
    /// Without links: a swapped directory shows here.
    resolved: PathBuf,
    length: u64,
    #[cfg(unix)]
    unix: [i64; 6],
    #[cfg(not(unix))]
    modified: Option<std::time::SystemTime>,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        Some(Self::new(path.canonicalize().ok()?, &path.metadata().ok()?))
    }

    #[cfg(unix)]
    fn new(resolved: PathBuf, metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let unix = [
            metadata.dev().cast_signed(),
            metadata.ino().cast_signed(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ];
        Self { resolved, length: metadata.len(), unix }
    }

    #[cfg(not(unix))]
    fn new(resolved: PathBuf, metadata: &Metadata) -> Self {
        Self { resolved, length: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl Fingerprint {
    pub(super) fn has_same_contents_as(&self, other: &Self) -> bool {
        self.path == other.path && self.contents.is_ok() && self.contents == other.contents
    }

    /// Whether it looks now as it did then.
    pub(super) fn has_same_stamp(&self) -> bool {
        self.stamp.is_some() && self.stamp == Stamp::of(&self.path)
    }
}

/// Takes fingerprints. Those of different makers can not be compared.
#[derive(Default)]
pub(super) struct Fingerprints(RandomState);

impl Fingerprints {
    /// The stamps of all are taken before any is read.
    pub(super) fn of(&self, paths: &[&Path]) -> Vec<Fingerprint> {
        let stamps: Vec<_> = paths.iter().map(|path| Stamp::of(path)).collect();
        let with_stamps = paths.iter().zip(stamps);
        with_stamps
            .map(|(path, stamp)| {
                let contents = crate::file::read(path);
                let contents =
                    contents.map(|(bytes, _)| self.0.hash_one(bytes)).map_err(|error| error.kind());
                Fingerprint { path: path.to_path_buf(), contents, stamp }
            })
            .collect()
    }
}

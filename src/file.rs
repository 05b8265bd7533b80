//! Reads files that an operator named. Special files do not block it, and large files do not fill the memory.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The largest file that is read: 16 MiB, for every reader. A larger file is an error: judging a part of it could miss
/// what matters. The bundles of all public CAs take 0.25 MiB; large revocation lists take a few MiB.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// The contents of a file at one point in time.
pub(crate) struct ReadFile {
    pub(crate) path: PathBuf,
    /// The path with all links resolved. It differs after a directory was swapped.
    resolved: Option<PathBuf>,
    pub(crate) bytes: io::Result<Vec<u8>>,
    /// Metadata of the file that was read. If the file could not be read, metadata of the file at the path.
    pub(crate) metadata: Option<Metadata>,
    /// Whether the contents were given, so that there is no file.
    is_given: bool,
}

impl ReadFile {
    pub(crate) fn new(path: &Path) -> Self {
        // The path is resolved before the contents are read, so that no later change is missed.
        let resolved = path.canonicalize().ok();
        let (bytes, metadata) = match read(path) {
            Ok((bytes, metadata)) => (Ok(bytes), Some(metadata)),
            Err(error) => (Err(error), path.metadata().ok()),
        };
        Self { path: path.to_owned(), resolved, bytes, metadata, is_given: false }
    }

    /// Contents that do not come from a file. The path is only their name.
    pub(crate) fn given(path: &Path, bytes: &[u8]) -> Self {
        let (path, bytes) = (path.to_owned(), Ok(bytes.to_owned()));
        Self { path, resolved: None, bytes, metadata: None, is_given: true }
    }

    /// Whether the path still leads to the same, unmodified file. It is not read again: a second write of the same
    /// length within the resolution of the file system's clock is not noticed.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.is_given
            || self.resolved == self.path.canonicalize().ok()
                && self.metadata.as_ref().map(stamp) == self.path.metadata().ok().as_ref().map(stamp)
    }
}

/// Who may access a file.
#[derive(Clone)]
pub(crate) struct Permissions {
    pub(crate) path: PathBuf,
    /// The permission bits.
    pub(crate) mode: u32,
    /// Whether the file is on a volume of a Kubernetes Secret. Kubernetes sets the permissions there.
    pub(crate) on_kubernetes_volume: bool,
}

impl ReadFile {
    /// `None` if the file could not be read, or on a system without permission bits.
    pub(crate) fn permissions(&self) -> Option<Permissions> {
        let mode = mode(self.metadata.as_ref()?)?;
        // Kubernetes swaps the link `..data` of a volume from one directory to the next.
        let leads_through = |path: &Path| {
            let mut directories = path.ancestors().skip(1);
            directories.any(|dir| dir.ends_with("..data") || dir.join("..data").symlink_metadata().is_ok())
        };
        let on_kubernetes_volume =
            std::iter::once(&self.path).chain(&self.resolved).any(|path| leads_through(path));
        Some(Permissions { path: self.path.clone(), mode, on_kubernetes_volume })
    }

    /// Whether both paths lead to the same file.
    pub(crate) fn is_same_file_as(&self, other: &Self) -> bool {
        self.resolved.is_some() && self.resolved == other.resolved
    }
}

#[cfg(unix)]
fn mode(metadata: &Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(metadata.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode(_: &Metadata) -> Option<u32> {
    None
}

/// The metadata that changes when a file is replaced or written to.
#[cfg(unix)]
fn stamp(metadata: &Metadata) -> impl PartialEq + use<> {
    use std::os::unix::fs::MetadataExt as _;
    let (m, length) = (metadata, metadata.len());
    (length, m.dev(), m.ino(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())
}

#[cfg(not(unix))]
fn stamp(metadata: &Metadata) -> impl PartialEq + use<> {
    (metadata.len(), metadata.modified().ok())
}

/// Reads a regular file of bounded size.
pub(crate) fn read(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let (file, metadata) = open(path)?;
    if metadata.len() > MAX_SIZE {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // The file may grow while it is read.
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(too_large());
    }
    Ok((bytes, metadata))
}

/// Opens a regular file that an operator has named. It does not wait for a pipe, and has no effect on a device. Bound
/// the bytes that you read from it.
///
/// This crate opens its own files in this way. It is for programs that read more files, such as those of
/// [`Sources::variable`](crate::config::Sources::variable).
///
/// # Errors
///
/// Those of the system; [`InvalidInput`](io::ErrorKind::InvalidInput) if it is not a regular file.
pub fn open_file(path: &Path) -> io::Result<File> {
    open(path).map(|(file, _)| file)
}

/// Opens a regular file.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // The type is checked before the file is opened: opening a device can have effects.
    check_is_file(&std::fs::metadata(path)?)?;
    open_at_once(path)
}

/// Opens a file without blocking. It may have been replaced since the check, by a pipe without a writer for example.
fn open_at_once(path: &Path) -> io::Result<(File, Metadata)> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // No effect on a regular file. Without it, opening a pipe would wait for ever.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    check_is_file(&metadata)?;
    Ok((file, metadata))
}

fn check_is_file(metadata: &Metadata) -> io::Result<()> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB; leave only what is needed in it")
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_was_replaced_or_written_to_is_not_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("..1")).unwrap();
        std::fs::create_dir_all(path("..2")).unwrap();
        std::fs::write(path("..1/ca.pem"), "a").unwrap();
        std::fs::hard_link(path("..1/ca.pem"), path("..2/ca.pem")).unwrap();
        symlink("..1", path("..data")).unwrap();
        symlink("..data/ca.pem", path("ca.pem")).unwrap();
        let is_unchanged_by = |change: &dyn Fn()| {
            let read = ReadFile::new(&path("ca.pem"));
            change();
            read.is_unchanged()
        };
        assert!(is_unchanged_by(&|| {}));
        let swap_to = |target: &str| {
            symlink(target, path("..new")).unwrap();
            std::fs::rename(path("..new"), path("..data")).unwrap();
        };
        assert!(!is_unchanged_by(&|| swap_to("..2")), "the same file, but in another directory");
        assert!(!is_unchanged_by(&|| std::fs::write(path("..2/ca.pem"), "ab").unwrap()));
        assert!(!is_unchanged_by(&|| {
            std::fs::write(path("new"), "ab").unwrap();
            std::fs::rename(path("new"), path("..2/ca.pem")).unwrap();
        }));
        assert!(!is_unchanged_by(&|| std::fs::remove_file(path("..2/ca.pem")).unwrap()));
        // A file that can not be read differs from one that was created later.
        assert!(is_unchanged_by(&|| {}));
        assert!(!is_unchanged_by(&|| std::fs::create_dir(path("..2/ca.pem")).unwrap()));
        assert!(is_unchanged_by(&|| {}));
    }

    #[test]
    fn a_pipe_that_comes_after_the_check_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .unwrap();
        for opened in [open_at_once(&pipe), open(&pipe)] {
            assert_eq!(opened.unwrap_err().to_string(), "it is not a regular file");
        }
    }

    #[test]
    fn the_size_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 30).unwrap();
        assert_eq!(
            read(&path).unwrap_err().to_string(),
            "it is larger than 16 MiB; leave only what is needed in it"
        );
        file.set_len(MAX_SIZE).unwrap();
        assert_eq!(read(&path).unwrap().0.len() as u64, MAX_SIZE);
    }
}

//! Reads files that an operator named, without being blocked or flooded by what stands under the name.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

/// The largest file that is read. The bundles of all public CAs take 0.25 MiB; large revocation lists take a few.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// Reads a regular file of bounded size.
pub(crate) fn read(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let (file, metadata) = open(path)?;
    if metadata.len() > MAX_SIZE {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(too_large());
    }
    Ok((bytes, metadata))
}

/// Opens a regular file.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Looked at before it is opened: merely opening a device can do something.
    check_is_file(&std::fs::metadata(path)?)?;
    open_at_once(path)
}

/// Opens what may have become something else since it was looked at: a pipe that nobody writes to, say.
fn open_at_once(path: &Path) -> io::Result<(File, Metadata)> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // Means nothing to a regular file; the opening of a pipe would wait for ever without it.
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
    io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_comes_after_the_look_does_not_block() {
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
        assert_eq!(read(&path).unwrap_err().to_string(), "it is larger than 16 MiB");
        file.set_len(MAX_SIZE).unwrap();
        assert_eq!(read(&path).unwrap().0.len() as u64, MAX_SIZE);
    }
}

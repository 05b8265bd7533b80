//! Reads files that an operator named, without being blocked or flooded by what stands under the name.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

/// The largest file that is read. The bundles of all public CAs take 0.25 MiB; large revocation lists take a few.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// Reads a regular file of bounded size.
pub(crate) fn read(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let (file, metadata) = open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok((bytes, metadata))
}

/// Opens a regular file.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Looked at before it is opened, since opening a pipe that nobody writes to blocks for ever.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok((File::open(path)?, metadata))
}

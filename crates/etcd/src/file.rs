//! Reads files with parameters. Special files do not block it, and large files do not fill the memory.

use std::io::{self, Read as _};
use std::path::Path;

use typha_tls::config::open_file;

/// The largest file with parameters: 1 MiB.
const MAX_SIZE: u64 = 1024 * 1024;

/// Reads a text file of at most 1 MiB.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    open_file(path)?.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

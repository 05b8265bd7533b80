//! Reads files of any kind without blocking or reading too much.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads at most `at_most` bytes of a regular file.
pub(super) fn beginning(path: &Path, at_most: u64) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // If a pipe has taken the file's place since the check, opening it without this would wait for ever.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(at_most).read_to_end(&mut bytes)?;
    Ok(bytes)
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
        assert_eq!(beginning(&pipe, 10).err().unwrap().to_string(), "it is not a regular file");
    }

    #[test]
    fn no_more_is_read_than_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 11]).unwrap();
        assert_eq!(beginning(&path, 12).unwrap(), [7; 11]);
        assert_eq!(beginning(&path, 9).unwrap(), [7; 9]);
    }
}

//! Reads what may be anything, without being blocked or flooded by it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// What a file holds, as far as it is read.
pub(super) enum Contents {
    /// It is larger than that.
    Beginning(Vec<u8>),
    Whole(Vec<u8>),
}

/// Reads at most so many bytes of what was a regular file when it was looked at.
pub(super) fn read(path: &Path, at_most: u64) -> io::Result<Contents> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // For a pipe that took the file's place since: opening it would wait for ever without this.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(at_most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > at_most {
        return Ok(Contents::Beginning(bytes));
    }
    Ok(Contents::Whole(bytes))
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
        assert_eq!(read(&pipe, 10).err().unwrap().to_string(), "it is not a regular file");
    }

    #[test]
    fn no_more_is_read_than_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 11]).unwrap();
        assert!(matches!(read(&path, 11).unwrap(), Contents::Whole(bytes) if bytes == [7; 11]));
        assert!(matches!(read(&path, 9).unwrap(), Contents::Beginning(bytes) if bytes == [7; 10]));
    }
}

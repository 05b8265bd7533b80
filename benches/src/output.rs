//! What the program prints, and its exit codes.

use std::error::Error;
use std::io::{ErrorKind, Write as _, stderr, stdout};

use typha_tls::error::WithCauses;

/// Measured.
pub(crate) const SUCCESS: u8 = 0;
/// The command line can not be used.
pub(crate) const UNUSABLE: u8 = 2;
/// Something failed, or the run was interrupted.
pub(crate) const FAILED: u8 = 5;

/// Prints a text of which nothing may get lost. That nobody reads it to its end is no error.
pub(crate) fn print_whole(text: &str) -> std::io::Result<()> {
    let mut stdout = stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Says on stderr, to a person, why the program can not do its work.
pub(crate) fn complain(error: &dyn Error) {
    let _ = writeln!(stderr(), "typha-tls-bench: {}", WithCauses(error));
}

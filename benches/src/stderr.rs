//! What a worker says on stderr.

use std::io::Read as _;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What is kept of it.
const STDERR_LENGTH: usize = 4096;

/// What a worker says on stderr.
pub(crate) struct Stderr {
    kept: Arc<Mutex<String>>,
    /// Nothing is sent on it: it is closed when there is no more to come.
    open: Receiver<()>,
}

impl Stderr {
    /// Keeps the beginning, and reads the rest so that the worker is not held up.
    pub(crate) fn keep(child: &mut Child) -> Self {
        let kept = Arc::new(Mutex::new(String::new()));
        let (until_closed, open) = channel();
        if let Some(mut stderr) = child.stderr.take() {
            let into = kept.clone();
            thread::spawn(move || {
                let _until_closed = until_closed;
                let mut buffer = [0; 1024];
                while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                    let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() < STDERR_LENGTH {
                        kept.push_str(&String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()));
                    }
                }
            });
        }
        Self { kept, open }
    }

    /// All of it, once the worker has ended.
    pub(crate) fn all(&self, limit: Duration) -> String {
        let _ = self.open.recv_timeout(limit);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

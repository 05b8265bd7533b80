//! Files as a source.

mod hints;
mod reader;

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::task::spawn_blocking;

use hints::Hints;
use reader::{HostFiles, Reader};
pub(crate) use reader::{PeerFiles, PlannedFiles};

use super::source::{SourceError, TlsConfigSource};
use crate::detached::Detached;
use crate::host_config::HostTlsConfig;
use crate::identity::RequiredIdentity;
use crate::material::{HostTlsFiles, TlsFiles};
use crate::policy::TlsPolicy;
use crate::tls_config::TlsConfig;

/// How long files must stay the same; see [`FileSource::with_settle_time`].
pub(super) const SETTLE_TIME: Duration = Duration::from_secs(1);

/// The files of one end, with a fixed identity and policy. For Calico's parameters as a whole, use
/// [`TyphaConfig::source`](crate::config::TyphaConfig::source) or
/// [`FelixConfig::source`](crate::config::FelixConfig::source).
///
/// Each load reads all files, whatever their modification times. Files with unchanged contents are not parsed again. If
/// the file system reports changes, a load follows at once. Files that change while they are read are read again, so
/// that certificate and key never come from different moments.
///
/// Files mounted from a Kubernetes secret, or renamed into place, are never read half-written. A file that is written
/// in place may be valid when half-written, such as half of the CAs. It is taken as complete if the writer pauses for
/// longer than the [settle time](Self::with_settle_time).
pub struct FileSource<C = TlsConfig> {
    read: Arc<dyn Fn() -> Result<C, SourceError> + Send + Sync>,
    hints: Arc<Hints>,
    description: String,
    settle_time: Duration,
    reading: Detached<Result<C, SourceError>>,
}

impl FileSource {
    /// Makes a source of these files.
    pub fn new(files: TlsFiles, required_peer: RequiredIdentity, policy: TlsPolicy) -> Self {
        let description = names(files.paths());
        let planned = PeerFiles { files, required_peer, policy };
        Self::of_plan(description, None, move || Ok(planned.clone()))
    }
}

impl FileSource<HostTlsConfig> {
    /// Makes a source of the files of a [`HostConnector`](crate::HostConnector).
    pub fn of_host(files: HostTlsFiles, policy: TlsPolicy) -> Self {
        let description = names(files.paths());
        let planned = HostFiles { files, policy };
        Self::of_plan(description, None, move || Ok(planned.clone()))
    }
}

fn names<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> String {
    paths.map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl<C: Clone + Send + Sync + 'static> FileSource<C> {
    /// Files that `plan` determines at each load, from the file `configuration` if there is one.
    pub(crate) fn of_plan<P: PlannedFiles<Config = C>>(
        description: String,
        configuration: Option<PathBuf>,
        plan: impl Fn() -> Result<P, SourceError> + Send + Sync + 'static,
    ) -> Self {
        let hints = Arc::<Hints>::default();
        let reader = Reader::new(configuration, hints.clone(), Box::new(plan));
        Self {
            read: Arc::new(move || reader.read()),
            hints,
            description,
            settle_time: SETTLE_TIME,
            reading: Detached::new("reading the files"),
        }
    }

    /// Sets how long new contents must stay the same before they are used; the default is 1 s. That is longer than a
    /// tool takes to write a few files, and short for certificates that are renewed days ahead. Zero is for files that
    /// always change all at once.
    #[must_use]
    pub fn with_settle_time(mut self, settle_time: Duration) -> Self {
        self.settle_time = settle_time;
        self
    }
}

impl<C: Clone + Send + Sync + 'static> TlsConfigSource<C> for FileSource<C> {
    async fn load(&self) -> Result<C, SourceError> {
        // A read that an earlier load gave up on continues, because a read from an unreachable file server can not be
        // stopped. Its result is outdated.
        self.reading.ended().await;
        // A thread of the runtime waits as well, so that a paused clock does not advance while the read blocks.
        let (_waiting, is_over) = mpsc::channel::<()>();
        spawn_blocking(move || is_over.recv());
        let read = self.read.clone();
        self.reading.join_or_start(move || read()).await.map_err(SourceError::new)?
    }

    async fn changed(&self) {
        self.hints.changed().await;
    }

    fn settle_time(&self) -> Duration {
        self.settle_time
    }

    fn description(&self) -> String {
        self.description.clone()
    }
}

impl<C> std::fmt::Debug for FileSource<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSource").field("description", &self.description).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_read_that_hangs_does_not_keep_its_runtime_from_ending() {
        let (release, released) = mpsc::channel::<()>();
        let released = std::sync::Mutex::new(released);
        let source = FileSource::of_plan("test".to_owned(), None, move || {
            let _ = released.lock().unwrap().recv();
            Err::<PeerFiles, _>(SourceError::new("released"))
        });
        let (ended, has_ended) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let given_up = tokio::time::timeout(Duration::from_millis(50), source.load()).await;
                assert!(given_up.is_err());
            });
            drop(runtime);
            ended.send(()).unwrap();
        });
        let outcome = has_ended.recv_timeout(Duration::from_secs(20));
        drop(release);
        outcome.expect("the runtime waits for the read");
    }

    #[tokio::test]
    async fn a_panic_reads_the_same_each_time() {
        let source = FileSource::of_plan::<PeerFiles>("test".to_owned(), None, || panic!("a bug"));
        let texts = [source.load().await, source.load().await].map(|read| read.unwrap_err().to_string());
        assert_eq!(texts, ["reading the files panicked: a bug"; 2]);
    }

    #[tokio::test]
    async fn a_read_that_hangs_holds_one_thread() {
        let (release, released) = mpsc::channel();
        let (released, started) = (std::sync::Mutex::new(released), Arc::new(AtomicU32::new(0)));
        let counted = started.clone();
        let source = FileSource::of_plan("test".to_owned(), None, move || {
            let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
            if first {
                let _ = released.lock().unwrap().recv();
            }
            Err::<PeerFiles, _>(SourceError::new(if first { "of the first" } else { "of the second" }))
        });
        for _ in 0..5 {
            let given_up = tokio::time::timeout(Duration::from_millis(50), source.load()).await;
            assert!(given_up.is_err());
        }
        assert_eq!(started.load(Ordering::Relaxed), 1);
        release.send(()).unwrap();
        // The result of the first read is outdated.
        assert_eq!(source.load().await.unwrap_err().to_string(), "of the second");
        assert_eq!(started.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_configuration_that_changes_each_time_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("configuration");
        let (read, times) = (path.clone(), AtomicU32::new(0));
        let source = FileSource::of_plan("test".to_owned(), Some(path), move || {
            let times = times.fetch_add(1, Ordering::Relaxed);
            std::fs::write(&read, times.to_string()).unwrap();
            Err::<PeerFiles, _>(SourceError::new("of what was read"))
        });
        let error = source.load().await.unwrap_err().to_string();
        assert_eq!(error, "the files changed each time while they were read");
    }
}

//! A read that may hang, in a thread that nobody has to wait for.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::super::following::text_of;
use super::super::source::SourceError;
use crate::tls_config::TlsConfig;

type Outcome = Result<TlsConfig, SourceError>;

/// A read under way.
///
/// Not in a thread of the runtime, which would wait for it when it is dropped: a program could not end as long as a
/// file server is gone.
pub(super) struct Reading(oneshot::Receiver<()>);

/// Tells who waits for the outcome that nobody wants it any more.
struct Waiting(mpsc::Sender<Option<Outcome>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.send(None);
    }
}

impl Reading {
    /// Starts it, and returns what yields its outcome, which may be dropped.
    pub(super) fn start(
        read: impl FnOnce() -> Outcome + Send + 'static,
    ) -> io::Result<(Self, impl Future<Output = Outcome> + Send)> {
        let (sender, outcome) = mpsc::channel();
        let waiting = Waiting(sender.clone());
        let (ended, has_ended) = oneshot::channel();
        thread::Builder::new().name("typha-tls-files".to_owned()).spawn(move || {
            let read = catch_unwind(AssertUnwindSafe(read));
            let read = read.unwrap_or_else(|panic| {
                Err(SourceError::new(format!("reading the files panicked: {}", text_of(&*panic))))
            });
            let _ = sender.send(Some(read));
            let _ = ended.send(());
        })?;
        let outcome = async move {
            let _waiting = waiting;
            // In a thread of the runtime, so that a clock that is paused stands still meanwhile, as for all that
            // blocks.
            let outcome = spawn_blocking(move || outcome.recv()).await;
            match outcome {
                Ok(Ok(Some(read))) => read,
                _ => Err(SourceError::new("the runtime has been shut down")),
            }
        };
        Ok((Self(has_ended), outcome))
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.0).await;
    }
}

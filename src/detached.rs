//! A blocking call that may hang, on a detached thread.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::watch;

/// Runs one blocking call at a time. If a task stops waiting, the next one joins the running call, so that threads do
/// not pile up.
///
/// The thread does not belong to the runtime, which waits for its own threads when it is dropped. Otherwise a file
/// server or DNS that does not answer would keep the program from ending.
pub(crate) struct Detached<T> {
    what: &'static str,
    latest: Mutex<Option<Outcome<T>>>,
}

/// `None` while the call is running. An error if it panicked, or if the system gives no thread.
type Outcome<T> = watch::Receiver<Option<Result<T, Arc<io::Error>>>>;

impl<T: Clone + Send + Sync + 'static> Detached<T> {
    /// `what` describes the call. It is used in the name of the thread and in errors.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, latest: Mutex::new(None) }
    }

    /// Joins the running call, or else starts this one.
    pub(crate) async fn join_or_start(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Arc<io::Error>> {
        let mut outcome = {
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            // The outcome of a call that has ended may be out of date.
            let under_way = latest.take().filter(|outcome| outcome.borrow().is_none());
            latest.insert(under_way.unwrap_or_else(|| self.start(call))).clone()
        };
        let outcome = outcome.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| {
            Err(Arc::new(io::Error::other(format!("{} ended without a result", self.what))))
        })
    }

    /// Waits for the end of the running call, if there is one.
    pub(crate) async fn ended(&self) {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(mut outcome) = latest {
            let _ = outcome.wait_for(Option::is_some).await;
        }
    }

    /// Whether the thread has ended. It has then woken the tasks that wait for its outcome.
    #[cfg(test)]
    pub(crate) fn is_over(&self) -> bool {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.as_ref().is_none_or(|outcome| outcome.has_changed().is_err())
    }

    fn start(&self, call: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
        let (sender, outcome) = watch::channel(None);
        let what = self.what;
        let call = move || {
            let returned = catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
                Arc::new(io::Error::other(format!("{what} panicked: {}", text_of(&*panic))))
            });
            sender.send_replace(Some(returned));
        };
        match thread::Builder::new().name(what.to_owned()).spawn(call) {
            Ok(_) => outcome,
            Err(error) => watch::channel(Some(Err(Arc::new(error)))).1,
        }
    }
}

/// The text of a panic.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

//! Follows the files and parameters, and prints the results.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::watch;
use typha_tls::reload::{ReloadError, ReloadOptions, ReloadState, Reloader};

use crate::{options, output};

/// How files and parameters are followed.
#[derive(Args)]
pub(crate) struct FollowOptions {
    /// Check this often whether the files or the configuration file changed, in seconds; 0: only on SIGHUP, which
    /// checks at once
    #[arg(long, value_name = "SECS", value_parser = options::seconds, default_value = "30")]
    reload_interval: Duration,
}

impl FollowOptions {
    pub(crate) fn to_reload(&self) -> ReloadOptions {
        let mut options = ReloadOptions::default();
        options.poll_interval = self.reload_interval;
        options
    }
}

/// Follows a reloader and prints its changes.
pub(crate) struct Follower {
    reloader: Reloader,
    state: watch::Receiver<ReloadState>,
    hangup: Hangup,
    /// The state that was printed last.
    generation: u64,
    failures: u64,
    failing: bool,
}

impl Follower {
    /// Makes one for a reloader that was just started.
    pub(crate) fn new(reloader: Reloader) -> io::Result<Self> {
        let (hangup, state) = (Hangup::new()?, reloader.state());
        let generation = state.borrow().generation;
        Ok(Self { state, reloader, hangup, generation, failures: 0, failing: false })
    }

    /// Prints a line for each change and for each SIGHUP. Never ends.
    pub(crate) async fn print_changes(mut self, print: impl Fn(Value)) {
        loop {
            tokio::select! {
                () = self.hangup.recv() => {
                    let outcome = self.reloader.reload_now().await;
                    let [replaced, failed] = self.print_news(&print);
                    match outcome {
                        Ok(_) if !replaced => print(reloaded(self.generation, false)),
                        Err(error) if !failed => print(reload_failed(self.generation, &error)),
                        _ => {}
                    }
                }
                changed = self.state.changed() => match changed {
                    Ok(()) => {
                        let was_failing = self.failing;
                        let [replaced, failed] = self.print_news(&print);
                        // The source matches the active configuration again.
                        if was_failing && !self.failing && !replaced && !failed {
                            print(reloaded(self.generation, false));
                        }
                    }
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }

    /// Prints what has changed. Returns whether there was a new generation, and whether there was a failure.
    fn print_news(&mut self, print: &impl Fn(Value)) -> [bool; 2] {
        let state = self.state.borrow_and_update().clone();
        let replaced = std::mem::replace(&mut self.generation, state.generation) != state.generation;
        if replaced {
            print(reloaded(state.generation, true));
        }
        let failed = std::mem::replace(&mut self.failures, state.failures) != state.failures;
        self.failing = state.last_error.is_some();
        match state.last_error.filter(|_| failed) {
            Some(error) => print(reload_failed(state.generation, &error)),
            None => return [replaced, false],
        }
        [replaced, true]
    }
}

fn reloaded(generation: u64, changed: bool) -> Value {
    json!({ "event": "reloaded", "generation": generation, "changed": changed })
}

fn reload_failed(generation: u64, error: &Arc<ReloadError>) -> Value {
    json!({
        "event": "reload_failed",
        "generation": generation,
        "reason": error.label(),
        "detail": output::detail(&**error),
    })
}

/// SIGHUP, which no longer ends the process. On other systems it never comes.
struct Hangup {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Hangup {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { signal: signal(SignalKind::hangup())? })
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn recv(&mut self) {
        #[cfg(unix)]
        if self.signal.recv().await.is_some() {
            return;
        }
        std::future::pending::<()>().await;
    }
}

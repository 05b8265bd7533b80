//! Shows the progress of a storm on stderr.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The time between two drawings of the bar.
const REDRAW: Duration = Duration::from_millis(100);

/// A bar on a terminal; nothing elsewhere.
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(super) fn new(handshakes: u32) -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(handshakes.into());
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}") {
                bar.set_style(style);
            }
            // A thread of its own draws: a terminal that is stopped (Ctrl-S) does not slow the storm down.
            bar.enable_steady_tick(REDRAW);
            bar
        }))
    }

    /// Shows the current phase.
    pub(super) fn show(&self, what: &'static str) {
        if let Some(bar) = &self.0 {
            bar.set_message(what);
        }
    }

    /// Counts a handshake that is done, or will not be begun.
    pub(super) fn advance(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

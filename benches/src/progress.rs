//! What is going on, on stderr.

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::pace::millis;

/// A bar on a terminal; elsewhere one line for each work.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    total: Duration,
    last: RefCell<String>,
}

impl Progress {
    pub(crate) fn new(total: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(millis(total));
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, began: Instant::now(), total, last: RefCell::default() }
    }

    /// Says what is measured now.
    pub(crate) fn show(&self, work: &str, what: &str) {
        match &self.bar {
            Some(bar) => {
                let passed = self.began.elapsed();
                bar.set_position(millis(passed));
                let left = self.total.saturating_sub(passed).as_secs_f64().ceil();
                bar.set_message(format!("{left:.0} s left  {work}: {what}"));
            }
            None if *self.last.borrow() != work => {
                work.clone_into(&mut self.last.borrow_mut());
                let _ = writeln!(std::io::stderr(), "measuring {work}");
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

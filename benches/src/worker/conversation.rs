//! Lines of JSON on stdin and stdout.

use std::io::{self, Write as _};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;

pub(super) struct Conversation {
    lines: io::Lines<io::StdinLock<'static>>,
}

impl Conversation {
    pub(super) fn new() -> Self {
        Self { lines: io::stdin().lines() }
    }

    /// `None` when the bench has no more to ask.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let Some(line) = self.lines.next().transpose()? else { return Ok(None) };
        match serde_json::from_str(&line) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(format!("not a line that a worker is told: {error}: {line}").into()),
        }
    }

    pub(super) fn answer<T: Serialize>(&self, answer: &T) -> Result<(), Failure> {
        let line = serde_json::to_string(answer)?;
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        Ok(stdout.flush()?)
    }
}

//! Lines on stdout and stderr that never make their writers wait: a slow reader loses lines, and nothing else.
//!
//! The crate tracing-appender does the same for a log. It is not used here: if the reader is still slow at the end, it
//! prints a text of its own on stdout. That text would be among the JSON lines, and could block.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// The most bytes that wait for a slow reader: some 2,500 lines of usual connections. A storm of reconnecting nodes is
/// printed completely, even if its reader pauses for a few seconds, and the memory stays small beside that of the
/// connections.
const MAX_WAITING: usize = 1024 * 1024;

/// The bound on printing the last lines, at the end of the process.
pub(crate) const LAST_LINES: Duration = Duration::from_secs(2);

/// Lines are printed together, up to so many bytes. When none is left, there is a pause: under load, the thread need
/// not wake up for each one. Systems write 4 KiB to a pipe in one piece, so nothing gets into a line if the log goes
/// there, too.
const TOGETHER: usize = 4096;
const PAUSE: Duration = Duration::from_millis(5);

/// The pause before a full non-blocking pipe is tried again.
const FULL_PIPE: Duration = Duration::from_millis(10);

/// Where lines go.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Stream {
    Stderr,
    Stdout,
}

/// A bounded queue of lines, which a thread of its own prints. Beyond the bound, lines are lost and counted. A line in
/// the output says how many are missing there. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Shared>);

struct Shared {
    stream: Stream,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    /// The bytes of the lines, and of those that are being printed.
    bytes: usize,
    lost: u64,
    /// Lost lines that no line in the output has reported yet.
    unreported: u64,
    has_been_full: bool,
}

impl Lines {
    pub(crate) fn stdout() -> io::Result<Self> {
        Self::start(Stream::Stdout, io::stdout())
    }

    pub(crate) fn stderr() -> io::Result<Self> {
        Self::start(Stream::Stderr, io::stderr())
    }

    fn start(stream: Stream, output: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self(Arc::new(Shared { stream, queue: Mutex::default(), changed: Condvar::new() }));
        let printing = lines.clone();
        // The end of the process ends it.
        thread::Builder::new().name("lines".to_owned()).spawn(move || printing.print_all(output))?;
        Ok(lines)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints what is added. Never ends.
    fn print_all(&self, mut output: impl Write) {
        loop {
            let queue = self.0.changed.wait_while(self.queue(), |queue| queue.lines.is_empty());
            let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
            let (mut text, mut lines) = (Vec::new(), 0);
            while let Some(next) = queue.lines.front()
                && (text.is_empty() || text.len() + next.len() <= TOGETHER)
                && let Some(line) = queue.lines.pop_front()
            {
                text.extend(line);
                lines += 1;
            }
            let is_last = queue.lines.is_empty();
            drop(queue);
            let printed = write_whole(&mut output, &text);
            let mut queue = self.queue();
            queue.bytes -= text.len();
            if printed.is_err() {
                queue.lost += lines;
                queue.unreported += lines;
            }
            drop(queue);
            self.0.changed.notify_all();
            if is_last {
                thread::sleep(PAUSE);
            }
        }
    }

    /// Adds a line, which ends in a line break. Does not wait.
    pub(crate) fn add(&self, line: impl Into<Vec<u8>>) {
        let line = line.into();
        let is_first_loss = {
            let mut queue = self.queue();
            let is_full = queue.bytes + line.len() > MAX_WAITING;
            if is_full {
                queue.lost += 1;
                queue.unreported += 1;
            } else {
                queue.report_losses(self.0.stream);
                queue.push(line);
            }
            is_full && !std::mem::replace(&mut queue.has_been_full, true)
        };
        self.0.changed.notify_all();
        if is_first_loss && self.0.stream == Stream::Stdout {
            tracing::warn!(
                "lines on stdout are lost, because nobody reads them fast enough; read stdout, or send it to a file \
                 (with --stats-interval, lines_lost counts them)"
            );
        }
    }

    /// Adds a new line at each interval. Never ends. Without an interval, it adds none.
    pub(crate) async fn add_every(&self, every: Option<Duration>, line: impl Fn() -> String) {
        let Some(every) = every else { return std::future::pending().await };
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.add(line());
        }
    }

    /// Adds a last line, also beyond the bound.
    pub(crate) fn add_last(&self, line: impl Into<Vec<u8>>) {
        let mut queue = self.queue();
        queue.report_losses(self.0.stream);
        queue.push(line.into());
        drop(queue);
        self.0.changed.notify_all();
    }

    /// The number of lines that were lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.queue().lost
    }

    /// Waits until all lines are printed, at most for this time.
    pub(crate) fn finish(&self, at_most: Duration) {
        let mut queue = self.queue();
        queue.report_losses(self.0.stream);
        self.0.changed.notify_all();
        let _ = self.0.changed.wait_timeout_while(queue, at_most, |queue| queue.bytes > 0);
    }
}

impl Queue {
    fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    /// Adds the line that stands for the lost ones.
    fn report_losses(&mut self, stream: Stream) {
        match (std::mem::take(&mut self.unreported), stream) {
            (0, _) => {}
            (lost, Stream::Stdout) => {
                self.push(format!("{}\n", json!({ "event": "lines_lost", "lines": lost })).into());
            }
            (lost, Stream::Stderr) => {
                let lost = format!("typha-tls: lines lost here: {lost} (stderr was not read fast enough)\n");
                self.push(lost.into());
            }
        }
    }
}

/// Writes lines. Another process may have made the pipe or the terminal non-blocking.
fn write_whole(output: &mut impl Write, text: &[u8]) -> io::Result<()> {
    let mut rest = text;
    loop {
        let written = match rest {
            [] => output.flush().map(|()| 0),
            rest => output.write(rest),
        };
        match written {
            Ok(_) if rest.is_empty() => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => rest = rest.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL_PIPE),
            Err(error) => return Err(error),
        }
    }
}

/// Each write is one line.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(line.to_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A reader that reads from the moment on when the other end of the first channel is dropped.
    struct Gated(Receiver<Infallible>, Sender<String>);

    impl Write for Gated {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            for line in String::from_utf8_lossy(text).lines() {
                self.1.send(line.to_owned()).map_err(io::Error::other)?;
            }
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(stream: Stream) -> (Lines, Sender<Infallible>, Receiver<String>) {
        let ((gate, closed), (printed, reader)) = (channel(), channel());
        (Lines::start(stream, Gated(closed, printed)).unwrap(), gate, reader)
    }

    /// Fills the queue exactly, and adds so many more.
    fn overfill(lines: &Lines, more: usize) {
        for number in 0..1024 + more {
            lines.add(format!("{number:01023}\n"));
        }
    }

    /// Another process that shares the pipe or the terminal may have made it so.
    #[test]
    fn a_non_blocking_output_loses_nothing() {
        struct NonBlocking(Vec<u8>, u32);

        impl Write for NonBlocking {
            fn write(&mut self, data: &[u8]) -> io::Result<usize> {
                self.1 += 1;
                if self.1.is_multiple_of(2) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let length = data.len().min(3);
                self.0.extend_from_slice(&data[..length]);
                Ok(length)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let mut output = NonBlocking(Vec::new(), 0);
        write_whole(&mut output, b"one line\n").unwrap();
        assert_eq!(output.0, b"one line\n");
    }

    #[test]
    fn a_gap_is_reported_where_it_is() {
        let (lines, gate, reader) = gated(Stream::Stderr);
        overfill(&lines, 976);
        assert_eq!(lines.lost(), 976);
        drop(gate);
        for number in 0..1024 {
            assert_eq!(reader.recv().unwrap().parse(), Ok(number));
        }
        lines.finish(Duration::MAX);
        let gap = "typha-tls: lines lost here: 976 (stderr was not read fast enough)";
        assert_eq!(reader.recv().unwrap(), gap);
        // What is reported is not reported again.
        lines.add(b"next\n");
        assert_eq!((reader.recv().unwrap(), lines.lost()), ("next".to_owned(), 976));
    }

    #[test]
    fn the_end_waits_no_longer_than_it_may() {
        let (lines, gate, reader) = gated(Stream::Stdout);
        overfill(&lines, 1);
        lines.add_last(b"last\n");
        lines.finish(Duration::from_millis(1));
        drop(gate);
        lines.finish(Duration::MAX);
        let last: Vec<_> = reader.try_iter().skip(1024).collect();
        assert_eq!(last, [r#"{"event":"lines_lost","lines":1}"#, "last"]);
    }

    #[test]
    fn a_reader_that_is_gone_stops_nothing() {
        let (lines, gate, reader) = gated(Stream::Stdout);
        drop((gate, reader));
        lines.add(b"one\n");
        lines.add(b"two\n");
        lines.finish(Duration::MAX);
        assert_eq!(lines.lost(), 2);
    }
}

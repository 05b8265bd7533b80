//! What reloaders and reviews log, as an operator reads it.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Of the thread that makes it, which is the only one of its runtime.
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

struct Recorder(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn new() -> Self {
        crate::subscribers::let_all_be_asked();
        let lines = Arc::<Mutex<Vec<_>>>::default();
        let subscriber = tracing_subscriber::registry().with(Recorder(lines.clone()));
        Self { lines, _guard: set_default(subscriber) }
    }

    /// The lines since the last time, as `LEVEL message name=value`.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }

    /// The warnings since the last time.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.take().into_iter().filter(|line| line.starts_with("WARN")).collect()
    }

    /// What replacements since the last time changed, if they are all that there was.
    pub(crate) fn changes(&self) -> Vec<String> {
        let changes = |line: String| Some(line.split_once("changes=")?.1.to_owned());
        self.take().into_iter().map(|line| changes(line.clone()).unwrap_or(line)).collect()
    }
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        let is_ours = ["typha_tls::reload", "typha_tls::lifetime"];
        if *event.metadata().level() > Level::INFO || !is_ours.iter().any(|ours| target.starts_with(ours)) {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{} {}{}", event.metadata().level(), line.message, line.fields);
        self.0.lock().unwrap().push(text);
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => write!(self.message, "{value:?}").unwrap(),
            // They name directories and ports of this run.
            "source" | "peer_address" => {}
            name => write!(self.fields, " {name}={value:?}").unwrap(),
        }
    }
}

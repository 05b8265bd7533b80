//! What the log says of certificates that expire.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Which certificate it is about (kind and subject), and the message.
pub(crate) type Warning = (String, String, String);

/// The warnings since it was last asked.
#[derive(Clone, Default)]
pub(crate) struct ExpiryWarnings(Arc<Mutex<Vec<Warning>>>);

impl ExpiryWarnings {
    /// Of all that this thread does, as long as the guard lives.
    pub(crate) fn record() -> (Self, DefaultGuard) {
        crate::subscribers::let_all_be_asked();
        let this = Self::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(this.clone()));
        (this, guard)
    }

    pub(crate) fn take(&self) -> Vec<Warning> {
        let mut warnings = std::mem::take(&mut *self.0.lock().unwrap());
        warnings.sort();
        warnings
    }
}

impl<S: Subscriber> Layer<S> for ExpiryWarnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut field = |name| fields.0.remove(name);
        let Some(kind) = field("certificate") else { return };
        assert_eq!(*event.metadata().level(), Level::WARN);
        let (subject, message) = (field("subject").unwrap(), field("message").unwrap());
        self.0.lock().unwrap().push((kind, subject, message));
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

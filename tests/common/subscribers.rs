//! Events for the subscriber of a test.

use std::sync::LazyLock;

use tracing::Dispatch;

/// To be called before a test sets a subscriber for its thread.
///
/// As long as a process has had one subscriber, tracing asks only the first thread that reaches an event whether the
/// event is wanted. If that thread has no subscriber, the event is off for all threads. With two, tracing asks every
/// subscriber.
pub(crate) fn let_all_be_asked() {
    static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));
    LazyLock::force(&ANOTHER);
}

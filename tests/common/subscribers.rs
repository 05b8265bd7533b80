//! Events for the subscriber of a test.

use std::sync::LazyLock;

use tracing::Dispatch;

/// To be called before a test sets a subscriber for its thread.
///
/// As long as a process has had one subscriber, tracing asks only the thread that comes to an event first whether it is
/// wanted, and a thread without a subscriber says no for all. With two, it asks every subscriber.
pub fn let_all_be_asked() {
    static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));
    LazyLock::force(&ANOTHER);
}

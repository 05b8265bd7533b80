//! Waits for a signal to end.

use tokio::signal::unix::{SignalKind, signal};

/// Waits until a signal asks the process to end: SIGINT, SIGTERM or SIGHUP. From the call on, none of them ends the
/// process by itself, even before the future is polled.
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let signals = kinds.map(signal);
    async {
        let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

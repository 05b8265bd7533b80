//! Whether Felix's end is ready.

use std::pin::Pin;
use std::time::Duration;

use typha_tls::dialer::FelixDialer;
use typha_tls::reload::Reloader;

use crate::metrics_page::{Readiness, certificate_is_valid};
use crate::output;

/// How long an answer about readiness counts: without a live connection, each check takes a whole handshake.
pub(super) const READINESS: Duration = Duration::from_secs(10);

/// Checks whether our certificate is valid now, and whether a Typha accepts us. A live connection shows that a Typha
/// does. Without one, the check connects to a Typha.
pub(super) fn ready<F: Fn() -> bool>(
    dialer: &FelixDialer,
    reloader: &Reloader,
    is_connected: F,
) -> impl Fn() -> Pin<Box<dyn Future<Output = Readiness> + Send>> + use<F> {
    let (dialer, reloader) = (dialer.clone(), reloader.clone());
    move || {
        let (certificate, is_connected) = (certificate_is_valid(&reloader), is_connected());
        let dialer = dialer.clone();
        Box::pin(async move {
            certificate?;
            if is_connected {
                return Ok(());
            }
            match dialer.connect().await {
                Ok(connection) => {
                    // The connection was only a check: an error of its end does not matter.
                    let _ = connection.close().await;
                    Ok(())
                }
                Err(error) => Err(output::detail(&error)),
            }
        })
    }
}

//! Copies data: stdin to Typha, and from Typha to stdout.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use typha_tls::Connection;
use typha_tls::error::{WithCauses, alert_name, alert_of};
use typha_tls::stream::Acceptance;

use crate::output::{self, FAILED, REFUSED_BY_PEER, SUCCESS};

/// Copies both ways until Typha closes. Returns the members to add to the outcome, and the exit code.
pub(super) async fn talk(connection: Connection) -> (Value, u8) {
    let acceptance = match connection.acceptance() {
        Acceptance::Confirmed => "confirmed",
        Acceptance::NotAsked => "not_asked",
        _ => "unconfirmed",
    };
    let (from_typha, to_typha) = tokio::io::split(connection);
    let (sent, mut received) = (Arc::new(AtomicU64::new(0)), 0);
    let ended = transfer(from_typha, to_typha, &sent, &mut received).await;
    let line = json!({ "acceptance": acceptance, "sent": sent.load(Relaxed), "received": received });
    let broken = match ended {
        Ok(()) => return (output::merge(line, json!({ "closed": "cleanly" })), SUCCESS),
        Err(broken) => broken,
    };
    let detail = format!("{}: {}", broken.doing, WithCauses(&broken.error));
    let (code, outcome) = match alert_of(&broken.error) {
        Some(alert) => (
            REFUSED_BY_PEER,
            json!({ "event": "refused", "reason": "refused_by_peer", "detail": detail, "alert": alert_name(alert) }),
        ),
        None => {
            let reason = if broken.error.kind() == io::ErrorKind::TimedOut { "timed_out" } else { "io" };
            (FAILED, json!({ "event": "broken_off", "reason": reason, "detail": detail }))
        }
    };
    (output::merge(line, outcome), code)
}

/// The error, and the action that failed.
struct Broken {
    doing: &'static str,
    error: io::Error,
}

fn broken(doing: &'static str) -> impl Fn(io::Error) -> Broken {
    move |error| Broken { doing, error }
}

/// How long to wait for the reason after Typha stops reading.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Copies both ways until Typha closes or one direction fails.
async fn transfer(
    from_typha: ReadHalf,
    to_typha: WriteHalf,
    sent: &Arc<AtomicU64>,
    received: &mut u64,
) -> Result<(), Broken> {
    let upload = tokio::spawn(upload(to_typha, sent.clone()));
    let stop_upload = upload.abort_handle();
    let mut download = pin!(download(from_typha, received));
    let ended = tokio::select! {
        ended = &mut download => ended,
        uploaded = upload => match uploaded {
            Ok(Err(failed)) if failed.doing == SENDING => match timeout(LAST_WORDS, download).await {
                // The writer may see a reset that the reader sees as a mere end.
                Ok(Err(reason)) if reason.error.kind() != io::ErrorKind::UnexpectedEof => Err(reason),
                _ => Err(failed),
            },
            Ok(Err(failed)) => Err(failed),
            Ok(Ok(())) | Err(_) => download.await,
        },
    };
    // The rest of stdin is dropped, because Typha no longer reads.
    stop_upload.abort();
    ended
}

type WriteHalf = tokio::io::WriteHalf<Connection>;
type ReadHalf = tokio::io::ReadHalf<Connection>;

const SENDING: &str = "sending to Typha";

async fn upload(mut to_typha: WriteHalf, sent: Arc<AtomicU64>) -> Result<(), Broken> {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = stdin.read(&mut buffer).await.map_err(broken("reading stdin"))?;
        match buffer.get(..length) {
            Some([]) | None => return to_typha.shutdown().await.map_err(broken(SENDING)),
            Some(data) => to_typha.write_all(data).await.map_err(broken(SENDING))?,
        }
        to_typha.flush().await.map_err(broken(SENDING))?;
        sent.fetch_add(length as u64, Relaxed);
    }
}

async fn download(mut from_typha: ReadHalf, received: &mut u64) -> Result<(), Broken> {
    let mut stdout = tokio::io::stdout();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from_typha.read(&mut buffer).await.map_err(broken("receiving from Typha"))?;
        let data = match buffer.get(..length) {
            Some([]) | None => return Ok(()),
            Some(data) => data,
        };
        stdout.write_all(data).await.map_err(broken("writing stdout"))?;
        stdout.flush().await.map_err(broken("writing stdout"))?;
        *received += data.len() as u64;
    }
}

//! Copies data: stdin to Typha, and from Typha to stdout.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use typha_tls::Connection;
use typha_tls::error::{alert_name, alert_of};

use crate::output::{self, FAILED, REFUSED_BY_PEER, SUCCESS};

/// Copies both ways until Typha closes. Returns the members to add to the outcome, and the exit code.
pub(super) async fn talk(connection: Connection) -> (Value, u8) {
    let acceptance = output::acceptance(&connection);
    let closing = connection.close_requested().clone();
    let (from_typha, to_typha) = tokio::io::split(connection);
    let (sent, mut received) = (Arc::new(AtomicU64::new(0)), 0);
    let upload = upload(tokio::io::stdin(), to_typha, sent.clone());
    let download = download(from_typha, tokio::io::stdout(), &mut received);
    let ended = transfer(upload, download, &closing).await;
    let line = json!({ "acceptance": acceptance, "sent": sent.load(Relaxed), "received": received });
    let broken = match ended {
        Ok(()) => return (output::merge(line, json!({ "closed": "cleanly" })), SUCCESS),
        Err(broken) => broken,
    };
    let detail = format!("{}: {}", broken.doing, output::detail(&broken.error));
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

/// After Typha stops reading: how long to wait for the reason.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long data for stdout may wait after a close was requested. The dialer force-closes after 1 s, but only a read or
/// a write notices that.
const LAST_DATA: Duration = Duration::from_secs(2);

/// Copies both ways until Typha closes, one direction fails, or the connection has to be closed.
async fn transfer(
    upload: impl Future<Output = Result<(), Broken>> + Send + 'static,
    download: impl Future<Output = Result<(), Broken>>,
    closing: &CancellationToken,
) -> Result<(), Broken> {
    let upload = tokio::spawn(upload);
    let stop_upload = upload.abort_handle();
    let mut download = pin!(download);
    let copied = async {
        tokio::select! {
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
        }
    };
    let unread = async {
        closing.cancelled().await;
        sleep(LAST_DATA).await;
    };
    let ended = tokio::select! {
        ended = copied => ended,
        () = unread => {
            let problem = "it was not read within 2 s after this end had to close the connection; read stdout";
            Err(Broken { doing: WRITING, error: io::Error::new(io::ErrorKind::ConnectionAborted, problem) })
        }
    };
    // The rest of stdin is dropped, because Typha no longer reads.
    stop_upload.abort();
    ended
}

const SENDING: &str = "sending to Typha";
const WRITING: &str = "writing stdout";

async fn upload(
    mut stdin: impl AsyncRead + Unpin,
    mut to_typha: impl AsyncWrite + Unpin,
    sent: Arc<AtomicU64>,
) -> Result<(), Broken> {
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

async fn download(
    mut from_typha: impl AsyncRead + Unpin,
    mut stdout: impl AsyncWrite + Unpin,
    received: &mut u64,
) -> Result<(), Broken> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from_typha.read(&mut buffer).await.map_err(broken("receiving from Typha"))?;
        let data = match buffer.get(..length) {
            Some([]) | None => return Ok(()),
            Some(data) => data,
        };
        stdout.write_all(data).await.map_err(broken(WRITING))?;
        stdout.flush().await.map_err(broken(WRITING))?;
        *received += data.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{duplex, empty, sink};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn data_for_stdout_waits_until_a_close_is_requested() {
        let (mut typha, from_typha) = duplex(1024);
        let (_nobody_reads, stdout) = duplex(16);
        typha.write_all(&[7; 1024]).await.unwrap();
        let (mut received, closing) = (0, CancellationToken::new());
        let upload = upload(empty(), sink(), Arc::default());
        let transfer = transfer(upload, download(from_typha, stdout, &mut received), &closing);
        let mut transfer = pin!(transfer);
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, transfer.as_mut()).await.is_err(), "flow control");
        closing.cancel();
        let broken = timeout(2 * LAST_DATA, transfer).await.unwrap().unwrap_err();
        assert_eq!(
            (broken.doing, broken.error.to_string()),
            (
                WRITING,
                "it was not read within 2 s after this end had to close the connection; read stdout"
                    .to_owned()
            )
        );
    }
}

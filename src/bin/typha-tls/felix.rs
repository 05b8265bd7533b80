//! `typha-tls felix`: Felix's end, between stdin and stdout.

use std::io;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use typha_tls::config::FelixConfig;
use typha_tls::error::{WithCauses, alert_name, alert_of};
use typha_tls::stream::Acceptance;
use typha_tls::{AuthenticatedStream, HandshakeError};

use crate::options::FelixOptions;
use crate::output::{self, FAILED, REFUSED_BY_PEER, REJECTED, SUCCESS, UNUSABLE};

/// Connects to a Typha: stdin goes to it, what it sends goes to stdout
///
/// One JSON line on stderr says how it went. Exit code: 0 accepted and closed cleanly, 2 bad usage or configuration,
/// 3 Typha refused us, 4 we refused Typha, 5 unreachable, timed out or broken off.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The Typha to connect to [default: TyphaAddr]
    #[arg(long, value_name = "HOST:PORT")]
    connect: Option<String>,
    #[command(flatten)]
    tls: FelixOptions,
}

/// The bound for the TCP connection: Calico's.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn run(arguments: Arguments) -> u8 {
    let unusable = |error: &dyn std::error::Error| {
        output::print_outcome(&json!({
            "event": "unusable",
            "reason": "configuration",
            "detail": WithCauses(error).to_string(),
        }));
        UNUSABLE
    };
    let config = match FelixConfig::load(&arguments.tls.sources()) {
        Ok(config) => config,
        Err(error) => return unusable(&error),
    };
    let connector = match config.connector() {
        Ok(Some(connector)) => connector,
        Ok(None) => {
            return unusable(&io::Error::other(
                "TLS is not configured: set the five TLS parameters (see --help)",
            ));
        }
        Err(error) => return unusable(&error),
    };
    let Some(address) = arguments.connect.or(config.typha_addr) else {
        return unusable(&io::Error::other("there is no Typha to connect to: give --connect or TyphaAddr"));
    };
    let tcp = match dial(&address).await {
        Ok(tcp) => tcp,
        Err(error) => {
            output::print_outcome(&json!({
                "event": "refused",
                "peer": address,
                "reason": if error.kind() == io::ErrorKind::TimedOut { "timed_out" } else { "io" },
                "detail": format!("no TCP connection to {address}: {error}"),
            }));
            return FAILED;
        }
    };
    match connector.connect_tcp(tcp).await {
        Ok(stream) => {
            let accepted = output::accepted(&address, &stream);
            let (line, code) = talk(stream).await;
            output::print_outcome(&output::merge(accepted, line));
            code
        }
        Err(error) => {
            output::print_outcome(&output::refused(&address, &error));
            match error {
                HandshakeError::RefusedByPeer { .. } => REFUSED_BY_PEER,
                HandshakeError::Rejected(_) => REJECTED,
                _ => FAILED,
            }
        }
    }
}

async fn dial(address: &str) -> io::Result<TcpStream> {
    match timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await {
        Ok(connected) => connected,
        Err(elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)),
    }
}

/// Copies both ways until Typha closes. Returns what to add to the outcome, and the exit code.
async fn talk(stream: AuthenticatedStream<TcpStream>) -> (serde_json::Value, u8) {
    let acceptance = match stream.acceptance() {
        Acceptance::Confirmed => "confirmed",
        Acceptance::Unconfirmed => "unconfirmed",
    };
    let (from_typha, to_typha) = tokio::io::split(stream);
    let upload = tokio::spawn(upload(to_typha));
    let (received, ended) = download(from_typha).await;
    // Whatever stdin still holds, nobody is there to take it.
    upload.abort();
    let line = json!({ "acceptance": acceptance, "received": received });
    match ended {
        Ok(()) => (output::merge(line, json!({ "closed": "cleanly" })), SUCCESS),
        Err(error) => {
            let (code, event, reason) = match alert_of(&error) {
                Some(_) => (REFUSED_BY_PEER, "refused", "refused_by_peer"),
                None if error.kind() == io::ErrorKind::TimedOut => (FAILED, "broken_off", "timed_out"),
                None => (FAILED, "broken_off", "io"),
            };
            let line = output::merge(
                line,
                json!({ "event": event, "reason": reason, "detail": WithCauses(&error).to_string() }),
            );
            match alert_of(&error) {
                Some(alert) => (output::merge(line, json!({ "alert": alert_name(alert) })), code),
                None => (line, code),
            }
        }
    }
}

type WriteHalf = tokio::io::WriteHalf<AuthenticatedStream<TcpStream>>;
type ReadHalf = tokio::io::ReadHalf<AuthenticatedStream<TcpStream>>;

async fn upload(mut to_typha: WriteHalf) -> io::Result<()> {
    tokio::io::copy(&mut tokio::io::stdin(), &mut to_typha).await?;
    to_typha.shutdown().await
}

async fn download(mut from_typha: ReadHalf) -> (u64, io::Result<()>) {
    let mut received = 0;
    let mut stdout = tokio::io::stdout();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let data = match from_typha.read(&mut buffer).await {
            Ok(0) => return (received, Ok(())),
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(error) => return (received, Err(error)),
        };
        if let Err(error) = async {
            stdout.write_all(data).await?;
            stdout.flush().await
        }
        .await
        {
            return (received, Err(error));
        }
        received += data.len() as u64;
    }
}

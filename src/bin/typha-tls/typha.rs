//! `typha-tls typha`: Typha's end, which echoes what it receives.

use std::io;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use typha_tls::config::TyphaConfig;
use typha_tls::{AuthenticatedStream, TyphaAcceptor};

use crate::options::{self, TyphaOptions};
use crate::output::{self, FAILED, Printer, SUCCESS, UNUSABLE};

/// Accepts Felixes and echoes what they send
///
/// Prints {"event":"listening",...} when ready, then a line for each connection that is accepted or refused. SIGTERM and
/// SIGINT end it. Exit code: 0 ended by a signal, 2 bad usage or configuration, 5 the address can not be used.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes a free one [default: ServerHost and ServerPort]
    #[arg(long, value_name = "HOST:PORT", value_parser = options::address)]
    listen: Option<String>,
    #[command(flatten)]
    tls: TyphaOptions,
}

/// How long ending the connections may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Pause after an error of accept(): running out of file descriptors lasts, and asking again at once burns a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn run(arguments: Arguments) -> u8 {
    let config = match TyphaConfig::load(&arguments.tls.sources()) {
        Ok(config) => config,
        Err(error) => {
            output::complain(&error);
            return UNUSABLE;
        }
    };
    let acceptor = match config.acceptor() {
        Ok(Some(acceptor)) => acceptor,
        Ok(None) => {
            output::complain(&io::Error::other(
                "TLS is not configured: set the five TLS parameters (see --help)",
            ));
            return UNUSABLE;
        }
        Err(error) => {
            output::complain(&error);
            return UNUSABLE;
        }
    };
    match serve(&config, arguments.listen, acceptor).await {
        Ok(()) => SUCCESS,
        Err(error) => {
            output::complain(&error);
            FAILED
        }
    }
}

async fn serve(config: &TyphaConfig, listen: Option<String>, acceptor: TyphaAcceptor) -> io::Result<()> {
    let mut signals = Signals::new()?;
    let (host, port) = config.listen_address();
    let address = listen.unwrap_or_else(|| {
        format!("{}:{port}", if host.contains(':') { format!("[{host}]") } else { host.to_owned() })
    });
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("can not listen on {address}: {error}")))?;
    let printer = Printer::start();
    let listening = json!({ "event": "listening", "address": listener.local_addr()?.to_string() });
    let _ = printer.lines().send(listening).await;

    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = signals.recv() => break,
            // Finished ones are taken out, so that the set does not grow.
            Some(_) = connections.join_next() => {}
            incoming = listener.accept() => match incoming {
                Ok((tcp, address)) => {
                    let connection = connection(acceptor.clone(), tcp, address.to_string(), stopped.clone(), printer.lines());
                    connections.spawn(connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(stop);
    let _ = tokio::time::timeout(GOODBYE, async { while connections.join_next().await.is_some() {} }).await;
    drop(connections);
    printer.finish(GOODBYE).await;
    Ok(())
}

async fn connection(
    acceptor: TyphaAcceptor,
    tcp: TcpStream,
    address: String,
    mut stopped: watch::Receiver<()>,
    lines: mpsc::Sender<Value>,
) {
    let handshake = tokio::select! {
        handshake = acceptor.accept_tcp(tcp) => handshake,
        _ = stopped.changed() => return,
    };
    match handshake {
        Ok(mut stream) => {
            let _ = lines.send(output::accepted(&address, &stream)).await;
            tokio::select! {
                ended = echo(&mut stream) => if let Err(error) = ended {
                    tracing::info!(peer = address, %error, "connection broke off");
                },
                _ = stopped.changed() => say_goodbye(stream).await,
            }
        }
        Err(error) => {
            let _ = lines.send(output::refused(&address, &error)).await;
        }
    }
}

/// Ends a connection, and reads what is on its way: closing with unread data would destroy the goodbye.
async fn say_goodbye(mut stream: AuthenticatedStream<TcpStream>) {
    let goodbye = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(GOODBYE / 2, goodbye).await;
}

async fn echo(stream: &mut AuthenticatedStream<TcpStream>) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let received = stream.read(&mut buffer).await?;
        match buffer.get(..received) {
            Some([]) | None => return stream.shutdown().await,
            Some(data) => stream.write_all(data).await?,
        }
        stream.flush().await?;
    }
}

/// SIGTERM and SIGINT; Ctrl-C elsewhere.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(unix)]
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn recv(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

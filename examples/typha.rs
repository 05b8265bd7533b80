//! The smallest daemon with Typha's end. It is configured like Calico's Typha and greets each Felix by name.
//!
//! TYPHA_CAFILE, TYPHA_SERVERCERTFILE, TYPHA_SERVERKEYFILE and TYPHA_CLIENTCN or TYPHA_CLIENTURISAN must be set.
//! `typha-tls pki DIR` makes files to try it with.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use tokio::io::AsyncWriteExt as _;
use typha_tls::Connection;
use typha_tls::config::{Sources, TyphaConfig};
use typha_tls::error::WithCauses;
use typha_tls::listener::FailedHandshake;

#[tokio::main]
async fn main() -> ExitCode {
    // Log events report problems with the files and certificates that expire soon.
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", WithCauses(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let config = TyphaConfig::load(&Sources::typha())?;
    let builder = config.listener()?.on_failed_handshake(|handshake| {
        let FailedHandshake { peer_address, error, .. } = &handshake;
        println!("{peer_address}: no connection ({}): {}", error.label(), WithCauses(error));
    });
    // The listener follows the parameters and the files: renewed certificates and changed CAs come into force.
    let mut listener = builder.bind(config.listen_address()).await?;
    println!("listening on {}", listener.local_addr());
    let handle = listener.handle();
    // Ctrl-C shuts the listener down in order: the loop below ends, and the connections are dropped one by one. A
    // second Ctrl-C ends the program at once.
    let shutdown = tokio::spawn(async move {
        tokio::signal::ctrl_c().await?;
        tokio::select! {
            report = handle.shutdown() => io::Result::Ok(Some(report)),
            second = tokio::signal::ctrl_c() => second.map(|()| None),
        }
    });
    while let Some(connection) = listener.accept().await {
        // Each connection has its own task, so that a slow Felix does not delay the others.
        tokio::spawn(serve(connection));
    }
    if let Some(report) = shutdown.await?? {
        println!("shut down; {} connections were dropped", report.dropped);
    }
    Ok(())
}

/// Greets Felix, and keeps the connection until one end closes it.
async fn serve(mut connection: Connection) {
    let (address, close_requested) = (connection.peer_address(), connection.close_requested().clone());
    println!("{address}: accepted {}", connection.peer());
    let greeting = format!("hello, {}\n", connection.peer().identity());
    let served = async {
        connection.write_all(greeting.as_bytes()).await?;
        connection.flush().await?;
        // Until Felix closes the connection.
        tokio::io::copy(&mut connection, &mut tokio::io::sink()).await
    };
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                println!("{address}: {}", WithCauses(&error));
            }
        }
        () = close_requested.cancelled() => {}
    }
    let reason = connection.close_reason().map_or("felix_closed", |reason| reason.label());
    println!("{address}: closed ({reason})");
    // Without this, Felix could not tell a finished stream from a truncated one.
    let _ = connection.close().await;
}

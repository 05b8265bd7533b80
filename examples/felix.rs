//! The smallest daemon with Felix's end. It is configured like Calico's Felix, stays connected to a Typha and prints
//! what Typha sends.
//!
//! FELIX_TYPHAADDR, FELIX_TYPHACAFILE, FELIX_TYPHACERTFILE, FELIX_TYPHAKEYFILE and FELIX_TYPHACN or FELIX_TYPHAURISAN
//! must be set. `typha-tls pki DIR` makes files to try it with. Ctrl-C ends it.

use std::error::Error;
use std::process::ExitCode;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use typha_tls::CancellationToken;
use typha_tls::Connection;
use typha_tls::config::{FelixConfig, Sources};
use typha_tls::error::WithCauses;

#[tokio::main]
async fn main() -> ExitCode {
    // Log events report problems with the files and certificates that expire soon.
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", WithCauses(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let config = FelixConfig::load(&Sources::felix())?;
    // The dialer follows the parameters and the files: renewed certificates and changed CAs come into force.
    let dialer = config.dialer()?;
    let cancel = CancellationToken::new();
    let mut state = dialer.state();
    let watched = async {
        while state.changed().await.is_ok() {
            // A readiness probe would use the same state.
            let state = state.borrow_and_update();
            if let (false, Some(error)) = (state.is_connected(), &state.last_error) {
                eprintln!("not connected: {}", WithCauses(error));
            }
        }
    };
    let stopped = async {
        let _ = tokio::signal::ctrl_c().await;
        cancel.cancel();
    };
    tokio::select! {
        () = async { tokio::join!(dialer.run(cancel.clone(), print), stopped); } => {}
        () = watched => {}
    }
    Ok(())
}

/// Handles one connection. When it returns, the dialer connects again.
async fn print(mut connection: Connection) -> std::io::Result<()> {
    eprintln!("connected to {} at {} ({})", connection.peer(), connection.peer_address(), connection.tls());
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = connection.read(&mut buffer).await?;
        match buffer.get(..length) {
            Some([]) | None => return connection.shutdown().await,
            Some(data) => tokio::io::stdout().write_all(data).await?,
        }
    }
}

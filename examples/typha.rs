//! The smallest daemon that embeds Typha's end: configured as Calico's Typha is, it greets each Felix by name.
//!
//! TYPHA_CAFILE, TYPHA_SERVERCERTFILE, TYPHA_SERVERKEYFILE and TYPHA_CLIENTCN or TYPHA_CLIENTURISAN must be set;
//! `typha-tls pki DIR` makes a set of files to try it with.

use std::error::Error;
use std::process::ExitCode;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use typha_tls::config::{Sources, TyphaConfig};
use typha_tls::error::WithCauses;

#[tokio::main]
async fn main() -> ExitCode {
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
    let acceptor = config.acceptor()?.ok_or("TLS is not configured")?;
    let listener = TcpListener::bind(config.listen_address()).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (tcp, address) = listener.accept().await?;
        let handshake = acceptor.accept_tcp(tcp);
        // In a task of its own, so that a slow Felix holds up nobody.
        tokio::spawn(async move {
            match handshake.await {
                Ok(mut stream) => {
                    println!("{address}: accepted {}", stream.peer());
                    let greeting = format!("hello, {}\n", stream.peer().identity());
                    if stream.write_all(greeting.as_bytes()).await.is_ok() {
                        // Without it Felix could not tell the end from a cut.
                        let _ = stream.shutdown().await;
                    }
                }
                Err(error) => {
                    println!("{address}: no connection ({}): {}", error.reason(), WithCauses(&error));
                }
            }
        });
    }
}

//! Ends TLS in front of a Typha that listens without TLS: `typha_sidecar 127.0.0.1:5474`.
//!
//! Configure it like Calico's Typha: see the example `typha`. The command `typha-tls typha --forward` does the same. It
//! also has Unix sockets, statistics, metrics and a graceful shutdown.

use std::error::Error;
use std::io;

use tokio::net::TcpStream;
use typha_tls::Connection;
use typha_tls::config::{Sources, TyphaConfig};
use typha_tls::error::WithCauses;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(io::stderr).init();
    let backend = std::env::args().nth(1).ok_or("give the address of a Typha without TLS")?;
    let config = TyphaConfig::load(&Sources::typha())?;
    let mut listener = config.listener()?.bind(config.listen_address()).await?;
    println!("listening on {}", listener.local_addr());
    while let Some(connection) = listener.accept().await {
        let (address, backend) = (connection.peer_address(), backend.clone());
        println!("{address}: accepted {}", connection.peer());
        tokio::spawn(async move {
            if let Err(error) = forward(connection, &backend).await {
                println!("{address}: {}", WithCauses(&error));
            }
        });
    }
    Ok(())
}

/// Carries the bytes of both directions. `close_notify` becomes an end of the TCP connection, and the reverse.
async fn forward(connection: Connection, backend: &str) -> io::Result<()> {
    // An error on the side without TLS must not look like an end in order to Felix; the reverse is below.
    let mut connection = connection.with_reset_on_drop();
    let mut plain = TcpStream::connect(backend).await?;
    plain.set_nodelay(true)?;
    let copied = tokio::io::copy_bidirectional(&mut connection, &mut plain).await;
    if copied.is_err() {
        plain.set_zero_linger()?;
    }
    copied.map(drop)
}

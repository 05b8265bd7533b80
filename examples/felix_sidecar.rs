//! Begins TLS for a Felix that connects without TLS: `felix_sidecar 127.0.0.1:5475`.
//!
//! Configure it like Calico's Felix: see the example `felix`. The command `typha-tls felix --listen` does the same. It
//! also has Unix sockets, statistics, metrics and a graceful shutdown.

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use typha_tls::config::{FelixConfig, Sources};
use typha_tls::dialer::FelixDialer;
use typha_tls::error::WithCauses;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(io::stderr).init();
    let address = std::env::args().nth(1).ok_or("give the address to listen on")?;
    // The dialer finds a Typha for each connection, and follows the parameters and the files.
    let dialer = FelixConfig::load(&Sources::felix())?.dialer()?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let plain = match listener.accept().await {
            Ok((plain, _)) => plain,
            Err(error) => {
                // Most often, there are no file descriptors left.
                println!("a connection can not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let dialer = dialer.clone();
        tokio::spawn(async move {
            if let Err(error) = forward(plain, &dialer).await {
                println!("{}", WithCauses(&*error));
            }
        });
    }
}

/// Carries the bytes of both directions. An end of the TCP connection becomes `close_notify`, and the reverse.
async fn forward(mut plain: TcpStream, dialer: &FelixDialer) -> Result<(), Box<dyn Error + Send + Sync>> {
    plain.set_nodelay(true)?;
    let carried = async {
        // An error on one side must not look like an end in order on the other.
        let mut connection = dialer.connect().await?.with_reset_on_drop();
        println!("connected to {} at {}", connection.peer(), connection.peer_address());
        tokio::io::copy_bidirectional(&mut connection, &mut plain).await?;
        Ok(())
    };
    let carried = carried.await;
    if carried.is_err() {
        plain.set_zero_linger()?;
    }
    carried
}

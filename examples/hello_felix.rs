//! Felix's end: stays connected to a Typha, and prints what it sends.

use typha_tls::CancellationToken;
use typha_tls::config::{FelixConfig, Sources};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = FelixConfig::load(&Sources::felix())?; // FELIX_... and /etc/calico/felix.cfg
    let dialer = config.dialer()?; // follows them, and the files that they name
    dialer.run(CancellationToken::new(), receive).await; // connects again whenever `receive` returns
    Ok(())
}

async fn receive(mut typha: typha_tls::Connection) -> std::io::Result<()> {
    println!("connected to {} at {}", typha.peer(), typha.peer_address());
    tokio::io::copy(&mut typha, &mut tokio::io::stdout()).await?; // until Typha closes the connection
    typha.close().await
}

//! Typha's end: greets each Felix by name.

use tokio::io::AsyncWriteExt as _;
use typha_tls::config::{Sources, TyphaConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = TyphaConfig::load(&Sources::typha())?; // TYPHA_... and /etc/calico/typha.cfg
    let mut listener = config.listen().await?; // follows them, and the files that they name
    println!("listening on {}", listener.local_addr());
    while let Some(connection) = listener.accept().await {
        tokio::spawn(serve(connection));
    }
    Ok(())
}

async fn serve(mut felix: typha_tls::Connection) -> std::io::Result<()> {
    felix.write_all(format!("hello, {}\n", felix.peer().identity()).as_bytes()).await?;
    felix.close().await // Felix learns that nothing is missing
}

//! Felix's end without Calico's parameters: `cargo run --example parts_felix -- ca.pem cert.pem key.pem ADDRESS`.

use std::error::Error;

use typha_tls::dialer::{DnsEndpoints, FelixDialer};
use typha_tls::material::TlsFiles;
use typha_tls::policy::TlsPolicy;
use typha_tls::reload::{FileSource, ReloadOptions, TlsConfigSource as _};
use typha_tls::{FelixConnector, RequiredIdentity};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("give ca.pem, cert.pem, key.pem and an address");
    let files = TlsFiles::new(argument()?, argument()?, argument()?);
    let required_typha = RequiredIdentity::common_name("typha-server")?;
    let source = FileSource::new(files, required_typha, TlsPolicy::builder().build()?);
    let connector = FelixConnector::new(source.load().await?);
    let typhas = DnsEndpoints::new(argument()?)?;
    // The dialer follows the files: renewed certificates and changed CAs come into force.
    let dialer = FelixDialer::new(connector, typhas).follow(source, ReloadOptions::default());
    let mut connection = dialer.connect().await?;
    println!("connected to {} at {}", connection.peer(), connection.peer_address());
    tokio::io::copy(&mut connection, &mut tokio::io::stdout()).await?;
    connection.close().await?;
    Ok(())
}

//! Typha's end without Calico's parameters: `cargo run --example parts_typha -- ca.pem cert.pem key.pem ADDRESS`.

use std::error::Error;

use tokio::io::AsyncWriteExt as _;
use typha_tls::material::TlsFiles;
use typha_tls::policy::TlsPolicy;
use typha_tls::reload::{FileSource, ReloadOptions, TlsConfigSource as _};
use typha_tls::{RequiredIdentity, TyphaAcceptor, TyphaListener};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("give ca.pem, cert.pem, key.pem and an address");
    let files = TlsFiles::new(argument()?, argument()?, argument()?);
    let required_felix = RequiredIdentity::common_name("typha-client")?;
    let source = FileSource::new(files, required_felix, TlsPolicy::builder().build()?);
    let acceptor = TyphaAcceptor::new(source.load().await?);
    // The listener follows the files: renewed certificates and changed CAs come into force.
    let builder = TyphaListener::builder(acceptor).follow(source, ReloadOptions::default());
    let mut listener = builder.bind(argument()?).await?;
    println!("listening on {}", listener.local_addr());
    while let Some(mut connection) = listener.accept().await {
        tokio::spawn(async move {
            connection.write_all(b"hello\n").await?;
            connection.close().await
        });
    }
    Ok(())
}

//! The smallest daemon that embeds Felix's end: configured as Calico's Felix is, it prints what its Typha sends.
//!
//! FELIX_TYPHAADDR, FELIX_TYPHACAFILE, FELIX_TYPHACERTFILE, FELIX_TYPHAKEYFILE and FELIX_TYPHACN or FELIX_TYPHAURISAN
//! must be set; `typha-tls pki DIR` makes a set of files to try it with.

use std::error::Error;
use std::process::ExitCode;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use typha_tls::config::{FelixConfig, Sources};
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
    let config = FelixConfig::load(&Sources::felix())?;
    let connector = config.connector()?.ok_or("TLS is not configured")?;
    let address = config.typha_addr.ok_or("TyphaAddr is not set")?;
    let tcp = TcpStream::connect(&address).await?;
    // When this returns, Typha has accepted us too.
    let mut stream = connector.connect_tcp(tcp).await?;
    println!("connected to {} ({})", stream.peer(), stream.tls());
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    print!("{text}");
    Ok(())
}

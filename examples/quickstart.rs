//! A Typha and several Felixes over loopback TCP, with a PKI made in memory. It shows which peers are accepted, which
//! are refused, and what each end reports.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```

use std::error::Error;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, FELIX_SPIFFE_ID, Purpose, TYPHA_COMMON_NAME, TestCa, TestLeaf,
    acceptor, connector,
};
use typha_tls::{AuthenticatedStream, FelixConnector, HandshakeError, RequiredIdentity, TyphaAcceptor};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let ca = TestCa::new(CertificateSpec::ca("calico-typha-ca"))?;
    let typha = ca.issue(CertificateSpec::leaf(TYPHA_COMMON_NAME).purpose(Purpose::ServerAuth))?;
    let felix = |common_name: &str| CertificateSpec::leaf(common_name).purpose(Purpose::ClientAuth);
    let connect_with =
        |leaf: &TestLeaf| connector(&ca, leaf, RequiredIdentity::common_name(TYPHA_COMMON_NAME)?);

    let by_name = acceptor(&ca, &typha, RequiredIdentity::common_name(FELIX_COMMON_NAME)?)?;
    let by_spiffe_id = acceptor(&ca, &typha, RequiredIdentity::uri_san(FELIX_SPIFFE_ID)?)?;
    let migrating = acceptor(&ca, &typha, RequiredIdentity::either(FELIX_COMMON_NAME, FELIX_SPIFFE_ID)?)?;
    let old_felix = connect_with(&ca.issue(felix(FELIX_COMMON_NAME))?)?;
    let new_felix = connect_with(&ca.issue(felix("node-7").uri_san(FELIX_SPIFFE_ID))?)?;

    println!("Accepted\n");
    meet("by Common Name", &by_name, &old_felix).await?;
    meet("by SPIFFE ID", &by_spiffe_id, &new_felix).await?;
    meet("in a migration, a Felix not yet moved", &migrating, &old_felix).await?;
    meet("in a migration, a Felix that has moved", &migrating, &new_felix).await?;

    println!("Refused\n");
    let wrong_name = connect_with(&ca.issue(felix("mallory"))?)?;
    meet("wrong Common Name", &by_name, &wrong_name).await?;

    let other_ca = TestCa::new(CertificateSpec::ca("some-other-ca"))?;
    let unknown_ca = connect_with(&other_ca.issue(felix(FELIX_COMMON_NAME))?)?;
    meet("right name, unknown CA", &by_name, &unknown_ca).await?;

    let hour = Duration::from_secs(3600);
    let last_week = SystemTime::now() - 7 * 24 * hour;
    let expired = connect_with(&ca.issue(felix(FELIX_COMMON_NAME).valid(last_week, last_week + hour))?)?;
    meet("expired certificate", &by_name, &expired).await?;

    let server_leaf = CertificateSpec::leaf(FELIX_COMMON_NAME).purpose(Purpose::ServerAuth);
    let wrong_usage = connect_with(&ca.issue(server_leaf)?)?;
    meet("certificate for servers only", &by_name, &wrong_usage).await?;

    plain_text(&by_name).await
}

/// Connects one Felix and prints the outcome at both ends.
async fn meet(
    title: &str,
    acceptor: &TyphaAcceptor,
    connector: &FelixConnector,
) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let typha = async {
        let (tcp, _) = listener.accept().await?;
        let mut stream = match acceptor.accept_tcp(tcp).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        stream.write_all(b"hello").await?;
        stream.shutdown().await?;
        std::io::Result::Ok(Ok(stream))
    };
    let felix = async {
        let tcp = TcpStream::connect(address).await?;
        let mut stream = match connector.connect_tcp(tcp).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        let mut greeting = String::new();
        stream.read_to_string(&mut greeting).await?;
        std::io::Result::Ok(Ok(stream))
    };
    let (typha, felix) = tokio::try_join!(typha, felix)?;
    println!("  {title}");
    println!("    Typha: {}", describe(&typha));
    println!("    Felix: {}\n", describe(&felix));
    Ok(())
}

fn describe(outcome: &Result<AuthenticatedStream<TcpStream>, HandshakeError>) -> String {
    match outcome {
        Ok(stream) => format!("accepted {} over {}", stream.peer(), stream.tls()),
        Err(error) => format!("{}: {error}", error.label()),
    }
}

/// Connects a client that does not use TLS.
async fn plain_text(acceptor: &TyphaAcceptor) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut client = TcpStream::connect(listener.local_addr()?).await?;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
    let (tcp, _) = listener.accept().await?;
    let handshake = acceptor.accept_tcp(tcp);
    let client = async {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.map(|_| answer)
    };
    let (typha, answer) = tokio::join!(handshake, client);
    println!("  plain text");
    println!("    Typha: {}", describe(&typha));
    println!("    client: got {} bytes, a TLS alert, and the end of the connection", answer?.len());
    Ok(())
}

//! What an implementation has to offer, so that the loops around it are the same for all; and what all workers use.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use typha_tls::stream::TlsFacts;

use crate::protocol::{self, Chains, CpuTime};

/// Why a worker cannot continue.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Bounds everything that is done on a new connection, so that no request waits forever.
const LIMIT: Duration = Duration::from_secs(10);

/// Bulk data are sent and read in pieces of this length.
pub(super) const BULK_LENGTH: usize = 64 * 1024;

/// What cargo resolved.
const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for IO {}

/// A connection after its handshake.
pub(super) struct Connected<S> {
    pub(super) stream: S,
    pub(super) resumed: bool,
    /// Not of a session of TLS 1.2 that was resumed: it has no key exchange.
    pub(super) negotiated: Option<Negotiated>,
}

/// What both ends agreed on; formatted only for the answer, because that would slow down each handshake.
#[derive(Clone, Eq, PartialEq)]
pub(super) enum Negotiated {
    Ours(TlsFacts),
    Rustls(ProtocolVersion, CipherSuite, NamedGroup),
}

impl Negotiated {
    pub(super) fn formatted(self) -> protocol::Negotiated {
        match self {
            Self::Ours(facts) => protocol::Negotiated {
                version: facts.version().to_owned(),
                cipher_suite: facts.cipher_suite(),
                group: Some(facts.group()),
            },
            Self::Rustls(version, suite, group) => protocol::Negotiated {
                version: match version {
                    ProtocolVersion::TLSv1_2 => "1.2".to_owned(),
                    ProtocolVersion::TLSv1_3 => "1.3".to_owned(),
                    other => format!("{other:?}"),
                },
                // rustls has its own names for the suites of TLS 1.3, and writes all groups in capitals.
                cipher_suite: format!("{suite:?}").replace("TLS13_", "TLS_"),
                group: Some(match group {
                    NamedGroup::X25519MLKEM768 => "X25519MLKEM768".to_owned(),
                    other => format!("{other:?}").to_lowercase(),
                }),
            },
        }
    }
}

pub(super) trait TyphaEnd: Send + Sync + 'static {
    type Stream<IO: Io>: Io;

    fn accept<IO: Io>(
        &self,
        io: IO,
    ) -> impl Future<Output = Result<Connected<Self::Stream<IO>>, Failure>> + Send;

    /// The same, with the options of TCP that the implementation sets.
    fn accept_tcp(
        &self,
        tcp: TcpStream,
    ) -> impl Future<Output = Result<Connected<Self::Stream<TcpStream>>, Failure>> + Send;
}

pub(super) trait FelixEnd: Send + Sync + Sized + 'static {
    type Stream<IO: Io>: Io;

    fn connect<IO: Io>(
        &self,
        io: IO,
    ) -> impl Future<Output = Result<Connected<Self::Stream<IO>>, Failure>> + Send;

    /// The same, with the options of TCP that the implementation sets. Sends the purpose of the connection.
    fn connect_tcp(
        &self,
        tcp: TcpStream,
        purpose: Purpose,
    ) -> impl Future<Output = Result<Connected<Self::Stream<TcpStream>>, Failure>> + Send;

    /// The same end with other chains, one each.
    fn with_chains(&self, chains: &Chains) -> Result<Vec<Self>, Failure>;
}

/// The first byte of a connection.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    pub(super) byte: u8,
    /// Whether it goes with the last message of Felix's handshake, where the implementation can do so.
    pub(super) rides: bool,
}

impl Purpose {
    pub(super) const DOWNLOAD: Self = Self { byte: b'd', rides: false };
    pub(super) const ECHO: Self = Self { byte: b'p', rides: false };
    pub(super) const UPLOAD: Self = Self { byte: b'u', rides: false };

    pub(super) fn echo(rides: bool) -> Self {
        Self { byte: b'e', rides }
    }

    /// After a handshake.
    pub(super) async fn send(self, stream: &mut impl Io) -> Result<(), Failure> {
        stream.write_all(&[self.byte]).await?;
        Ok(stream.flush().await?)
    }
}

/// No step of `future` may hang.
pub(super) async fn bounded<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match timeout(LIMIT, future).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("not done within {} s", LIMIT.as_secs()).into()),
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of this process since it began.
pub(super) fn cpu_time() -> Result<CpuTime, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let [user_nanos, system_nanos] = [usage.user_time(), usage.system_time()].map(|time| {
        let [seconds, micros] =
            [time.tv_sec(), time.tv_usec()].map(|part| u64::try_from(part).unwrap_or_default());
        seconds * 1_000_000_000 + micros * 1_000
    });
    Ok(CpuTime { user_nanos, system_nanos })
}

/// Names of crates with the versions that this program was built with.
pub(super) fn versions(crates: &[&str]) -> String {
    crates.iter().map(|name| format!("{name} {}", version(LOCK, name))).collect::<Vec<_>>().join(", ")
}

/// Each package is a line with its name, and then one with its version.
fn version<'a>(lock: &'a str, name: &str) -> &'a str {
    let named = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != named);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.unwrap_or("(unknown version)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_that_of_the_package_itself() {
        let lock =
            "name = \"rustls-webpki\"\nversion = \"0.1.0\"\n\nname = \"rustls\"\nversion = \"0.2.0\"\n";
        assert_eq!(version(lock, "rustls"), "0.2.0");
        assert_eq!(version(lock, "absent"), "(unknown version)");
        assert_eq!(version(LOCK, "typha-tls-benches"), env!("CARGO_PKG_VERSION"));
    }
}

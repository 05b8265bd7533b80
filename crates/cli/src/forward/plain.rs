//! The side without TLS: a TCP address or a Unix socket.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::SocketAddr as UnixAddress;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UnixDatagram, UnixListener, UnixStream, lookup_host};
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;

use crate::options;

/// A connection without TLS.
pub(crate) type PlainStream = Either<TcpStream, UnixStream>;

/// Where the side without TLS is: `HOST:PORT`, or `unix:PATH`.
#[derive(Clone, Debug)]
pub(crate) enum PlainAddress {
    Tcp(String),
    Unix(PathBuf),
}

/// Why an address can not be used without TLS.
#[derive(Debug, Error)]
pub(crate) enum PlainError {
    #[error(
        "{address} is not a loopback address{}: everything would cross the network without TLS; use a \
         loopback address or unix:PATH, or give --allow-unencrypted-network",
        if *address == resolved.to_string() { String::new() } else { format!(" ({resolved})") }
    )]
    NotLoopback { address: String, resolved: SocketAddr },
    #[error("the name in {address} has no IP address; correct the name, or give an IP address")]
    NoAddress { address: String },
    #[error("nothing answers at {address} within {after:?}; check that the program there is running")]
    TimedOut { address: PlainAddress, after: Duration },
    #[error("the name in {address} can not be resolved; correct the name, or give an IP address")]
    NotResolved { address: String, source: io::Error },
    #[error("can not connect to {address} without TLS; check that the program there is running")]
    NotConnected { address: PlainAddress, source: io::Error },
    #[error("can not listen at {address}; {}", remedy(source.kind()))]
    NotBound { address: PlainAddress, source: io::Error },
    #[error("{target} is the address of this command itself; give {remedy}")]
    Own { target: String, remedy: &'static str },
}

/// What to do if an address can not be bound.
fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrNotAvailable => "give an address of this machine",
        io::ErrorKind::NotFound => "create the directory of the socket",
        io::ErrorKind::PermissionDenied => "let the user of this command use it, or give another address",
        _ => "stop the program that uses it, or give another address",
    }
}

impl PlainError {
    /// Whether the user must give another address.
    pub(crate) fn is_of_usage(&self) -> bool {
        matches!(self, Self::NotLoopback { .. } | Self::NoAddress { .. } | Self::Own { .. })
    }
}

/// How long connecting without TLS may take. The target is on the same machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause before a Unix socket with a full queue is tried again.
const FULL_QUEUE: Duration = Duration::from_millis(5);

impl PlainAddress {
    /// Resolves an address. Fails if one of the results is not a loopback address, unless the network may be used.
    async fn resolve(address: &str, may_leave_host: bool) -> Result<Vec<SocketAddr>, PlainError> {
        let found = lookup_host(address)
            .await
            .map_err(|source| PlainError::NotResolved { address: address.to_owned(), source })?;
        let found: Vec<_> = found.collect();
        let outside = found.iter().find(|found| !found.ip().to_canonical().is_loopback());
        match (outside, &*found) {
            (_, []) => Err(PlainError::NoAddress { address: address.to_owned() }),
            (Some(resolved), _) if !may_leave_host => {
                Err(PlainError::NotLoopback { address: address.to_owned(), resolved: *resolved })
            }
            _ => Ok(found),
        }
    }

    /// Fails if the address may not be used without TLS. Returns the addresses to which it resolves.
    pub(crate) async fn check(&self, may_leave_host: bool) -> Result<Vec<SocketAddr>, PlainError> {
        match self {
            Self::Tcp(address) => Self::resolve(address, may_leave_host).await,
            Self::Unix(_) => Ok(Vec::new()),
        }
    }

    /// Whether connecting to `target` would lead to the one who listens here.
    pub(crate) fn is_own(listening: SocketAddr, target: &SocketAddr) -> bool {
        let (ours, theirs) = (listening.ip().to_canonical(), target.ip().to_canonical());
        listening.port() == target.port() && (ours == theirs || ours.is_unspecified() && theirs.is_loopback())
    }

    pub(crate) async fn connect(&self, may_leave_host: bool) -> Result<PlainStream, PlainError> {
        let failed = |source| PlainError::NotConnected { address: self.clone(), source };
        let connecting = async {
            match self {
                Self::Tcp(address) => {
                    let found = Self::resolve(address, may_leave_host).await?;
                    let tcp = TcpStream::connect(&*found).await.map_err(failed)?;
                    prepare(&tcp).map_err(failed)?;
                    Ok(Either::Left(tcp))
                }
                Self::Unix(path) => loop {
                    match UnixStream::connect(path).await {
                        // The queue of the socket is full. With TCP, the system would wait.
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(FULL_QUEUE).await,
                        connected => return Ok(Either::Right(connected.map_err(failed)?)),
                    }
                },
            }
        };
        let timed_out = |_| PlainError::TimedOut { address: self.clone(), after: CONNECT_TIMEOUT };
        timeout(CONNECT_TIMEOUT, connecting).await.map_err(timed_out)?
    }
}

impl FromStr for PlainAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("a Unix socket has the form unix:PATH".to_owned()),
            Some(path) => match UnixAddress::from_pathname(path) {
                Ok(_) => Ok(Self::Unix(path.into())),
                Err(_) => {
                    Err("the path of a Unix socket has at most 107 bytes; give a shorter one".to_owned())
                }
            },
            None => options::address(text)
                .map(Self::Tcp)
                .map_err(|error| format!("{error}, and a Unix socket the form unix:PATH")),
        }
    }
}

impl fmt::Display for PlainAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The most bytes that are discarded before a connection is closed.
const MAX_DISCARDED: usize = 64 * 1024;

/// Prepares a new connection: if it is closed, or if this process is killed, it ends by a reset. Otherwise the program
/// at the other end could believe that it has received all data. A Unix socket has no reset.
fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    Ok(set_socket_linger(tcp, Some(Duration::ZERO))?)
}

/// Lets a connection end in order when it is closed, which is to follow.
pub(super) fn end_in_order(stream: &PlainStream) {
    if let Either::Left(tcp) = stream {
        // Closing with unread data would be a reset.
        let mut unread = [0; 4096];
        for _ in 0..MAX_DISCARDED / unread.len() {
            if !tcp.try_read(&mut unread).is_ok_and(|length| length == unread.len()) {
                break;
            }
        }
        // If this fails, the connection ends by a reset.
        let _ = set_socket_linger(tcp, None);
    }
}

/// The error of a connection, such as a reset, that no read or write has returned yet.
pub(crate) fn take_error(stream: &PlainStream) -> io::Result<Option<io::Error>> {
    match stream {
        Either::Left(tcp) => tcp.take_error(),
        Either::Right(unix) => unix.take_error(),
    }
}

/// Accepts connections without TLS.
pub(crate) struct PlainListener {
    listener: Either<TcpListener, SocketFile>,
    allowed_users: Vec<u32>,
}

/// A listening Unix socket. Its file is removed when it is dropped.
struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// The device and the number of the file.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have bound the path since.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// The user of a program that may not connect.
#[derive(Debug, Error)]
#[error("the user with UID {uid} may not connect; allow it with --allow-uid {uid}")]
pub(crate) struct WrongUser {
    pub(crate) uid: u32,
}

impl PlainListener {
    /// Binds the address. Only the allowed users may connect to a Unix socket. If there are none, our own user and root
    /// may.
    pub(crate) async fn bind(
        address: &PlainAddress,
        may_leave_host: bool,
        allowed_users: &[u32],
    ) -> Result<Self, PlainError> {
        let failed = |source| PlainError::NotBound { address: address.clone(), source };
        let listener = match address {
            PlainAddress::Tcp(text) => {
                let found = PlainAddress::resolve(text, may_leave_host).await?;
                Either::Left(TcpListener::bind(&*found).await.map_err(failed)?)
            }
            PlainAddress::Unix(path) => {
                let mode = if allowed_users.is_empty() { 0o600 } else { 0o666 };
                let listener = bind_socket(path).map_err(failed)?;
                let identity = identity(path).map_err(failed)?;
                let file = SocketFile { listener, path: path.clone(), identity };
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
                Either::Right(file)
            }
        };
        Ok(Self { listener, allowed_users: allowed_users.to_owned() })
    }

    /// Fails if one of these targets, most often names with a port, leads back here.
    pub(crate) async fn check_targets(&self, targets: &[&str]) -> Result<(), PlainError> {
        let Either::Left(tcp) = &self.listener else { return Ok(()) };
        let Ok(listening) = tcp.local_addr() else { return Ok(()) };
        for target in targets {
            // A name that can not be resolved now is the dialer's affair.
            let found = lookup_host(target).await.into_iter().flatten();
            if found.into_iter().any(|found| PlainAddress::is_own(listening, &found)) {
                let remedy =
                    "the address of a Typha with --connect, --dns, --kubernetes-service or TyphaAddr";
                return Err(PlainError::Own { target: (*target).to_owned(), remedy });
            }
        }
        Ok(())
    }

    /// The address in use, with the port that the system chose.
    pub(crate) fn address(&self) -> io::Result<PlainAddress> {
        match &self.listener {
            Either::Left(tcp) => Ok(PlainAddress::Tcp(tcp.local_addr()?.to_string())),
            Either::Right(file) => Ok(PlainAddress::Unix(file.path.clone())),
        }
    }

    /// The next connection, or the user that may not connect.
    pub(crate) async fn accept(&self) -> io::Result<Result<PlainStream, WrongUser>> {
        match &self.listener {
            Either::Left(tcp) => {
                let (tcp, _) = tcp.accept().await?;
                // If this fails, the connection has already ended, and reading will report that.
                let _ = prepare(&tcp);
                Ok(Ok(Either::Left(tcp)))
            }
            Either::Right(file) => {
                let (unix, _) = file.listener.accept().await?;
                let uid = unix.peer_cred()?.uid();
                match self.allowed_users.is_empty() || self.allowed_users.contains(&uid) {
                    true => Ok(Ok(Either::Right(unix))),
                    false => Ok(Err(WrongUser { uid })),
                }
            }
        }
    }
}

/// Binds a Unix socket to which only our own user and root can connect. Replaces a socket file if no program listens at
/// it any more.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    // This check uses a socket of another type, so that a program that listens gets no connection.
    if is_socket
        && let Err(error) = UnixDatagram::unbound()?.connect(path)
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        fs::remove_file(path)?;
    }
    // Nobody else may connect before the mode is set.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    bound
}

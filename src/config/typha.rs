//! Typha's parameters.

use std::time::Duration;

use super::error::{ConfigError, SetupError};
use super::following::source;
use super::parameters::{TlsParameters, TlsSettings, unusable};
use super::sources::Sources;
use crate::TyphaAcceptor;
use crate::listener::{ListenerLimits, TyphaListener, TyphaListenerBuilder};
use crate::reload::{FileSource, ReloadOptions};
use crate::stream::Timeouts;

/// Typha's parameters. [`Default`] has Calico's defaults: TLS is not configured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TyphaConfig {
    /// `CAFile`, `ServerCertFile`, `ServerKeyFile`, `ClientCN`, `ClientURISAN`; `None` if none of them is set.
    pub tls: Option<TlsSettings>,
    /// `ServerHost`: the address to listen on; `None` for all.
    pub server_host: Option<String>,
    /// `ServerPort`: the port to listen on; 5473 by default.
    pub server_port: u16,
    /// `ServerHandshakeTimeoutSecs`: the bound on a whole handshake; 10 s by default.
    pub handshake_timeout: Duration,
    /// `ServerWriteTimeoutSecs`: a write that makes no progress for this long ends the connection; 120 s by default,
    /// `None` for no bound.
    pub write_timeout: Option<Duration>,
    /// `MaxConnectionsUpperLimit`: connections in service, at most, beyond which new ones are shed; 10,000 by default.
    pub max_connections_upper_limit: u32,
    /// `MaxConnectionsLowerLimit`: rebalancing does not go below it; 400 by default.
    pub max_connections_lower_limit: u32,
    /// `ConnectionDropIntervalSecs`: the pace at which rebalancing drops connections; 1 s by default.
    pub connection_drop_interval: Duration,
    /// `ShutdownTimeoutSecs`: the time that a graceful shutdown may take; 300 s by default.
    pub shutdown_timeout: Duration,
    /// `ShutdownConnectionDropIntervalMaxSecs`: the slowest pace at which a graceful shutdown drops connections; 1 s by
    /// default.
    pub shutdown_connection_drop_interval_max: Duration,
    /// What it was loaded from; `None` if the program made this.
    sources: Option<Sources>,
}

const DEFAULT_PORT: u16 = 5473;

const TLS: TlsParameters = TlsParameters {
    ca_file: "CAFile",
    cert_file: "ServerCertFile",
    key_file: "ServerKeyFile",
    common_name: "ClientCN",
    uri_san: "ClientURISAN",
    either_name: "ClientCN or ClientURISAN",
};

const HOST: &str = "ServerHost";
const PORT: &str = "ServerPort";
const HANDSHAKE_TIMEOUT: &str = "ServerHandshakeTimeoutSecs";
const WRITE_TIMEOUT: &str = "ServerWriteTimeoutSecs";
const UPPER_LIMIT: &str = "MaxConnectionsUpperLimit";
const LOWER_LIMIT: &str = "MaxConnectionsLowerLimit";
const DROP_INTERVAL: &str = "ConnectionDropIntervalSecs";
const SHUTDOWN_TIMEOUT: &str = "ShutdownTimeoutSecs";
const SHUTDOWN_INTERVAL: &str = "ShutdownConnectionDropIntervalMaxSecs";

const KNOWN: &[&str] = &[
    TLS.ca_file,
    TLS.cert_file,
    TLS.key_file,
    TLS.common_name,
    TLS.uri_san,
    HOST,
    PORT,
    HANDSHAKE_TIMEOUT,
    WRITE_TIMEOUT,
    UPPER_LIMIT,
    LOWER_LIMIT,
    DROP_INTERVAL,
    SHUTDOWN_TIMEOUT,
    SHUTDOWN_INTERVAL,
];

impl Default for TyphaConfig {
    fn default() -> Self {
        Self {
            tls: None,
            server_host: None,
            server_port: DEFAULT_PORT,
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Timeouts::TYPHA.write,
            max_connections_upper_limit: 10_000,
            max_connections_lower_limit: 400,
            connection_drop_interval: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(300),
            shutdown_connection_drop_interval_max: Duration::from_secs(1),
            sources: None,
        }
    }
}

impl TyphaConfig {
    /// Reads the parameters.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with the parameter, its source and its value. Nothing is replaced by a default.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let resolved = sources.resolve(KNOWN)?;
        let defaults = Self::default();
        let server_port = match resolved.integer(PORT, 0..=65_535, DEFAULT_PORT.into())?.try_into() {
            Ok(0) | Err(_) => DEFAULT_PORT,
            Ok(port) => port,
        };
        let count = |name, default| resolved.integer(name, 1..=u32::MAX, default);
        Ok(Self {
            tls: TLS.read(&resolved, sources)?,
            server_host: match resolved.text(HOST) {
                Some(host) if !is_host(&host.value) => {
                    return Err(unusable(HOST, host, "it is neither an IP address nor a host name"));
                }
                host => host.map(|host| host.value.clone()),
            },
            server_port,
            handshake_timeout: resolved.positive_seconds(HANDSHAKE_TIMEOUT, defaults.handshake_timeout)?,
            write_timeout: resolved.optional_seconds(WRITE_TIMEOUT, defaults.write_timeout)?,
            max_connections_upper_limit: count(UPPER_LIMIT, defaults.max_connections_upper_limit)?,
            max_connections_lower_limit: count(LOWER_LIMIT, defaults.max_connections_lower_limit)?,
            connection_drop_interval: resolved
                .positive_seconds(DROP_INTERVAL, defaults.connection_drop_interval)?,
            shutdown_timeout: resolved.seconds(SHUTDOWN_TIMEOUT, defaults.shutdown_timeout)?,
            shutdown_connection_drop_interval_max: resolved
                .seconds(SHUTDOWN_INTERVAL, defaults.shutdown_connection_drop_interval_max)?,
            sources: Some(sources.clone()),
        })
    }

    /// Host and port to listen on, as `TcpListener::bind` takes them. All addresses of both families are `::`.
    pub fn listen_address(&self) -> (&str, u16) {
        (self.server_host.as_deref().unwrap_or("::"), self.server_port)
    }

    /// Reads the files and makes the acceptor. It does not follow them by itself:
    /// `acceptor.follow(config.source(), ReloadOptions::default())` does, as long as what that returns is kept.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: [`TlsNotConfigured`](SetupError::TlsNotConfigured), or the file and what is wrong in it. A
    /// daemon that also serves plain text looks at [`tls`](Self::tls) first.
    pub fn acceptor(&self) -> Result<TyphaAcceptor, SetupError> {
        Ok(TyphaAcceptor::new(TLS.load(self.tls.as_ref())?)
            .with_handshake_timeout(self.handshake_timeout)
            .with_write_timeout(self.write_timeout))
    }

    /// Listens on the [`listen_address`](Self::listen_address), as the [`listener`](Self::listener) with nothing else
    /// set.
    ///
    /// # Errors
    ///
    /// As [`acceptor`](Self::acceptor); [`SetupError::Listen`] if the address can not be listened on.
    pub async fn listen(&self) -> Result<TyphaListener, SetupError> {
        self.listener()?.bind(self.listen_address()).await.map_err(SetupError::Listen)
    }

    /// Reads the files and makes what a listener is made of: the [acceptor](Self::acceptor), and limits as the
    /// parameters say. [`bind`](TyphaListenerBuilder::bind) it to the [`listen_address`](Self::listen_address). The
    /// listener then follows the [`source`](Self::source) of this configuration;
    /// [`without_reload`](TyphaListenerBuilder::without_reload) turns that off.
    ///
    /// # Errors
    ///
    /// As [`acceptor`](Self::acceptor).
    pub fn listener(&self) -> Result<TyphaListenerBuilder, SetupError> {
        let builder = TyphaListener::builder(self.acceptor()?).limits(self.limits());
        Ok(builder.follow(self.source(), ReloadOptions::default()))
    }

    /// The source that a [`Reloader`](crate::reload::Reloader) follows: these parameters and the files that they name.
    ///
    /// Each look reads the configuration file anew, and then the files that it names. A changed required identity or
    /// file name comes into force, too. The environment and the values that the program sets stay what they were when
    /// the [`Sources`] were made. All other parameters (ports, limits, timeouts) need a restart, but a bad one keeps
    /// anything new from coming into force.
    ///
    /// What is no parameter of Calico stays as it is here: revocation lists and their policy, the TLS policy. So does
    /// what the program itself changed here: another required identity, the name of a file. A configuration that was
    /// not loaded has no parameters to follow, only its files.
    ///
    /// # Security
    ///
    /// If the parameters no longer configure TLS, that is an error, and the configuration in force stays: nothing ever
    /// turns into plain text. So is a configuration file that exists at this call and is gone later.
    pub fn source(&self) -> FileSource {
        let load = |sources: &Sources| Ok(Self::load(sources)?.tls);
        source("Typha's parameters and files", TLS.ca_file, self.sources.as_ref(), load, self.tls.clone())
    }

    /// How much a listener takes on, as the parameters say.
    pub fn limits(&self) -> ListenerLimits {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        ListenerLimits {
            connections: count(self.max_connections_upper_limit),
            connections_lower: count(self.max_connections_lower_limit),
            drop_interval: self.connection_drop_interval,
            shutdown_timeout: self.shutdown_timeout,
            shutdown_drop_interval_max: self.shutdown_connection_drop_interval_max,
            ..ListenerLimits::default()
        }
    }
}

/// What Calico takes for a host address.
fn is_host(host: &str) -> bool {
    host.len() <= 64 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b":._+-".contains(&b))
}

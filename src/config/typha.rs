//! Typha's parameters.

use std::time::Duration;

use super::error::{ConfigError, SetupError};
use super::following::source;
use super::names::TYPHA_TLS as TLS;
use super::parameters::{TlsSettings, unusable};
use super::sources::{Resolved, Sources};
use super::warning::{self, ConfigWarning};
use crate::TyphaAcceptor;
use crate::listener::{ListenerLimits, TyphaListener, TyphaListenerBuilder};
use crate::reload::{FileSource, ReloadOptions};
use crate::role::Role;
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
    /// `MaxConnectionsUpperLimit`: the most connections in service; new ones beyond it are shed; 10,000 by default.
    pub max_connections_upper_limit: u32,
    /// `MaxConnectionsLowerLimit`: rebalancing keeps at least this many connections; 400 by default.
    pub max_connections_lower_limit: u32,
    /// `ConnectionDropIntervalSecs`: the pace at which rebalancing drops connections; 1 s by default.
    pub connection_drop_interval: Duration,
    /// `ShutdownTimeoutSecs`: the time that a graceful shutdown may take; 300 s by default.
    pub shutdown_timeout: Duration,
    /// `ShutdownConnectionDropIntervalMaxSecs`: the slowest pace at which a graceful shutdown drops connections; 1 s by
    /// default.
    pub shutdown_connection_drop_interval_max: Duration,
    /// The sources that it was loaded from; `None` if the program built it.
    sources: Option<Sources>,
    warnings: Vec<ConfigWarning>,
}

const DEFAULT_PORT: u16 = 5473;

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
            warnings: Vec::new(),
        }
    }
}

impl TyphaConfig {
    /// Reads the parameters. Logs the [`warnings`](Self::warnings), also before an error.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with the parameter, its source and its value. No default replaces a value that can not be used.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let resolved = sources.resolve(Role::Typha, KNOWN)?;
        warning::log(&resolved.warnings);
        Self::parse(&resolved, sources)
    }

    fn parse(resolved: &Resolved, sources: &Sources) -> Result<Self, ConfigError> {
        let defaults = Self::default();
        let server_port = match resolved.integer(PORT, 0..=65_535, DEFAULT_PORT.into())?.try_into() {
            Ok(0) | Err(_) => DEFAULT_PORT,
            Ok(port) => port,
        };
        let count = |name, default| resolved.integer(name, 1..=u32::MAX, default);
        Ok(Self {
            tls: TLS.read(resolved, sources)?,
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
            warnings: resolved.warnings.clone(),
        })
    }

    /// Settings that have no effect, although they were probably meant to: a misspelt name, or a name in a place where
    /// it does not count. A program that also runs without TLS should show them, because a misspelt name can leave TLS
    /// unconfigured. Empty for a configuration that was not loaded.
    pub fn warnings(&self) -> &[ConfigWarning] {
        &self.warnings
    }

    /// Host and port to listen on, as `TcpListener::bind` takes them. `::` stands for all addresses of both families.
    pub fn listen_address(&self) -> (&str, u16) {
        (self.server_host.as_deref().unwrap_or("::"), self.server_port)
    }

    /// Reads the files and makes the acceptor. The acceptor does not follow the files by itself.
    /// `acceptor.follow(config.source(), ReloadOptions::default())` does, as long as the returned reloader is kept.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: [`TlsNotConfigured`](SetupError::TlsNotConfigured), or the file and its problem. A daemon that
    /// also serves plain text checks [`tls`](Self::tls) first.
    pub fn acceptor(&self) -> Result<TyphaAcceptor, SetupError> {
        Ok(TyphaAcceptor::new(TLS.load(self.tls.as_ref())?)
            .with_handshake_timeout(self.handshake_timeout)
            .with_write_timeout(self.write_timeout))
    }

    /// Listens on the [`listen_address`](Self::listen_address) with a [`listener`](Self::listener) without further
    /// settings.
    ///
    /// # Errors
    ///
    /// As [`acceptor`](Self::acceptor); [`SetupError::Listen`] if the address can not be listened on.
    pub async fn listen(&self) -> Result<TyphaListener, SetupError> {
        self.listener()?.bind(self.listen_address()).await.map_err(SetupError::Listen)
    }

    /// Reads the files and makes the builder of a listener, with the [acceptor](Self::acceptor) and the limits of the
    /// parameters. [`bind`](TyphaListenerBuilder::bind) it to the [`listen_address`](Self::listen_address). The
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
    /// Each load reads the configuration file again, and then the files that it names. A changed required identity or
    /// file name takes effect, too. The environment and the values that the program sets keep the state of the moment
    /// when the [`Sources`] were made. All other parameters (ports, limits, timeouts) need a restart. While one of them
    /// can not be used, no change takes effect.
    ///
    /// Settings that are no parameters of Calico stay as they are here: revocation lists, their policy, and the TLS
    /// policy. Settings that the program changed here, such as the required identity or a file name, stay as well. A
    /// configuration that was not loaded has no parameters to follow, only its files.
    ///
    /// # Security
    ///
    /// A reload never turns TLS into plain text. If the parameters no longer configure TLS, the load fails and the
    /// configuration in force stays. It also fails if the configuration file exists at this call and is gone later.
    pub fn source(&self) -> FileSource {
        // The warnings were logged by the first load.
        let load = |sources: &Sources| Ok(Self::parse(&sources.resolve(Role::Typha, KNOWN)?, sources)?.tls);
        source("Typha's parameters and files", TLS.ca_file, self.sources.as_ref(), load, self.tls.clone())
    }

    /// The limits of a listener, from the parameters.
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

/// The host addresses that Calico accepts.
fn is_host(host: &str) -> bool {
    host.len() <= 64 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b":._+-".contains(&b))
}

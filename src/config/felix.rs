//! Felix's parameters.

use std::time::Duration;

use super::error::{ConfigError, SetupError};
use super::following::source;
use super::names::FELIX_TLS as TLS;
use super::parameters::{TlsSettings, unusable};
use super::sources::{Resolved, Sources};
use super::warning::{self, ConfigWarning};
use crate::FelixConnector;
use crate::dialer::{DnsEndpoints, EndpointSource, FelixDialer, HostPort};
use crate::reload::{FileSource, ReloadOptions};
use crate::role::Role;
use crate::stream::Timeouts;

/// Felix's parameters for its connection to Typha. [`Default`] has Calico's defaults: neither TLS nor an endpoint is
/// configured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FelixConfig {
    /// `TyphaCAFile`, `TyphaCertFile`, `TyphaKeyFile`, `TyphaCN`, `TyphaURISAN`; `None` if none of them is set.
    pub tls: Option<TlsSettings>,
    /// `TyphaAddr`: `host:port` of Typha. Takes precedence over the service.
    pub typha_addr: Option<String>,
    /// `TyphaK8sServiceName`: the Kubernetes service of the Typhas.
    pub typha_k8s_service_name: Option<String>,
    /// `TyphaK8sNamespace`: the namespace of that service; `kube-system` by default.
    pub typha_k8s_namespace: String,
    /// `TyphaReadTimeout`: a read that receives nothing for this long ends the connection; 30 s by default, `None` for
    /// no bound.
    pub read_timeout: Option<Duration>,
    /// `TyphaWriteTimeout`: a write that makes no progress for this long ends the connection; 10 s by default, `None`
    /// for no bound.
    pub write_timeout: Option<Duration>,
    /// `FelixHostname`: the name of our Kubernetes node, whose Typhas are tried first. The default `None` means the
    /// system's host name in lower case, as in Calico. That equals the node name in most clusters; elsewhere no Typha
    /// is preferred.
    pub felix_hostname: Option<String>,
    /// The sources that it was loaded from; `None` if the program built it.
    sources: Option<Sources>,
    warnings: Vec<ConfigWarning>,
}

const ADDRESS: &str = "TyphaAddr";
const SERVICE_NAME: &str = "TyphaK8sServiceName";
const NAMESPACE: &str = "TyphaK8sNamespace";
const READ_TIMEOUT: &str = "TyphaReadTimeout";
const WRITE_TIMEOUT: &str = "TyphaWriteTimeout";
const HOSTNAME: &str = "FelixHostname";

/// Parameters of Typha that users set on Felix because of an error in Calico's documentation, and the correct ones.
const OF_TYPHA: [(&str, &str); 2] = [("ClientCN", "TyphaCN"), ("ClientURISAN", "TyphaURISAN")];

const KNOWN: &[&str] = &[
    TLS.ca_file,
    TLS.cert_file,
    TLS.key_file,
    TLS.common_name,
    TLS.uri_san,
    ADDRESS,
    SERVICE_NAME,
    NAMESPACE,
    READ_TIMEOUT,
    WRITE_TIMEOUT,
    HOSTNAME,
    "ClientCN",
    "ClientURISAN",
];

impl Default for FelixConfig {
    fn default() -> Self {
        Self {
            tls: None,
            typha_addr: None,
            typha_k8s_service_name: None,
            typha_k8s_namespace: "kube-system".to_owned(),
            read_timeout: Timeouts::FELIX.read,
            write_timeout: Timeouts::FELIX.write,
            felix_hostname: None,
            sources: None,
            warnings: Vec::new(),
        }
    }
}

impl FelixConfig {
    /// Reads the parameters. Logs the [`warnings`](Self::warnings), also before an error.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with the parameter, its source and its value. No default replaces a value that can not be used.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let resolved = sources.resolve(Role::Felix, KNOWN)?;
        warning::log(&resolved.warnings);
        Self::parse(&resolved, sources)
    }

    fn parse(resolved: &Resolved, sources: &Sources) -> Result<Self, ConfigError> {
        let defaults = Self::default();
        for (parameter, instead) in OF_TYPHA {
            if let Some(setting) = resolved.text(parameter) {
                let source_of_value = setting.source.clone();
                return Err(ConfigError::WrongEnd { parameter, source_of_value, instead });
            }
        }
        let value = |parameter| resolved.text(parameter).map(|setting| setting.value.clone());
        Ok(Self {
            tls: TLS.read(resolved, sources)?,
            typha_addr: match resolved.text(ADDRESS) {
                Some(address) if address.value.parse::<HostPort>().is_err() => {
                    return Err(unusable(ADDRESS, address, "it is not of the form host:port"));
                }
                address => address.map(|address| address.value.clone()),
            },
            typha_k8s_service_name: value(SERVICE_NAME),
            typha_k8s_namespace: match resolved.get(NAMESPACE) {
                None => defaults.typha_k8s_namespace,
                Some(_) => value(NAMESPACE).unwrap_or_default(),
            },
            read_timeout: resolved.optional_seconds(READ_TIMEOUT, defaults.read_timeout)?,
            write_timeout: resolved.optional_seconds(WRITE_TIMEOUT, defaults.write_timeout)?,
            felix_hostname: match resolved.text(HOSTNAME) {
                Some(name) if !is_host_name(&name.value) => {
                    let problem = "it may have letters, digits, `_`, `.` and `-` only";
                    return Err(unusable(HOSTNAME, name, problem));
                }
                name => name.map(|name| name.value.clone()),
            },
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

    /// Reads the files and makes the connector. The connector does not follow the files by itself.
    /// `connector.follow(config.source(), ReloadOptions::default())` does, as long as the returned reloader is kept.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: [`TlsNotConfigured`](SetupError::TlsNotConfigured), or the file and its problem. A daemon that
    /// also speaks plain text checks [`tls`](Self::tls) first.
    pub fn connector(&self) -> Result<FelixConnector, SetupError> {
        Ok(FelixConnector::new(TLS.load(self.tls.as_ref())?)
            .with_read_timeout(self.read_timeout)
            .with_write_timeout(self.write_timeout))
    }

    /// Makes a dialer for all addresses to which the name in `TyphaAddr` resolves. It prefers the Typha on the node
    /// `FelixHostname`. From its first connect on it follows the [`source`](Self::source) of this configuration;
    /// [`without_reload`](FelixDialer::without_reload) turns that off.
    ///
    /// `TyphaK8sServiceName` needs the package `typha-tls-kubernetes`. Its function `dialer` takes this configuration.
    ///
    /// # Errors
    ///
    /// As [`connector`](Self::connector); [`SetupError::KubernetesService`] if only `TyphaK8sServiceName` is set;
    /// [`SetupError::NoEndpoint`] if no parameter gives the address of Typha.
    pub fn dialer(&self) -> Result<FelixDialer, SetupError> {
        let connector = self.connector()?;
        match (&self.typha_addr, &self.typha_k8s_service_name) {
            (Some(address), _) => Ok(self.dialer_of(connector, DnsEndpoints::new(address)?)),
            (None, Some(service)) => Err(SetupError::KubernetesService {
                namespace: self.typha_k8s_namespace.clone(),
                service: service.clone(),
            }),
            (None, None) => Err(SetupError::NoEndpoint),
        }
    }

    /// Makes a dialer for the Typhas that `source` finds. It ignores `TyphaAddr` and `TyphaK8sServiceName`. Otherwise
    /// it is the same as [`dialer`](Self::dialer).
    ///
    /// # Errors
    ///
    /// As [`connector`](Self::connector).
    pub fn dialer_with(&self, source: impl EndpointSource + 'static) -> Result<FelixDialer, SetupError> {
        Ok(self.dialer_of(self.connector()?, source))
    }

    /// The source that a [`Reloader`](crate::reload::Reloader) follows: these parameters and the files that they name.
    /// [`TyphaConfig::source`](super::TyphaConfig::source) documents which changes it follows.
    ///
    /// # Security
    ///
    /// As there: a reload never turns TLS into plain text.
    pub fn source(&self) -> FileSource {
        // The warnings were logged by the first load.
        let load = |sources: &Sources| Ok(Self::parse(&sources.resolve(Role::Felix, KNOWN)?, sources)?.tls);
        source("Felix's parameters and files", TLS.ca_file, self.sources.as_ref(), load, self.tls.clone())
    }

    fn dialer_of(&self, connector: FelixConnector, source: impl EndpointSource + 'static) -> FelixDialer {
        let node_name = self.felix_hostname.clone().unwrap_or_else(system_host_name);
        let dialer = FelixDialer::new(connector, source).with_node_name(node_name);
        dialer.follow(self.source(), ReloadOptions::default())
    }
}

/// The host names that Calico accepts.
fn is_host_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// The system's host name in lower case, as in Calico. Names of Kubernetes nodes are in lower case.
fn system_host_name() -> String {
    gethostname::gethostname().to_string_lossy().trim().to_lowercase()
}

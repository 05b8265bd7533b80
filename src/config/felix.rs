//! Felix's parameters.

use std::time::Duration;

use super::error::{ConfigError, SetupError};
use super::parameters::{TlsParameters, TlsSettings, optional_seconds, text, unusable};
use super::sources::Sources;
use crate::FelixConnector;
use crate::snapshot::FelixSnapshot;
use crate::stream::StreamTimeouts;

/// Felix's parameters for its connection to Typha. [`Default`] has Calico's defaults: neither TLS nor an endpoint is
/// configured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FelixConfig {
    /// `TyphaCAFile`, `TyphaCertFile`, `TyphaKeyFile`, `TyphaCN`, `TyphaURISAN`; `None` if none of them is set.
    pub tls: Option<TlsSettings>,
    /// `TyphaAddr`: `host:port` of Typha. Wins over the service.
    pub typha_addr: Option<String>,
    /// `TyphaK8sServiceName`: the Kubernetes service of the Typhas.
    pub typha_k8s_service_name: Option<String>,
    /// `TyphaK8sNamespace`: the namespace of that service.
    pub typha_k8s_namespace: String,
    /// `TyphaReadTimeout`: a read that receives nothing for this long ends the connection.
    pub read_timeout: Option<Duration>,
    /// `TyphaWriteTimeout`: a write that makes no progress for this long ends the connection.
    pub write_timeout: Option<Duration>,
}

const TLS: TlsParameters = TlsParameters {
    ca_file: "TyphaCAFile",
    cert_file: "TyphaCertFile",
    key_file: "TyphaKeyFile",
    common_name: "TyphaCN",
    uri_san: "TyphaURISAN",
    either_name: "TyphaCN or TyphaURISAN",
};

const ADDRESS: &str = "TyphaAddr";
const SERVICE_NAME: &str = "TyphaK8sServiceName";
const NAMESPACE: &str = "TyphaK8sNamespace";
const READ_TIMEOUT: &str = "TyphaReadTimeout";
const WRITE_TIMEOUT: &str = "TyphaWriteTimeout";

/// Parameters of Typha that a slip in Calico's documentation makes people set on Felix, and those that they mean.
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
            read_timeout: Some(Duration::from_secs(30)),
            write_timeout: Some(Duration::from_secs(10)),
        }
    }
}

impl FelixConfig {
    /// Reads the parameters.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with the parameter, its source and its value. Nothing is replaced by a default.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let resolved = sources.resolve(KNOWN)?;
        let defaults = Self::default();
        for (parameter, instead) in OF_TYPHA {
            if let Some(setting) = text(&resolved, parameter) {
                let source_of_value = setting.source.clone();
                return Err(ConfigError::WrongEnd { parameter, source_of_value, instead });
            }
        }
        let value = |parameter| text(&resolved, parameter).map(|setting| setting.value.clone());
        Ok(Self {
            tls: TLS.read(&resolved, sources)?,
            typha_addr: match text(&resolved, ADDRESS) {
                Some(address) if !is_host_and_port(&address.value) => {
                    return Err(unusable(ADDRESS, address, "it is not of the form host:port"));
                }
                address => address.map(|address| address.value.clone()),
            },
            typha_k8s_service_name: value(SERVICE_NAME),
            typha_k8s_namespace: match resolved.get(NAMESPACE) {
                None => defaults.typha_k8s_namespace,
                Some(_) => value(NAMESPACE).unwrap_or_default(),
            },
            read_timeout: optional_seconds(&resolved, READ_TIMEOUT, defaults.read_timeout)?,
            write_timeout: optional_seconds(&resolved, WRITE_TIMEOUT, defaults.write_timeout)?,
        })
    }

    /// Whether there is an endpoint to connect to. This says nothing of TLS.
    pub fn has_endpoint(&self) -> bool {
        self.typha_addr.is_some() || self.typha_k8s_service_name.is_some()
    }

    /// Reads the files and makes the connector; `None` if TLS is not configured.
    ///
    /// # Errors
    ///
    /// [`SetupError`], with the file and what is wrong in it.
    ///
    /// # Security
    ///
    /// A daemon that goes on in plain text on `None` does so by its own decision.
    pub fn connector(&self) -> Result<Option<FelixConnector>, SetupError> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let snapshot = FelixSnapshot::new(&tls.load_material()?, tls.required_peer.clone(), &tls.policy)?;
        let connector = FelixConnector::new(snapshot)
            .with_stream_timeouts(StreamTimeouts::new(self.read_timeout, self.write_timeout));
        Ok(Some(connector))
    }
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let host_is_good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && !host.contains([':', '/', '[', ']'])
                && host.bytes().all(|b| b.is_ascii_graphic())
        }
    };
    host_is_good
        && port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

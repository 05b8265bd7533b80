//! Why parameters can not be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::dialer::InvalidAddress;
use crate::material::MaterialError;
use crate::text::Quoted;

/// Why parameters can not be used. The text names the parameter, where its value comes from, and the value.
///
/// The source of a value is `environment variable NAME`, `file PATH` or `program or command line`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two environment variables whose names differ only in case have different values.
    #[error(
        "the environment variables {first} and {second} set the same parameter to different values; unset one"
    )]
    Ambiguous {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The configuration file can not be read.
    #[error("the configuration file {} can not be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration file is not an INI file.
    #[error("the configuration file {} can not be parsed: {problem}", path.display())]
    FileSyntax {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        problem: String,
    },
    /// Some of the five TLS parameters are set, but not all that must be. The text contains Calico's.
    #[error(
        "if any Felix-Typha TLS config parameters are specified, they _all_ must be - except that either {names} may \
         be left unset; set {}, too, beside {}", missing.join(", "), set.join(", ")
    )]
    Incomplete {
        /// The two parameters of which one suffices: `ClientCN or ClientURISAN`.
        names: &'static str,
        /// The parameters that are set, each with its source.
        set: Vec<String>,
        /// The required parameters that are missing.
        missing: Vec<&'static str>,
    },
    /// No crypto provider is compiled in, or the policy can not be built for another reason.
    #[error(transparent)]
    Policy(#[from] crate::policy::PolicyError),
    /// The program set a parameter that does not exist.
    #[error("there is no parameter {}", Quoted(.0))]
    UnknownParameter(String),
    /// A value can not be used.
    #[error("the parameter {parameter} (from {source_of_value}) has the value {}: {problem}", Quoted(value))]
    Value {
        /// The parameter, by Calico's name.
        parameter: &'static str,
        /// Where the value comes from.
        source_of_value: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A parameter of Typha was set on Felix.
    #[error(
        "{parameter} (from {source_of_value}) is a parameter of Typha; on Felix, the identity that Typha must have is \
         set by {instead}"
    )]
    WrongEnd {
        /// The parameter that was set.
        parameter: &'static str,
        /// Where it was set.
        source_of_value: String,
        /// The parameter that was meant.
        instead: &'static str,
    },
}

/// Why a configuration can not become an acceptor, a listener, a connector or a dialer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The address of Typha that the program set can not be used.
    #[error("TyphaAddr can not be used: {0}")]
    Address(InvalidAddress),
    /// `TyphaK8sServiceName` is set. It needs the package `typha-tls-kubernetes`.
    #[error(
        "TyphaK8sServiceName is set (the service {} in the namespace {}), but this program can not ask Kubernetes: \
         set TyphaAddr, or build the program with the package typha-tls-kubernetes, whose `dialer(&config)` finds the \
         Typhas of a service",
        Quoted(service),
        Quoted(namespace)
    )]
    KubernetesService {
        /// `TyphaK8sNamespace`.
        namespace: String,
        /// `TyphaK8sServiceName`.
        service: String,
    },
    /// The listener can not listen on the address.
    #[error(transparent)]
    Listen(io::Error),
    /// A file can not be used.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// No parameter gives the address of Typha.
    #[error("there is no Typha to connect to; set TyphaAddr (host:port) or TyphaK8sServiceName")]
    NoEndpoint,
    /// None of the five TLS parameters is set.
    #[error("TLS is not configured; set {files}, and {names}")]
    TlsNotConfigured {
        /// The three parameters that name files: `CAFile, ServerCertFile, ServerKeyFile`.
        files: String,
        /// The two parameters of which one suffices: `ClientCN or ClientURISAN`.
        names: &'static str,
    },
}

impl From<InvalidAddress> for SetupError {
    fn from(error: InvalidAddress) -> Self {
        Self::Address(error)
    }
}

/// The value as errors may show it. It is hidden if it may be a private key, pasted in place of its file name.
pub(super) fn shown(value: &str) -> String {
    // A key is base64 or base64url, on one or several lines, with real or escaped line ends.
    let is_encoded = |b: u8| b.is_ascii_alphanumeric() || b.is_ascii_whitespace() || b"+/=-_\\".contains(&b);
    let is_long = value.len() >= 64 && !value.starts_with('/');
    let may_be_key = value.contains("-----") || (is_long && value.bytes().all(is_encoded));
    if may_be_key { "(not shown: it looks like a key)".to_owned() } else { value.to_owned() }
}

//! Why Calico's parameters for etcd can not be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use typha_tls::config::ConfigError;
use typha_tls::error::Quoted;

/// Why Calico's parameters for etcd can not be used. The text names the parameter, where its value comes from, and the
/// remedy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EtcdConfigError {
    /// An endpoint has the scheme `http`. Calico connects to it, ignores the files for TLS without a warning, and sends
    /// everything in the clear. Label: `clear_text`.
    #[error(
        "{parameter} (from {source_of_value}) has the endpoint {}: everything would be sent in the clear{}; {}",
        Quoted(endpoint),
        ignored(files),
        https(parameter)
    )]
    ClearText {
        /// The parameter with the endpoint.
        parameter: String,
        /// Where its value comes from.
        source_of_value: String,
        /// The endpoint.
        endpoint: String,
        /// The parameters for TLS that are set, and that Calico would ignore.
        files: Vec<String>,
    },
    /// `ETCD_DISCOVERY_SRV` is set. This library does not find endpoints by DNS SRV records. Label: `discovery`.
    #[error(
        "{parameter} (from {source_of_value}) is not supported; set the endpoints: `dig +short SRV \
         _etcd-client-ssl._tcp.DOMAIN` lists them"
    )]
    Discovery {
        /// The parameter.
        parameter: String,
        /// Where its value comes from.
        source_of_value: String,
    },
    /// The file with the parameters can not be used. Label: `file`.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate has no key, or a user has no password, or the other way round. Calico ignores a user without a
    /// password. Label: `incomplete`.
    #[error("{set} is set, but {missing} is not; set both, or neither")]
    Incomplete {
        /// The parameter that is set, with the source of its value.
        set: String,
        /// The parameter that is missing.
        missing: String,
    },
    /// Some endpoints have the scheme `https`, and others `http`. Label: `mixed_schemes`.
    #[error(
        "{parameter} (from {source_of_value}) mixes https:// and http://, and Calico uses the first one's scheme for all; \
         write https:// for all"
    )]
    MixedSchemes {
        /// The parameter.
        parameter: String,
        /// Where its value comes from.
        source_of_value: String,
    },
    /// There is no CA file. Calico would trust the CAs of the system. Label: `no_ca_file`.
    #[error(
        "{parameter} is not set, so that no CA is trusted; set it to the file of the CA that issued etcd's \
         certificate"
    )]
    NoCaFile {
        /// The parameter to set.
        parameter: String,
    },
    /// Nothing says where etcd is. Label: `no_endpoint`.
    #[error(
        "no parameter says where etcd is; set {parameter} to https://HOST:PORT; separate several by commas"
    )]
    NoEndpoint {
        /// The parameter to set.
        parameter: String,
    },
    /// The parameters can not be read. Label: `parameters`.
    #[error(transparent)]
    Parameters(#[from] ConfigError),
    /// A value can not be used. Label: `value`.
    #[error("{parameter} (from {source_of_value}) has the value {}: {problem}", Quoted(value))]
    Value {
        /// The parameter.
        parameter: String,
        /// Where the value comes from.
        source_of_value: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file does not exist or can not be read. Calico would act as if the parameter was not set. Label:
    /// `unreadable_file`.
    #[error(
        "{parameter} (from {source_of_value}): {} can not be read: {error}; correct the path or the permissions",
        path.display()
    )]
    UnreadableFile {
        /// The parameter.
        parameter: String,
        /// Where its value comes from.
        source_of_value: String,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl EtcdConfigError {
    /// A stable label for logs and metrics, such as `clear_text`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::ClearText { .. } => "clear_text",
            Self::Discovery { .. } => "discovery",
            Self::File { .. } => "file",
            Self::Incomplete { .. } => "incomplete",
            Self::MixedSchemes { .. } => "mixed_schemes",
            Self::NoCaFile { .. } => "no_ca_file",
            Self::NoEndpoint { .. } => "no_endpoint",
            Self::Parameters(_) => "parameters",
            Self::UnreadableFile { .. } => "unreadable_file",
            Self::Value { .. } => "value",
        }
    }
}

fn ignored(files: &[String]) -> String {
    match files {
        [] => String::new(),
        files => format!(", and {} would be ignored", files.join(", ")),
    }
}

/// How to get `https`: these parameters have no scheme of their own.
fn https(parameter: &str) -> &'static str {
    match parameter {
        "EtcdAddr" => "set EtcdScheme to https",
        "etcd_host" => "set etcd_ca_cert_file",
        _ => "write https://",
    }
}

//! The flags that several commands share.

use std::path::PathBuf;

use clap::Args;
use typha_tls::config::Sources;

/// The TLS parameters of Typha. They win over the environment (TYPHA_...) and the file.
#[derive(Args)]
pub(crate) struct TyphaOptions {
    /// INI file with Calico's parameters [default: /etc/calico/typha.cfg if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// PEM bundle of the CAs trusted for Felix (CAFile)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// PEM chain of this Typha, leaf first (ServerCertFile)
    #[arg(long, value_name = "FILE")]
    cert_file: Option<String>,
    /// PEM private key of this Typha (ServerKeyFile)
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
    /// Common Name that Felix must have (ClientCN)
    #[arg(long, value_name = "CN")]
    client_cn: Option<String>,
    /// URI SAN that Felix must have (ClientURISAN)
    #[arg(long, value_name = "URI")]
    client_uri_san: Option<String>,
}

impl TyphaOptions {
    pub(crate) fn sources(&self) -> Sources {
        sources(
            Sources::typha(),
            self.config.as_ref(),
            [
                ("CAFile", &self.ca_file),
                ("ServerCertFile", &self.cert_file),
                ("ServerKeyFile", &self.key_file),
                ("ClientCN", &self.client_cn),
                ("ClientURISAN", &self.client_uri_san),
            ],
        )
    }
}

/// The TLS parameters of Felix. They win over the environment (FELIX_...) and the file.
#[derive(Args)]
pub(crate) struct FelixOptions {
    /// INI file with Calico's parameters [default: /etc/calico/felix.cfg if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// PEM bundle of the CAs trusted for Typha (TyphaCAFile)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// PEM chain of this Felix, leaf first (TyphaCertFile)
    #[arg(long, value_name = "FILE")]
    cert_file: Option<String>,
    /// PEM private key of this Felix (TyphaKeyFile)
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
    /// Common Name that Typha must have (TyphaCN)
    #[arg(long, value_name = "CN")]
    typha_cn: Option<String>,
    /// URI SAN that Typha must have (TyphaURISAN)
    #[arg(long, value_name = "URI")]
    typha_uri_san: Option<String>,
}

impl FelixOptions {
    pub(crate) fn sources(&self) -> Sources {
        sources(
            Sources::felix(),
            self.config.as_ref(),
            [
                ("TyphaCAFile", &self.ca_file),
                ("TyphaCertFile", &self.cert_file),
                ("TyphaKeyFile", &self.key_file),
                ("TyphaCN", &self.typha_cn),
                ("TyphaURISAN", &self.typha_uri_san),
            ],
        )
    }
}

fn sources(base: Sources, file: Option<&PathBuf>, flags: [(&str, &Option<String>); 5]) -> Sources {
    let base = match file {
        Some(file) => base.with_file(file),
        None => base,
    };
    flags.into_iter().fold(base, |sources, (parameter, flag)| match flag {
        Some(value) => sources.with_value(parameter, value),
        None => sources,
    })
}

//! The flags that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use typha_tls::config::Sources;
use typha_tls::material::{RevocationPolicy, TlsFiles};

/// The TLS parameters of Typha. They take precedence over the environment (TYPHA_...) and the file.
#[derive(Args)]
pub(crate) struct TyphaOptions {
    /// INI file with Calico's parameters [default: /etc/calico/typha.cfg if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// PEM bundle of the CAs trusted for Felix (CAFile)
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    ca_file: Option<String>,
    /// PEM chain of this Typha, leaf first (ServerCertFile)
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    cert_file: Option<String>,
    /// PEM private key of this Typha (ServerKeyFile)
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    key_file: Option<String>,
    /// Common Name that Felix must have (ClientCN)
    #[arg(long, value_name = "CN", value_parser = NonEmptyStringValueParser::new())]
    client_cn: Option<String>,
    /// URI SAN that Felix must have (ClientURISAN)
    #[arg(long, value_name = "URI", value_parser = NonEmptyStringValueParser::new())]
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

/// The TLS parameters of Felix. They take precedence over the environment (FELIX_...) and the file.
#[derive(Args)]
pub(crate) struct FelixOptions {
    /// INI file with Calico's parameters [default: /etc/calico/felix.cfg if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// PEM bundle of the CAs trusted for Typha (TyphaCAFile)
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    ca_file: Option<String>,
    /// PEM chain of this Felix, leaf first (TyphaCertFile)
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    cert_file: Option<String>,
    /// PEM private key of this Felix (TyphaKeyFile)
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    key_file: Option<String>,
    /// Common Name that Typha must have (TyphaCN)
    #[arg(long, value_name = "CN", value_parser = NonEmptyStringValueParser::new())]
    typha_cn: Option<String>,
    /// URI SAN that Typha must have (TyphaURISAN)
    #[arg(long, value_name = "URI", value_parser = NonEmptyStringValueParser::new())]
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

/// The revocation lists for the other end, and their policy. Calico has no parameters for them.
#[derive(Args)]
pub(crate) struct RevocationOptions {
    /// Revocation lists of CAs of the other end, PEM or DER; may be given several times
    #[arg(long = "crl-file", value_name = "FILE")]
    crl_files: Vec<PathBuf>,
    /// Also refuse peers without a current list: each issuer in the chain needs a list that is not past its nextUpdate
    #[arg(long, requires = "crl_files")]
    crl_strict: bool,
    /// Look up only the leaf, not the intermediates
    #[arg(long, requires = "crl_files")]
    crl_leaf_only: bool,
}

impl RevocationOptions {
    pub(crate) fn apply(&self, files: &mut TlsFiles) {
        files.crl_files.clone_from(&self.crl_files);
        files.revocation = self.policy();
    }

    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.crl_files
    }

    pub(crate) fn policy(&self) -> RevocationPolicy {
        let mut policy =
            if self.crl_strict { RevocationPolicy::strict() } else { RevocationPolicy::default() };
        policy.leaf_only = self.crl_leaf_only;
        policy
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

/// Checks that an address has the form HOST:PORT; the host may be a name, or an IPv6 address in brackets.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("an address has the form HOST:PORT, such as 127.0.0.1:5473 or [::1]:5473".to_owned()),
    }
}

/// The longest time in seconds, more than thirty years.
const MOST_SECONDS: f64 = 1e9;

/// Parses a number of seconds up to the limit.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 =
        text.parse().map_err(|_| "it is no number of seconds, such as 10 or 0.5".to_owned())?;
    if seconds > MOST_SECONDS {
        return Err(format!("it must not be more than {MOST_SECONDS}"));
    }
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// As [`seconds`], but 0 is an error.
pub(crate) fn positive_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("it must be more than 0".to_owned()),
        seconds => Ok(seconds),
    }
}

/// Splits NAMESPACE/NAME.
pub(crate) fn service(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("a service has the form NAMESPACE/NAME, such as calico-system/calico-typha".to_owned()),
    }
}

//! Calico's parameters for etcd, for each component that has them.

use std::path::Path;

use ini::{Ini, ParseOption};
use serde::Deserialize;
use typha_tls::config::{ConfigError, Sources};
use typha_tls::host::HostTlsConfig;
use typha_tls::material::{HostTlsFiles, MaterialError};
use typha_tls::policy::TlsPolicy;

use crate::config_error::EtcdConfigError;
use crate::connector::EtcdConnector;
use crate::endpoint::EtcdEndpoint;
use crate::settings::{Checked, Found, Names, Settings};
use crate::user::EtcdUser;

/// Where etcd is and how to connect to it, by the parameters of one of Calico's components.
///
/// Whatever Calico would silently ignore is an error here: `http://`, files that do not exist, a certificate without its
/// key, no CA file.
///
/// ```no_run
/// use typha_tls::config::Sources;
/// use typha_tls_etcd::EtcdConfig;
///
/// let config = EtcdConfig::felix(&Sources::felix())?;
/// for endpoint in &config.endpoints {
///     println!("{endpoint} must present a certificate for {}", endpoint.host);
/// }
/// # Ok::<(), typha_tls_etcd::EtcdConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EtcdConfig {
    /// The members of etcd, at least one, each once.
    pub endpoints: Vec<EtcdEndpoint>,
    /// The CA that issued etcd's certificates, and our own certificate and key, if we have them.
    pub files: HostTlsFiles,
    /// TLS versions, cipher suites and groups. The application protocol is always `h2`.
    pub policy: TlsPolicy,
    /// The user, if one is configured. It wins over the Common Name of our certificate, also if it has fewer rights.
    pub user: Option<EtcdUser>,
}

/// The parameters of Felix and Typha.
const NAMES: Names = Names {
    endpoints: "EtcdEndpoints",
    ca_file: "EtcdCaFile",
    cert_file: "EtcdCertFile",
    key_file: "EtcdKeyFile",
};

/// The environment variables of calicoctl, kube-controllers and others.
const VARIABLES: Names = Names {
    endpoints: "ETCD_ENDPOINTS",
    ca_file: "ETCD_CA_CERT_FILE",
    cert_file: "ETCD_CERT_FILE",
    key_file: "ETCD_KEY_FILE",
};

/// The members of the CNI configuration.
const MEMBERS: Names = Names {
    endpoints: "etcd_endpoints",
    ca_file: "etcd_ca_cert_file",
    cert_file: "etcd_cert_file",
    key_file: "etcd_key_file",
};

/// The options of Neutron and the DHCP agent, in the section `[calico]`.
const OPTIONS: Names = Names {
    endpoints: "etcd_host",
    ca_file: "etcd_ca_cert_file",
    cert_file: "etcd_cert_file",
    key_file: "etcd_key_file",
};

/// The default of `EtcdAddr`.
const DEFAULT_ADDRESS: &str = "127.0.0.1:2379";

impl EtcdConfig {
    /// Reads Felix's parameters: `EtcdEndpoints`, `EtcdAddr`, `EtcdScheme`, `EtcdCaFile`, `EtcdCertFile`,
    /// `EtcdKeyFile`. For each one that is not set, the variables of [`environment`](Self::environment) count.
    ///
    /// `EtcdEndpoints` wins over `EtcdAddr`, and both over the environment. `EtcdScheme = https` alone uses the address
    /// `127.0.0.1:2379`.
    ///
    /// # Errors
    ///
    /// [`EtcdConfigError`].
    pub fn felix(sources: &Sources) -> Result<Self, EtcdConfigError> {
        let (own, scheme) = Settings::of_daemon(sources)?;
        let settings = own.or(Settings::of_environment(sources)?).or_default_address(scheme);
        Self::new(settings, &NAMES, sources)
    }

    /// Reads Typha's parameters, which have the names of [Felix's](Self::felix). Typha does not read the variables
    /// `ETCD_*`.
    ///
    /// # Errors
    ///
    /// [`EtcdConfigError`].
    pub fn typha(sources: &Sources) -> Result<Self, EtcdConfigError> {
        let (own, scheme) = Settings::of_daemon(sources)?;
        Self::new(own.or_default_address(scheme), &NAMES, sources)
    }

    /// Reads the environment variables of calicoctl and kube-controllers: `ETCD_ENDPOINTS`, `ETCD_CA_CERT_FILE`,
    /// `ETCD_CERT_FILE`, `ETCD_KEY_FILE`, `ETCD_USERNAME`, `ETCD_PASSWORD`. Each may have the prefix `CALICO_`, which
    /// wins. The environment is that of `sources`, such as `Sources::none().with_environment(std::env::vars_os())`.
    ///
    /// # Errors
    ///
    /// [`EtcdConfigError`]; [`Discovery`](EtcdConfigError::Discovery) if `ETCD_DISCOVERY_SRV` is set.
    pub fn environment(sources: &Sources) -> Result<Self, EtcdConfigError> {
        Self::new(Settings::of_environment(sources)?, &VARIABLES, sources)
    }

    /// Reads the JSON file of the CNI plugin: `etcd_endpoints`, `etcd_ca_cert_file`, `etcd_cert_file`, `etcd_key_file`,
    /// also in the list `plugins` of a `.conflist`. For each member that is missing or empty, the variables of
    /// [`environment`](Self::environment) count.
    ///
    /// # Errors
    ///
    /// [`EtcdConfigError`].
    pub fn cni(path: impl AsRef<Path>, sources: &Sources) -> Result<Self, EtcdConfigError> {
        let settings = Settings::of_cni(path.as_ref())?;
        Self::new(settings.or(Settings::of_environment(sources)?), &MEMBERS, sources)
    }

    /// Reads the section `[calico]` of the file of Neutron or of the DHCP agent: `etcd_host` (127.0.0.1), `etcd_port`
    /// (2379), `etcd_ca_cert_file`, `etcd_cert_file`, `etcd_key_file`, `etcd_username`, `etcd_password`.
    /// As in Neutron, `https` is used if any one of the files is set.
    ///
    /// Neutron itself uses etcd's HTTP/JSON gateway, where the Common Name of the certificate does not count.
    ///
    /// # Errors
    ///
    /// [`EtcdConfigError`].
    pub fn neutron(path: impl AsRef<Path>, sources: &Sources) -> Result<Self, EtcdConfigError> {
        Self::new(Settings::of_neutron(path.as_ref())?, &OPTIONS, sources)
    }

    /// The configuration for the connections, with the contents of the files as they are now.
    ///
    /// # Errors
    ///
    /// [`MaterialError`], with the file and what is wrong in it.
    pub fn tls_config(&self) -> Result<HostTlsConfig, MaterialError> {
        HostTlsConfig::from_files(&self.files, self.policy.clone())
    }

    /// Reads the files and makes the connector. It follows the files from its first connection on.
    ///
    /// # Errors
    ///
    /// [`MaterialError`], with the file and what is wrong in it.
    pub fn connector(&self) -> Result<EtcdConnector, MaterialError> {
        EtcdConnector::new(self.endpoints.clone(), self.files.clone(), &self.policy)
    }

    fn new(settings: Settings, names: &Names, sources: &Sources) -> Result<Self, EtcdConfigError> {
        let Checked { endpoints, files, user } = settings.check(names)?;
        Ok(Self { endpoints, files, policy: sources.tls_policy()?, user })
    }
}

impl Settings {
    /// The parameters of Felix or Typha, and `EtcdScheme`.
    fn of_daemon(sources: &Sources) -> Result<(Self, Option<Found>), EtcdConfigError> {
        const PARAMETERS: [&str; 6] =
            ["EtcdEndpoints", "EtcdAddr", "EtcdScheme", "EtcdCaFile", "EtcdCertFile", "EtcdKeyFile"];
        let mut values = sources.values_of(&PARAMETERS)?.into_iter().zip(PARAMETERS);
        let mut next = || values.next().and_then(|(setting, name)| Some(Found::new(name, setting?)));
        let (endpoints, address, scheme) = (next(), next(), next());
        let (ca_file, cert_file, key_file) = (next(), next(), next());
        let is_set = |found: &Found| !found.is_none();
        let scheme = scheme.filter(is_set);
        let of_address = address.filter(is_set).map(|address| address.with_scheme(scheme.as_ref()));
        let endpoints = endpoints.filter(is_set).or(of_address);
        Ok((Self { endpoints, ca_file, cert_file, key_file, user: None, password: None }, scheme))
    }

    fn of_environment(sources: &Sources) -> Result<Self, EtcdConfigError> {
        let read = |with_prefix, name| -> Result<Option<Found>, ConfigError> {
            match sources.variable(with_prefix)? {
                Some(setting) => Ok(Some(Found::new(with_prefix, setting))),
                None => Ok(sources.variable(name)?.map(|setting| Found::new(name, setting))),
            }
        };
        let endpoints = read("CALICO_ETCD_ENDPOINTS", "ETCD_ENDPOINTS")?;
        if let Some(discovery) = read("CALICO_ETCD_DISCOVERY_SRV", "ETCD_DISCOVERY_SRV")? {
            return Err(EtcdConfigError::Discovery {
                parameter: discovery.parameter,
                source_of_value: discovery.source,
            });
        }
        Ok(Self {
            endpoints,
            ca_file: read("CALICO_ETCD_CA_CERT_FILE", "ETCD_CA_CERT_FILE")?,
            cert_file: read("CALICO_ETCD_CERT_FILE", "ETCD_CERT_FILE")?,
            key_file: read("CALICO_ETCD_KEY_FILE", "ETCD_KEY_FILE")?,
            user: read("CALICO_ETCD_USERNAME", "ETCD_USERNAME")?,
            password: read("CALICO_ETCD_PASSWORD", "ETCD_PASSWORD")?,
        })
    }

    fn of_cni(path: &Path) -> Result<Self, EtcdConfigError> {
        let malformed = |problem: String| EtcdConfigError::File { path: path.to_owned(), problem };
        let bytes = std::fs::read(path).map_err(|error| malformed(format!("it can not be read: {error}")))?;
        let file: CniFile = serde_json::from_slice(&bytes)
            .map_err(|error| malformed(format!("it is no JSON file of CNI: {error}")))?;
        let is_calico = |plugin: &Cni| plugin.kind.as_deref() == Some("calico");
        let cni = match file.plugins.into_iter().find(is_calico) {
            Some(plugin) => plugin,
            None => file.cni,
        };
        let found = |name: &str, value: Option<String>| {
            let value = value.filter(|value| !value.is_empty())?;
            let source = format!("file {}", path.display());
            Some(Found { parameter: name.to_owned(), value, source })
        };
        Ok(Self {
            endpoints: found(MEMBERS.endpoints, cni.etcd_endpoints),
            ca_file: found(MEMBERS.ca_file, cni.etcd_ca_cert_file),
            cert_file: found(MEMBERS.cert_file, cni.etcd_cert_file),
            key_file: found(MEMBERS.key_file, cni.etcd_key_file),
            user: None,
            password: None,
        })
    }

    fn of_neutron(path: &Path) -> Result<Self, EtcdConfigError> {
        let malformed = |problem: String| EtcdConfigError::File { path: path.to_owned(), problem };
        let text = std::fs::read_to_string(path)
            .map_err(|error| malformed(format!("it can not be read: {error}")))?;
        // As oslo.config reads it: no escapes, and a line that begins with white space continues the one before.
        let options = ParseOption {
            enabled_escape: false,
            enabled_indented_mutiline_value: true,
            ..ParseOption::default()
        };
        let ini = Ini::load_from_str_opt(&text, options)
            .map_err(|error| malformed(format!("it is no INI file: {error}")))?;
        let section = ini.section(Some("calico"));
        let found = |name: &str| {
            let value = section.and_then(|section| section.get(name)).filter(|value| !value.is_empty())?;
            let source = format!("file {}", path.display());
            Some(Found { parameter: name.to_owned(), value: value.to_owned(), source })
        };
        let [ca_file, cert_file, key_file] =
            [OPTIONS.ca_file, OPTIONS.cert_file, OPTIONS.key_file].map(found);
        let is_tls = [&ca_file, &cert_file, &key_file].into_iter().any(Option::is_some);
        // Neutron has an option etcd_scheme, too, but never reads it.
        let scheme = if is_tls { "https" } else { "http" };
        let host = found("etcd_host");
        let port = found("etcd_port").map_or("2379".to_owned(), |port| port.value);
        let (address, source) = match host {
            Some(host) => (host.value, host.source),
            None => ("127.0.0.1".to_owned(), "the default".to_owned()),
        };
        let address = if address.contains(':') && !address.starts_with('[') {
            format!("[{address}]") // an IPv6 address
        } else {
            address
        };
        let value = format!("{scheme}://{address}:{port}");
        let endpoints = Some(Found { parameter: OPTIONS.endpoints.to_owned(), value, source });
        let (user, password) = (found("etcd_username"), found("etcd_password"));
        Ok(Self { endpoints, ca_file, cert_file, key_file, user, password })
    }

    /// These settings, and those of `others` that are not set here. A file that is `none` here hides that of `others`.
    fn or(self, others: Self) -> Self {
        Self {
            endpoints: self.endpoints.or(others.endpoints),
            ca_file: self.ca_file.or(others.ca_file),
            cert_file: self.cert_file.or(others.cert_file),
            key_file: self.key_file.or(others.key_file),
            user: self.user.or(others.user),
            password: self.password.or(others.password),
        }
    }

    /// Adds the default address if only the scheme says anything about where etcd is.
    fn or_default_address(mut self, scheme: Option<Found>) -> Self {
        let default = |scheme: Found| {
            let source = format!("the default, beside EtcdScheme from {}", scheme.source);
            let setting =
                Found { parameter: "EtcdAddr".to_owned(), value: DEFAULT_ADDRESS.to_owned(), source };
            setting.with_scheme(Some(&scheme))
        };
        self.endpoints = self.endpoints.or(scheme.map(default));
        self
    }
}

impl Found {
    /// The value of `EtcdAddr` as an endpoint.
    fn with_scheme(self, scheme: Option<&Self>) -> Self {
        let scheme = scheme.map_or("http", |scheme| &scheme.value);
        Self { value: format!("{scheme}://{}", self.value), ..self }
    }
}

#[derive(Deserialize)]
struct CniFile {
    #[serde(flatten)]
    cni: Cni,
    #[serde(default)]
    plugins: Vec<Cni>,
}

#[derive(Deserialize)]
struct Cni {
    #[serde(rename = "type")]
    kind: Option<String>,
    etcd_endpoints: Option<String>,
    etcd_ca_cert_file: Option<String>,
    etcd_cert_file: Option<String>,
    etcd_key_file: Option<String>,
}

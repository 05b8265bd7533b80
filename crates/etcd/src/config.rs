//! Calico's parameters for etcd, for each component that has them.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::Path;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use typha_tls::config::Sources;
use typha_tls::material::{HostTlsFiles, MaterialError};
use typha_tls::policy::TlsPolicy;

use crate::config_error::EtcdConfigError;
use crate::connector::EtcdConnector;
use crate::endpoint::EtcdEndpoint;
use crate::file;
use crate::oslo::Section;
use crate::settings::{Checked, Found, Names, Settings};
use crate::user::EtcdUser;

/// Where etcd is and how to connect to it, by the parameters of one of Calico's components.
///
/// Whatever Calico would silently ignore is an error here: `http://`, files that do not exist, a certificate without its
/// key, a user without a password, no CA file.
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
    user: "ETCD_USERNAME",
    password: "ETCD_PASSWORD",
};

/// The environment variables of calicoctl, kube-controllers and others.
const VARIABLES: Names = Names {
    endpoints: "ETCD_ENDPOINTS",
    ca_file: "ETCD_CA_CERT_FILE",
    cert_file: "ETCD_CERT_FILE",
    key_file: "ETCD_KEY_FILE",
    user: "ETCD_USERNAME",
    password: "ETCD_PASSWORD",
};

/// The members of the CNI configuration.
const MEMBERS: Names = Names {
    endpoints: "etcd_endpoints",
    ca_file: "etcd_ca_cert_file",
    cert_file: "etcd_cert_file",
    key_file: "etcd_key_file",
    user: "ETCD_USERNAME",
    password: "ETCD_PASSWORD",
};

/// The options of Neutron and the DHCP agent, in the section `[calico]`.
const OPTIONS: Names = Names {
    endpoints: "etcd_host",
    ca_file: "etcd_ca_cert_file",
    cert_file: "etcd_cert_file",
    key_file: "etcd_key_file",
    user: "etcd_username",
    password: "etcd_password",
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
        let settings =
            own.or(Settings::of_environment(sources, Settings::default())?).or_default_address(scheme);
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
    /// wins, also if it is empty: then the parameter is not set. The environment is that of `sources`, such as
    /// `Sources::none().with_environment(std::env::vars_os())`.
    ///
    /// # Errors
    ///
    /// [`EtcdConfigError`]; [`Discovery`](EtcdConfigError::Discovery) if `ETCD_DISCOVERY_SRV` is set.
    pub fn environment(sources: &Sources) -> Result<Self, EtcdConfigError> {
        Self::new(Settings::of_environment(sources, Settings::default())?, &VARIABLES, sources)
    }

    /// Reads the JSON file of the CNI plugin: `etcd_endpoints`, `etcd_ca_cert_file`, `etcd_cert_file`, `etcd_key_file`,
    /// also in the list `plugins` of a `.conflist`. The case of these names does not matter.
    ///
    /// A variable of [`environment`](Self::environment) with the prefix `CALICO_` wins over the file. For each member
    /// that is missing or empty, the variable without the prefix counts.
    ///
    /// # Errors
    ///
    /// [`EtcdConfigError`]; [`Discovery`](EtcdConfigError::Discovery) if `etcd_discovery_srv` is set.
    pub fn cni(path: impl AsRef<Path>, sources: &Sources) -> Result<Self, EtcdConfigError> {
        let members = Settings::of_cni(path.as_ref())?;
        Self::new(Settings::of_environment(sources, members)?, &MEMBERS, sources)
    }

    /// Reads the section `[calico]` of the file of Neutron or of the DHCP agent: `etcd_host` (127.0.0.1), `etcd_port`
    /// (2379), `etcd_ca_cert_file`, `etcd_cert_file`, `etcd_key_file`, `etcd_username`, `etcd_password`.
    /// As in Neutron, `https` is used if any one of the files is set. The file is read as oslo.config reads it, but a
    /// reference to another option (`$name`) is an error.
    ///
    /// Neutron itself uses etcd's HTTP/JSON gateway, where the Common Name of the certificate does not count.
    ///
    /// # Errors
    ///
    /// [`EtcdConfigError`].
    pub fn neutron(path: impl AsRef<Path>, sources: &Sources) -> Result<Self, EtcdConfigError> {
        Self::new(Settings::of_neutron(path.as_ref())?, &OPTIONS, sources)
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
        Ok((Self { endpoints, ca_file, cert_file, key_file, ..Self::default() }, scheme))
    }

    /// The variables of calicoctl. `file` has the settings that count for more than a variable without the prefix.
    fn of_environment(sources: &Sources, file: Self) -> Result<Self, EtcdConfigError> {
        let variable = |name: &'static str| sources.variable(name).map(|set| Some(Found::new(name, set?)));
        let read = |with_prefix: &'static str, file: Option<Found>, name: &'static str| {
            match file {
                // If it is empty, nothing is set: not by the other places either.
                _ if sources.has_variable(with_prefix) => variable(with_prefix),
                Some(found) => Ok(Some(found)),
                None => variable(name),
            }
        };
        Ok(Self {
            endpoints: read("CALICO_ETCD_ENDPOINTS", file.endpoints, "ETCD_ENDPOINTS")?,
            ca_file: read("CALICO_ETCD_CA_CERT_FILE", file.ca_file, "ETCD_CA_CERT_FILE")?,
            cert_file: read("CALICO_ETCD_CERT_FILE", file.cert_file, "ETCD_CERT_FILE")?,
            key_file: read("CALICO_ETCD_KEY_FILE", file.key_file, "ETCD_KEY_FILE")?,
            user: read("CALICO_ETCD_USERNAME", file.user, "ETCD_USERNAME")?,
            password: read("CALICO_ETCD_PASSWORD", file.password, "ETCD_PASSWORD")?,
            discovery: read("CALICO_ETCD_DISCOVERY_SRV", file.discovery, "ETCD_DISCOVERY_SRV")?,
        })
    }

    fn of_cni(path: &Path) -> Result<Self, EtcdConfigError> {
        let malformed = |problem: String| EtcdConfigError::File { path: path.to_owned(), problem };
        let text = file::read(path).map_err(|error| malformed(format!("it can not be read: {error}")))?;
        // The error of serde may show a value.
        let file: Cni = serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            malformed(format!("it is not a JSON file of CNI: see line {line}, column {column}"))
        })?;
        let of_top = file.values;
        let cni =
            file.plugins.into_iter().find(|values| values.get("type").is_some_and(|kind| kind == "calico"));
        let cni = cni.unwrap_or(of_top);
        let found = |name: &str| {
            let value = cni.get(name).filter(|value| !value.is_empty())?.clone();
            Some(Found { parameter: name.to_owned(), value, source: format!("file {}", path.display()) })
        };
        Ok(Self {
            endpoints: found(MEMBERS.endpoints),
            ca_file: found(MEMBERS.ca_file),
            cert_file: found(MEMBERS.cert_file),
            key_file: found(MEMBERS.key_file),
            discovery: found("etcd_discovery_srv"),
            ..Self::default()
        })
    }

    fn of_neutron(path: &Path) -> Result<Self, EtcdConfigError> {
        let malformed = |problem: String| EtcdConfigError::File { path: path.to_owned(), problem };
        let text = file::read(path).map_err(|error| malformed(format!("it can not be read: {error}")))?;
        let section = Section::read(&text, "calico")
            .map_err(|problem| malformed(format!("it is not an INI file: {problem}")))?;
        let source = format!("file {}", path.display());
        let option = |name: &str| match section.get(name) {
            Ok(value) => {
                Ok(value.map(|value| Found { parameter: name.to_owned(), value, source: source.clone() }))
            }
            Err(problem) => Err(malformed(format!("{name} in the section [calico]: {problem}"))),
        };
        // An empty one is not set.
        let found = |name| option(name).map(|found| found.filter(|found| !found.value.is_empty()));
        let [ca_file, cert_file, key_file] =
            [found(OPTIONS.ca_file)?, found(OPTIONS.cert_file)?, found(OPTIONS.key_file)?];
        let is_tls = [&ca_file, &cert_file, &key_file].into_iter().any(Option::is_some);
        // Neutron has an option etcd_scheme, too, but never reads it.
        let scheme = if is_tls { "https" } else { "http" };
        let port = option("etcd_port")?.map_or("2379".to_owned(), |port| port.value.trim().to_owned());
        let (host, source) = match option(OPTIONS.endpoints)? {
            Some(host) => (host.value, host.source),
            None => ("127.0.0.1".to_owned(), "the default".to_owned()),
        };
        let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host };
        let value = format!("{scheme}://{host}:{port}");
        let endpoints = Some(Found { parameter: OPTIONS.endpoints.to_owned(), value, source });
        let (user, password) = (found(OPTIONS.user)?, found(OPTIONS.password)?);
        Ok(Self { endpoints, ca_file, cert_file, key_file, user, password, discovery: None })
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
            discovery: self.discovery.or(others.discovery),
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

/// The configuration of one plugin, or of a list of plugins. As in Go, the case of a member's name does not matter, the
/// last one counts, and `null` does not.
#[derive(Default)]
struct Cni {
    /// By the name in lower case.
    values: HashMap<String, String>,
    /// The values of each plugin.
    plugins: Vec<HashMap<String, String>>,
}

impl<'de> Deserialize<'de> for Cni {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CniVisitor)
    }
}

struct CniVisitor;

impl<'de> Visitor<'de> for CniVisitor {
    type Value = Cni;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cni, A::Error> {
        let mut cni = Cni::default();
        while let Some(name) = map.next_key::<String>()? {
            match &*name.to_ascii_lowercase() {
                "plugins" => {
                    let plugins = map.next_value::<Vec<Cni>>()?;
                    cni.plugins = plugins.into_iter().map(|plugin| plugin.values).collect();
                }
                name @ ("type" | "etcd_endpoints" | "etcd_discovery_srv" | "etcd_ca_cert_file"
                | "etcd_cert_file" | "etcd_key_file") => {
                    if let Some(value) = map.next_value::<Option<String>>()? {
                        cni.values.insert(name.to_owned(), value);
                    }
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(cni)
    }
}

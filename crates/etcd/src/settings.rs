//! The values of all parameters for etcd, and what they mean together. The rules are the same for all components.

use std::path::PathBuf;

use typha_tls::config::{Setting, open_file};
use typha_tls::material::HostTlsFiles;

use crate::config_error::EtcdConfigError;
use crate::endpoint::{self, EXAMPLE, EtcdEndpoint};
use crate::user::EtcdUser;

/// A parameter and its value.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) parameter: String,
    pub(crate) value: String,
    pub(crate) source: String,
}

impl Found {
    pub(crate) fn new(parameter: &str, setting: Setting) -> Self {
        Self { parameter: parameter.to_owned(), value: setting.value, source: setting.source }
    }

    /// Whether the value is `none`: the parameter counts as unset, even if a lower source sets it.
    pub(crate) fn is_none(&self) -> bool {
        self.value.eq_ignore_ascii_case("none")
    }

    fn unusable(&self, value: &str, problem: impl ToString) -> EtcdConfigError {
        EtcdConfigError::Value {
            parameter: self.parameter.clone(),
            source_of_value: self.source.clone(),
            value: value.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// The names that errors give as the remedy.
pub(crate) struct Names {
    pub(crate) endpoints: &'static str,
    pub(crate) ca_file: &'static str,
    pub(crate) cert_file: &'static str,
    pub(crate) key_file: &'static str,
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
}

/// The values of one component.
#[derive(Default)]
pub(crate) struct Settings {
    /// URIs, separated by commas.
    pub(crate) endpoints: Option<Found>,
    pub(crate) ca_file: Option<Found>,
    pub(crate) cert_file: Option<Found>,
    pub(crate) key_file: Option<Found>,
    pub(crate) user: Option<Found>,
    pub(crate) password: Option<Found>,
    /// The domain whose SRV records list the endpoints.
    pub(crate) discovery: Option<Found>,
}

/// Settings that fit together.
pub(crate) struct Checked {
    pub(crate) endpoints: Vec<EtcdEndpoint>,
    pub(crate) files: HostTlsFiles,
    pub(crate) user: Option<EtcdUser>,
}

impl Settings {
    pub(crate) fn check(self, names: &Names) -> Result<Checked, EtcdConfigError> {
        let Self { endpoints, ca_file, cert_file, key_file, user, password, discovery } = self;
        if let Some(Found { parameter, source, .. }) = discovery {
            return Err(EtcdConfigError::Discovery { parameter, source_of_value: source });
        }
        let [ca_file, cert_file, key_file] =
            [ca_file, cert_file, key_file].map(|file| file.filter(|file| !file.is_none()));
        let no_endpoint = || EtcdConfigError::NoEndpoint { parameter: names.endpoints.to_owned() };
        let endpoints = endpoints.ok_or_else(no_endpoint)?;
        let files = [&ca_file, &cert_file, &key_file];
        let files = files.into_iter().flatten().map(|file| file.parameter.clone()).collect();
        let endpoints = parse_endpoints(&endpoints, files, no_endpoint)?;
        let own_files = match (cert_file, key_file) {
            (Some(cert), Some(key)) => Some((readable(&cert)?, readable(&key)?)),
            (None, None) => None,
            (Some(set), None) => return Err(incomplete(&set, names.key_file)),
            (None, Some(set)) => return Err(incomplete(&set, names.cert_file)),
        };
        let no_ca_file = || EtcdConfigError::NoCaFile { parameter: names.ca_file.to_owned() };
        let mut tls_files = HostTlsFiles::new(readable(&ca_file.ok_or_else(no_ca_file)?)?);
        tls_files.own_files = own_files;
        let user = match (user, password) {
            (Some(name), Some(password)) => Some(EtcdUser::new(name.value, password.value)),
            (None, None) => None,
            (Some(set), None) => return Err(incomplete(&set, names.password)),
            (None, Some(set)) => return Err(incomplete(&set, names.user)),
        };
        Ok(Checked { endpoints, files: tls_files, user })
    }
}

fn parse_endpoints(
    found: &Found,
    files: Vec<String>,
    no_endpoint: impl Fn() -> EtcdConfigError,
) -> Result<Vec<EtcdEndpoint>, EtcdConfigError> {
    let (mut endpoints, mut clear) = (Vec::new(), None);
    // A password may have a comma, so that its `@` is in another part.
    if found.value.contains('@') {
        let problem = format!("it has a user; {EXAMPLE}, and set user and password by their own parameters");
        return Err(found.unusable(NOT_SHOWN, problem));
    }
    let texts = found.value.split(',').map(str::trim).filter(|text| !text.is_empty());
    for text in texts {
        if may_have_password(text) {
            let problem = format!("it has more than one colon; {EXAMPLE}, with an IPv6 address in brackets");
            return Err(found.unusable(NOT_SHOWN, problem));
        }
        let parsed = endpoint::parse(text).map_err(|problem| found.unusable(text, problem))?;
        if !parsed.is_https {
            clear.get_or_insert(text);
        } else if !endpoints.contains(&parsed.endpoint) {
            endpoints.push(parsed.endpoint);
        }
    }
    let (parameter, source_of_value) = (found.parameter.clone(), found.source.clone());
    match (clear, &*endpoints) {
        (None, []) => Err(no_endpoint()),
        (None, _) => Ok(endpoints),
        (Some(_), [_, ..]) => Err(EtcdConfigError::MixedSchemes { parameter, source_of_value }),
        (Some(endpoint), []) => Err(EtcdConfigError::ClearText {
            parameter,
            source_of_value,
            endpoint: endpoint.to_owned(),
            files,
        }),
    }
}

const NOT_SHOWN: &str = "(not shown: it may have a password)";

/// Whether there are two colons behind the scheme and outside of brackets, as in `user:password:...`.
fn may_have_password(text: &str) -> bool {
    let (mut colons, mut is_in_brackets) = (0, false);
    for character in text.split_once("://").map_or(text, |(_, rest)| rest).chars() {
        match character {
            '[' => is_in_brackets = true,
            ']' => is_in_brackets = false,
            ':' if !is_in_brackets => colons += 1,
            _ => {}
        }
    }
    colons > 1
}

fn incomplete(set: &Found, missing: &str) -> EtcdConfigError {
    EtcdConfigError::Incomplete {
        set: format!("{} (from {})", set.parameter, set.source),
        missing: missing.to_owned(),
    }
}

/// A file that must be readable. It is opened now, so that the error names the parameter.
fn readable(found: &Found) -> Result<PathBuf, EtcdConfigError> {
    let path = PathBuf::from(&found.value);
    match open_file(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(EtcdConfigError::UnreadableFile {
            parameter: found.parameter.clone(),
            source_of_value: found.source.clone(),
            path,
            error,
        }),
    }
}

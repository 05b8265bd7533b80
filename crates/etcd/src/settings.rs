//! The values of all parameters for etcd, and what they mean together. The rules are the same for all components.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use typha_tls::config::Setting;
use typha_tls::material::HostTlsFiles;

use crate::config_error::EtcdConfigError;
use crate::endpoint::{self, EtcdEndpoint};
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
}

/// Settings that fit together.
pub(crate) struct Checked {
    pub(crate) endpoints: Vec<EtcdEndpoint>,
    pub(crate) files: HostTlsFiles,
    pub(crate) user: Option<EtcdUser>,
}

impl Settings {
    pub(crate) fn check(self, names: &Names) -> Result<Checked, EtcdConfigError> {
        let Self { endpoints, ca_file, cert_file, key_file, user, password } = self;
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
        // As in Calico, a user without a password does not count.
        let user = user.zip(password).map(|(name, password)| EtcdUser::new(name.value, password.value));
        Ok(Checked { endpoints, files: tls_files, user })
    }
}

fn parse_endpoints(
    found: &Found,
    files: Vec<String>,
    no_endpoint: impl Fn() -> EtcdConfigError,
) -> Result<Vec<EtcdEndpoint>, EtcdConfigError> {
    let (mut endpoints, mut clear) = (Vec::new(), None);
    let texts = found.value.split(',').map(str::trim).filter(|text| !text.is_empty());
    for text in texts {
        let parsed = endpoint::parse(text).map_err(|problem| {
            // A user may have a password beside it.
            let shown = text.rsplit_once('@').map_or(text.to_owned(), |(_, host)| format!("...@{host}"));
            found.unusable(&shown, problem)
        })?;
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

fn incomplete(set: &Found, missing: &str) -> EtcdConfigError {
    EtcdConfigError::Incomplete {
        set: format!("{} (from {})", set.parameter, set.source),
        missing: missing.to_owned(),
    }
}

/// A file that must be readable. It is opened now, so that the error names the parameter.
fn readable(found: &Found) -> Result<PathBuf, EtcdConfigError> {
    let path = PathBuf::from(&found.value);
    let is_file = File::open(&path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        false => Ok(()),
    });
    match is_file {
        Ok(()) => Ok(path),
        Err(source) => Err(EtcdConfigError::UnreadableFile {
            parameter: found.parameter.clone(),
            source_of_value: found.source.clone(),
            path,
            source,
        }),
    }
}

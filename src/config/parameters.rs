//! The types of parameters, and the five TLS parameters.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, SetupError, shown};
use super::names::{CIPHER_SUITES, MIN_VERSION, TlsParameters};
use super::sources::{Resolved, Setting, Sources};
use crate::identity::RequiredIdentity;
use crate::material::{MaterialError, TlsFiles};
use crate::policy::{PolicyError, TlsPolicy};
use crate::tls_config::TlsConfig;

/// The settings of the TLS parameters, on either end. If they exist, TLS is configured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsSettings {
    /// The files. Calico has no parameter for revocation lists: set [`TlsFiles::crl_files`] for them.
    pub files: TlsFiles,
    /// The identity that the other end must have.
    pub required_peer: RequiredIdentity,
    /// The TLS versions, cipher suites and groups.
    pub policy: TlsPolicy,
    /// The values that the parameters had; `None` if the program built the settings.
    loaded: Option<Box<(TlsFiles, RequiredIdentity)>>,
}

impl TlsSettings {
    /// Makes settings from files, required identity and policy.
    pub fn new(files: TlsFiles, required_peer: RequiredIdentity, policy: TlsPolicy) -> Self {
        Self { files, required_peer, policy, loaded: None }
    }

    /// Merges the parameters as read `now` into these settings. Settings that are no parameters, and those that the
    /// program has changed since loading, stay as they are here.
    pub(super) fn followed_by(&self, now: Self) -> Self {
        let mut files = self.files.clone();
        let mut required_peer = self.required_peer.clone();
        if let Some((loaded, required)) = self.loaded.as_deref() {
            let follow = |file: &mut PathBuf, loaded: &PathBuf, now: PathBuf| {
                if *file == *loaded {
                    *file = now;
                }
            };
            follow(&mut files.ca_file, &loaded.ca_file, now.files.ca_file);
            follow(&mut files.cert_file, &loaded.cert_file, now.files.cert_file);
            follow(&mut files.key_file, &loaded.key_file, now.files.key_file);
            if required_peer == *required {
                required_peer = now.required_peer;
            }
        }
        Self::new(files, required_peer, self.policy.clone())
    }

    /// Reads and checks the files.
    ///
    /// # Errors
    ///
    /// [`MaterialError`], with the file and its problem.
    pub fn load(&self) -> Result<TlsConfig, MaterialError> {
        TlsConfig::from_files(&self.files, self.required_peer.clone(), self.policy.clone())
    }
}

impl TlsParameters {
    /// Reads the files that the settings name.
    pub(super) fn load(&self, settings: Option<&TlsSettings>) -> Result<TlsConfig, SetupError> {
        let not_configured = || SetupError::TlsNotConfigured {
            files: [self.ca_file, self.cert_file, self.key_file].join(", "),
            names: self.either_name,
        };
        Ok(settings.ok_or_else(not_configured)?.load()?)
    }

    /// Reads all five parameters; `None` if none of them is set.
    pub(super) fn read(
        &self,
        resolved: &Resolved,
        sources: &Sources,
    ) -> Result<Option<TlsSettings>, ConfigError> {
        let names = [self.ca_file, self.cert_file, self.key_file, self.common_name, self.uri_san];
        let settings = names.map(|name| resolved.text(name));
        if settings.iter().all(Option::is_none) {
            return Ok(None);
        }
        let [ca_file, cert_file, key_file, common_name, uri_san] = settings;
        let (Some(ca_file), Some(cert_file), Some(key_file), Some(either)) =
            (ca_file, cert_file, key_file, uri_san.or(common_name))
        else {
            let (mut set, mut missing) = (Vec::new(), Vec::new());
            for (name, setting) in names.into_iter().zip(settings) {
                match setting {
                    Some(setting) => set.push(format!("{name} (from {})", setting.source)),
                    None if name == self.common_name || name == self.uri_san => {}
                    None => missing.push(name),
                }
            }
            if common_name.is_none() && uri_san.is_none() {
                missing.push(self.either_name);
            }
            return Err(ConfigError::Incomplete { names: self.either_name, set, missing });
        };
        let files = TlsFiles::new(
            file(self.ca_file, ca_file)?,
            file(self.cert_file, cert_file)?,
            file(self.key_file, key_file)?,
        );
        let [name, uri] = [common_name, uri_san].map(|setting| setting.map(|setting| &*setting.value));
        let required_peer = RequiredIdentity::new(name, uri).map_err(|problem| {
            // Every Common Name can be required except the empty one, which counts as not set.
            unusable(if uri_san.is_some() { self.uri_san } else { self.common_name }, either, problem)
        })?;
        let loaded = Some(Box::new((files.clone(), required_peer.clone())));
        Ok(Some(TlsSettings { files, required_peer, policy: sources.tls_policy()?, loaded }))
    }
}

impl Sources {
    /// The TLS policy of `TLS_MIN_VERSION` and `TLS_CIPHER_SUITES` in the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with the variable and its value.
    pub fn tls_policy(&self) -> Result<TlsPolicy, ConfigError> {
        let min_version = self.variable(MIN_VERSION)?;
        let cipher_suites = self.variable(CIPHER_SUITES)?;
        let mut builder = TlsPolicy::builder();
        if let Some(provider) = self.provider() {
            builder = builder.provider(provider.clone());
        }
        if let Some(setting) = &min_version {
            builder = builder.min_version(&setting.value);
        }
        if let Some(setting) = &cipher_suites {
            builder = builder.cipher_suites(&setting.value);
        }
        builder.build().map_err(|error| match (&error, min_version, cipher_suites) {
            (PolicyError::UnknownVersion(_), Some(setting), _) => unusable(MIN_VERSION, &setting, error),
            (_, _, Some(setting)) => unusable(CIPHER_SUITES, &setting, error),
            _ => error.into(),
        })
    }
}

impl Resolved {
    /// The setting of a text parameter, unless it is `none`.
    pub(super) fn text(&self, parameter: &'static str) -> Option<&Setting> {
        self.get(parameter).filter(|setting| !setting.is_none())
    }

    /// A number of seconds, decimals allowed; `none` is 0.
    pub(super) fn seconds(
        &self,
        parameter: &'static str,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        // About 30 years. A later point in time can overflow the clock of the process.
        const MAX: f64 = 1e9;
        match self.get(parameter) {
            None => Ok(default),
            Some(setting) if setting.is_none() => Ok(Duration::ZERO),
            Some(setting) => match setting.value.trim().parse() {
                // Less than a nanosecond would round to 0, which has another meaning.
                Ok(seconds) if seconds == 0.0 || (1e-9..=MAX).contains(&seconds) => {
                    Ok(Duration::from_secs_f64(seconds))
                }
                _ => Err(unusable(parameter, setting, "it is not a number of seconds from 0 to 1000000000")),
            },
        }
    }

    /// As [`seconds`](Self::seconds), but 0 is an error.
    pub(super) fn positive_seconds(
        &self,
        parameter: &'static str,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        match (self.seconds(parameter, default)?, self.get(parameter)) {
            (Duration::ZERO, Some(setting)) => Err(unusable(parameter, setting, "it must be greater than 0")),
            (duration, _) => Ok(duration),
        }
    }

    /// As [`seconds`](Self::seconds), but 0 means no bound.
    pub(super) fn optional_seconds(
        &self,
        parameter: &'static str,
        default: Option<Duration>,
    ) -> Result<Option<Duration>, ConfigError> {
        let duration = self.seconds(parameter, default.unwrap_or_default())?;
        Ok((!duration.is_zero()).then_some(duration))
    }

    /// A whole number in decimal; `none` is 0.
    pub(super) fn integer(
        &self,
        parameter: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, ConfigError> {
        let Some(setting) = self.get(parameter) else { return Ok(default) };
        let text = if setting.is_none() { "0" } else { setting.value.trim() };
        // Go reads a leading 0 as octal. Here it is an error, because the meaning is ambiguous.
        let is_decimal = text == "0" || !text.starts_with('0');
        match text.parse() {
            Ok(number) if is_decimal && range.contains(&number) => Ok(number),
            _ => {
                let problem = format!("it is not a decimal number from {} to {}", range.start(), range.end());
                Err(unusable(parameter, setting, problem))
            }
        }
    }
}

/// A file that must exist and be readable. It is checked now, so that the error names the parameter.
fn file(parameter: &'static str, setting: &Setting) -> Result<PathBuf, ConfigError> {
    let path = PathBuf::from(&setting.value);
    match crate::file::open(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(unusable(parameter, setting, format!("the file can not be read: {error}"))),
    }
}

pub(super) fn unusable(parameter: &'static str, setting: &Setting, problem: impl ToString) -> ConfigError {
    ConfigError::Value {
        parameter,
        source_of_value: setting.source.clone(),
        value: shown(&setting.value),
        problem: problem.to_string(),
    }
}

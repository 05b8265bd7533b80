//! Where values come from, and their precedence.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use tracing::debug;

use super::error::{ConfigError, shown};
use super::ini_file;
use super::warning::{self, ConfigWarning, Place, Unknown};
use crate::role::Role;

/// The places from which the parameters are read.
///
/// ```no_run
/// use typha_tls::config::{Sources, TyphaConfig};
///
/// // The environment, then /etc/calico/typha.cfg if it exists:
/// let config = TyphaConfig::load(&Sources::typha())?;
///
/// // A different file, and a value that takes precedence over everything:
/// let sources = Sources::typha().with_file("typha.cfg").with_value("ServerPort", "5474");
/// let config = TyphaConfig::load(&sources)?;
/// # Ok::<(), typha_tls::config::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Sources {
    values: Vec<(String, String)>,
    prefixes: Vec<String>,
    environment: Vec<(OsString, OsString)>,
    file: File,
    provider: Option<Arc<CryptoProvider>>,
}

#[derive(Clone, Debug)]
enum File {
    None,
    IfItExists(PathBuf),
    Required(PathBuf),
}

impl Sources {
    /// Typha's: the environment of this process with the prefix `TYPHA_`, then `/etc/calico/typha.cfg` if it exists.
    pub fn typha() -> Self {
        Self::of_process("TYPHA_", "/etc/calico/typha.cfg")
    }

    /// Felix's: the environment of this process with the prefix `FELIX_`, then `/etc/calico/felix.cfg` if it exists.
    pub fn felix() -> Self {
        Self::of_process("FELIX_", "/etc/calico/felix.cfg")
    }

    /// No source at all; add the ones you need.
    pub fn none() -> Self {
        Self {
            values: Vec::new(),
            prefixes: Vec::new(),
            environment: Vec::new(),
            file: File::None,
            provider: None,
        }
    }

    fn of_process(prefix: &str, file: &str) -> Self {
        Self { file: File::IfItExists(file.into()), ..Self::none() }
            .with_environment(std::env::vars_os())
            .with_prefixes([prefix])
    }

    /// Sets a parameter by its name (`CAFile`). It takes precedence over environment and file. If a parameter is set
    /// twice, the last value counts. An unknown name is an error of `load`, because the program made a mistake.
    #[must_use]
    pub fn with_value(mut self, parameter: &str, value: &str) -> Self {
        self.values.push((parameter.to_owned(), value.to_owned()));
        self
    }

    /// Reads variables with these prefixes. If several set one parameter, the first prefix counts. Other clients of
    /// Typha read Felix's parameters this way: `["CONFD_", "CALICO_"]`.
    #[must_use]
    pub fn with_prefixes<'a>(mut self, prefixes: impl IntoIterator<Item = &'a str>) -> Self {
        self.prefixes = prefixes.into_iter().map(str::to_owned).collect();
        self
    }

    /// Uses these variables instead of the environment of the process.
    #[must_use]
    pub fn with_environment<N: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.environment = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    /// Reads this INI file, which must exist.
    #[must_use]
    pub fn with_file(mut self, path: impl AsRef<Path>) -> Self {
        self.file = File::Required(path.as_ref().to_owned());
        self
    }

    /// Uses this crypto provider instead of the one compiled in.
    #[must_use]
    pub fn with_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Reads this INI file if it exists.
    #[cfg(test)]
    pub(super) fn with_file_if_it_exists(self, path: PathBuf) -> Self {
        Self { file: File::IfItExists(path), ..self }
    }

    /// If the file exists now, it must exist at every later load.
    pub(super) fn require_file_that_exists(&mut self) {
        if let File::IfItExists(path) = &self.file
            && exists(path)
        {
            self.file = File::Required(path.clone());
        }
    }

    pub(super) fn file_path(&self) -> Option<&Path> {
        match &self.file {
            File::None => None,
            File::IfItExists(path) | File::Required(path) => Some(path),
        }
    }

    pub(super) fn provider(&self) -> Option<&Arc<CryptoProvider>> {
        self.provider.as_ref()
    }

    /// Reads the file and finds the value that counts for each name. `known` are the parameters that exist; others are
    /// ignored and logged at level debug.
    pub(super) fn resolve(&self, local: Role, known: &[&'static str]) -> Result<Resolved, ConfigError> {
        let (mut resolved, mut unknown) = (Resolved::default(), Vec::new());
        // From the highest precedence to the lowest.
        for (name, value) in self.values.iter().rev() {
            if find(known, name).is_none() {
                return Err(ConfigError::UnknownParameter(name.clone()));
            }
            resolved.add(known, name, value, "program or command line");
        }
        for prefix in &self.prefixes {
            for (variable, name, value) in self.variables(prefix, known)? {
                resolved.add(known, &name, &value, &environment_variable(&variable));
                // Kubernetes sets TYPHA_SERVER_PORT for a service with the name typha-server.
                let is_of_service =
                    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
                if find(known, &name).is_none() && !is_of_service {
                    let place = Place::Environment { variable, prefix: prefix.clone() };
                    unknown.push(Unknown { name, place });
                }
            }
        }
        let path = match &self.file {
            File::IfItExists(path) if !exists(path) => None,
            _ => self.file_path(),
        };
        if let Some(path) = path {
            let source = format!("file {}", path.display());
            let settings = ini_file::read(path)?;
            // In a file, the last value of a name counts.
            for (name, value) in settings.iter().rev() {
                resolved.add(known, name, value, &source);
            }
            let ineffective =
                settings.into_iter().filter(|(name, value)| find(known, name).is_none() && !value.is_empty());
            unknown.extend(
                ineffective.map(|(name, _)| Unknown { name, place: Place::File { source: source.clone() } }),
            );
        }
        resolved.warnings = warning::find(local, known, &unknown, &self.environment, &self.prefixes);
        Ok(resolved)
    }

    /// The variables with a prefix: variable, name of the parameter in lower case, value.
    fn variables(
        &self,
        prefix: &str,
        known: &[&'static str],
    ) -> Result<Vec<(String, String, String)>, ConfigError> {
        let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
        for (variable, value) in &self.environment {
            let Some(variable) = variable.to_str() else { continue };
            let Some((start, name)) = variable.split_at_checked(prefix.len()) else { continue };
            if !start.eq_ignore_ascii_case(prefix) || value.is_empty() {
                continue;
            }
            let name = name.to_ascii_lowercase();
            let value = match (value.to_str(), find(known, &name)) {
                (Some(value), _) => value.to_owned(),
                (None, None) => continue,
                (None, Some(parameter)) => return Err(not_utf8(parameter, variable, value)),
            };
            match found.get(&name) {
                Some((first, other)) if *other != value && find(known, &name).is_some() => {
                    let (first, second) = (first.clone(), variable.to_owned());
                    return Err(ConfigError::Ambiguous { first, second });
                }
                _ => found.insert(name, (variable.to_owned(), value)),
            };
        }
        Ok(found.into_iter().map(|(name, (variable, value))| (variable, name, value)).collect())
    }

    /// The values of other parameters of Calico, in the order of their names, for programs that read more than this
    /// library knows. The precedence and the rules for empty values are the same. A value may be
    /// [`none`](Setting::is_none). Names that are not among `parameters` are ignored, wherever they are set.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the file can not be read or parsed, if a value is not UTF-8, or if two environment variables
    /// contradict each other.
    pub fn values_of(&self, parameters: &[&'static str]) -> Result<Vec<Option<Setting>>, ConfigError> {
        let mut sources = self.clone();
        sources.values.retain(|(name, _)| find(parameters, name).is_some());
        // The role only matters for warnings, which are about the parameters of this library.
        let resolved = sources.resolve(Role::Felix, parameters)?;
        Ok(parameters.iter().map(|parameter| resolved.get(parameter).cloned()).collect())
    }

    /// Whether the environment has this variable, by its exact name. It may be empty.
    pub fn has_variable(&self, name: &str) -> bool {
        self.environment.iter().any(|(variable, _)| variable == name)
    }

    /// The value of an environment variable that belongs to no daemon, such as `ETCD_ENDPOINTS` or `TLS_MIN_VERSION`,
    /// by its exact name. `None` if it is not set or empty.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Value`] if the value is not UTF-8.
    pub fn variable(&self, name: &'static str) -> Result<Option<Setting>, ConfigError> {
        let Some((_, value)) = self.environment.iter().find(|(variable, _)| variable == name) else {
            return Ok(None);
        };
        match value.to_str() {
            Some("") => Ok(None),
            Some(value) => Ok(Some(Setting { value: value.to_owned(), source: environment_variable(name) })),
            None => Err(not_utf8(name, name, value)),
        }
    }
}

fn environment_variable(name: &str) -> String {
    format!("environment variable {name}")
}

fn not_utf8(parameter: &'static str, variable: &str, value: &OsStr) -> ConfigError {
    let (name, text) = (variable.to_ascii_uppercase(), value.to_string_lossy());
    // In a URL, a user and a password end with `@`.
    let is_secret = name.contains("PASSWORD") || name.contains("TOKEN") || text.contains('@');
    ConfigError::Value {
        parameter,
        source_of_value: environment_variable(variable),
        value: if is_secret { "(not shown: it may be a secret)".to_owned() } else { shown(&text) },
        problem: "it is not valid UTF-8".to_owned(),
    }
}

/// Only an absent file may be ignored. A dangling link or a file without access counts as existing, so that reading it
/// fails.
fn exists(path: &Path) -> bool {
    !matches!(path.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// Omits the values, and the environment, which may hold other secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("prefixes", &self.prefixes)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

fn find(known: &[&'static str], name: &str) -> Option<&'static str> {
    known.iter().find(|parameter| parameter.eq_ignore_ascii_case(name)).copied()
}

/// The value of a parameter. It may be a password, so that `Debug` shows the source only.
#[derive(Clone)]
#[non_exhaustive]
pub struct Setting {
    /// The value as it was written.
    pub value: String,
    /// Where it comes from: `environment variable NAME`, `file PATH` or `program or command line`.
    pub source: String,
}

impl Setting {
    /// Whether the value is `none`, in upper or lower case: the parameter is not set, also not by a lower source.
    pub fn is_none(&self) -> bool {
        self.value.eq_ignore_ascii_case("none")
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The value of each parameter that is set anywhere.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    settings: BTreeMap<&'static str, Setting>,
    pub(super) warnings: Vec<ConfigWarning>,
}

impl Resolved {
    fn add(&mut self, known: &[&'static str], name: &str, value: &str, source: &str) {
        match find(known, name) {
            None => debug!(name = %crate::text::Quoted(name), %source, "ignoring an unknown parameter"),
            Some(_) if value.is_empty() => {}
            Some(parameter) => {
                let value = value.to_owned();
                self.settings.entry(parameter).or_insert(Setting { value, source: source.to_owned() });
            }
        }
    }

    /// The setting of a parameter; `Some` also if it is set to `none`.
    pub(super) fn get(&self, parameter: &'static str) -> Option<&Setting> {
        self.settings.get(parameter)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_absent_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        // A mounted secret or configuration map is in this state while its data are swapped.
        std::os::unix::fs::symlink("..data/typha.cfg", path("typha.cfg")).unwrap();
        assert!(exists(&path("typha.cfg")));
        assert!(exists(dir.path()));
        assert!(!exists(&path("absent.cfg")));
        assert!(!exists(&path("absent/typha.cfg")));

        let sources = Sources { file: File::IfItExists(path("typha.cfg")), ..Sources::none() };
        assert!(matches!(sources.resolve(Role::Typha, &[]), Err(ConfigError::File { .. })));
        let sources = Sources { file: File::IfItExists(path("absent.cfg")), ..Sources::none() };
        sources.resolve(Role::Typha, &[]).unwrap();
    }
}

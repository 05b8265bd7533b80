//! Calico's parameters as a source of configurations.

use std::marker::PhantomData;
use std::time::Duration;

use thiserror::Error;

use super::error::ConfigError;
use super::felix::FelixConfig;
use super::parameters::TlsSettings;
use super::sources::Sources;
use super::typha::TyphaConfig;
use crate::reload::{FileSource, PlannedFiles, SourceError, TlsConfigSource};
use crate::tls_config::TlsConfig;

/// Typha's parameters and the files that they name, for a [`Reloader`](crate::reload::Reloader).
///
/// The configuration file is read anew at each look, and then the files that it names, so that what is changed there
/// comes into force, too: the identity that the other end must have, the names of files. The environment and the values
/// that the program sets stay what they were when the [`Sources`] were made. Of the other parameters (ports, limits,
/// timeouts) nothing is followed: they need a restart. All parameters must be usable nevertheless, or nothing new comes
/// into force.
///
/// # Security
///
/// Parameters that say nothing of TLS any more are an error, and the configuration in force stays: nothing ever turns
/// into plain text. So is a configuration file that was there when the source was made, and is gone.
pub type TyphaConfigSource = ConfigSource<TyphaConfig>;

/// Felix's parameters and the files that they name, for a [`Reloader`](crate::reload::Reloader); in all else as
/// [`TyphaConfigSource`].
pub type FelixConfigSource = ConfigSource<FelixConfig>;

/// The parameters of one end, and the files that they name: [`TyphaConfigSource`], [`FelixConfigSource`].
#[derive(Debug)]
pub struct ConfigSource<C> {
    files: FileSource,
    end: PhantomData<fn() -> C>,
}

/// The parameters no longer say anything of TLS.
#[derive(Debug, Error)]
#[error(
    "TLS is no longer configured: none of {ca_file} and the other TLS parameters is set any more; set them again, or \
     restart if that is meant"
)]
struct NoLongerConfigured {
    ca_file: &'static str,
}

impl TyphaConfigSource {
    /// What these sources give, beginning with `config`, which was loaded from them. What is no parameter of Calico
    /// stays as it is there: the files and the policy of revocation, the TLS policy. So does what the program itself
    /// has changed there: another required identity, the name of a file.
    pub fn new(sources: Sources, config: &TyphaConfig) -> Self {
        let load = |sources: &Sources| Ok(TyphaConfig::load(sources)?.tls);
        Self::of(source("Typha's parameters and files", "CAFile", sources, load, config.tls.clone()))
    }
}

impl FelixConfigSource {
    /// As [`TyphaConfigSource::new`].
    pub fn new(sources: Sources, config: &FelixConfig) -> Self {
        let load = |sources: &Sources| Ok(FelixConfig::load(sources)?.tls);
        Self::of(source("Felix's parameters and files", "TyphaCAFile", sources, load, config.tls.clone()))
    }
}

impl<C> ConfigSource<C> {
    fn of(files: FileSource) -> Self {
        Self { files, end: PhantomData }
    }

    /// As [`FileSource::with_settle_time`].
    #[must_use]
    pub fn with_settle_time(self, settle_time: Duration) -> Self {
        Self::of(self.files.with_settle_time(settle_time))
    }
}

fn source(
    description: &str,
    ca_file: &'static str,
    mut sources: Sources,
    load: fn(&Sources) -> Result<Option<TlsSettings>, ConfigError>,
    first: Option<TlsSettings>,
) -> FileSource {
    // By its vanishing it takes nothing back, not even where the environment says enough without it.
    sources.require_file_that_exists();
    let configuration = sources.file_path().map(ToOwned::to_owned);
    let description = match &configuration {
        Some(path) => format!("{description} ({})", path.display()),
        None => description.to_owned(),
    };
    FileSource::of_plan(description, configuration, move || {
        let settings = load(&sources).map_err(SourceError::new)?;
        let settings = settings.ok_or_else(|| SourceError::new(NoLongerConfigured { ca_file }))?;
        let settings = match &first {
            Some(first) => first.followed_by(settings),
            None => settings,
        };
        let TlsSettings { files, required_peer, policy, .. } = settings;
        Ok(PlannedFiles { files, required_peer, policy })
    })
}

impl<C> TlsConfigSource for ConfigSource<C> {
    async fn load(&self) -> Result<TlsConfig, SourceError> {
        self.files.load().await
    }

    async fn changed(&self) {
        self.files.changed().await;
    }

    fn settle_time(&self) -> Duration {
        self.files.settle_time()
    }

    fn description(&self) -> String {
        self.files.description()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::TestPki;

    /// Without it the environment alone would count, and those whom the file names would lose their trust.
    #[tokio::test]
    async fn a_file_that_is_gone_takes_nothing_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let pki = TestPki::new().unwrap();
        let contents = [pki.ca.root_pem(), pki.typha.chain_pem(), pki.typha.key_pem()];
        let parameters = ["T_CAFILE", "T_SERVERCERTFILE", "T_SERVERKEYFILE"];
        let mut environment = vec![("T_CLIENTURISAN", "spiffe://td/felix".into())];
        for (parameter, contents) in parameters.into_iter().zip(contents) {
            std::fs::write(path(parameter), contents).unwrap();
            environment.push((parameter, path(parameter).into_os_string()));
        }
        let sources = Sources::none()
            .with_environment(environment)
            .with_prefixes(["T_"])
            .with_file_if_it_exists(path("typha.cfg"));
        std::fs::write(path("typha.cfg"), "ClientCN = felix").unwrap();
        let config = TyphaConfig::load(&sources).unwrap();
        let source = TyphaConfigSource::new(sources.clone(), &config);
        assert!(source.load().await.unwrap().required_peer.required_common_name().is_some());
        std::fs::remove_file(path("typha.cfg")).unwrap();
        let error = source.load().await.unwrap_err();
        assert!(error.to_string().ends_with("typha.cfg can not be read"), "{error}");
        // One that was never there is not missed.
        let source = TyphaConfigSource::new(sources, &config);
        assert!(source.load().await.unwrap().required_peer.required_common_name().is_none());
    }
}

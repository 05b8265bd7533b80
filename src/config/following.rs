//! Calico's parameters, and the files that they name, as a source of configurations.

use thiserror::Error;

use super::error::ConfigError;
use super::parameters::TlsSettings;
use super::sources::Sources;
use crate::reload::{FileSource, PeerFiles, SourceError};

/// The parameters do not configure TLS, or no longer do.
#[derive(Debug, Error)]
#[error(
    "TLS is no longer configured: none of {ca_file} and the other TLS parameters is set any more; set them again, or \
     restart if that is intended"
)]
struct NoLongerConfigured {
    ca_file: &'static str,
}

/// A source that reads `sources`, beginning with the settings `first` that were loaded from them. Without sources, it
/// reads the files of `first`.
pub(super) fn source(
    description: &str,
    ca_file: &'static str,
    sources: Option<&Sources>,
    load: fn(&Sources) -> Result<Option<TlsSettings>, ConfigError>,
    first: Option<TlsSettings>,
) -> FileSource {
    let mut sources = sources.cloned();
    // A file that vanishes must not change the settings, even if the environment alone would suffice.
    sources.iter_mut().for_each(Sources::require_file_that_exists);
    let configuration = sources.as_ref().and_then(Sources::file_path).map(ToOwned::to_owned);
    let description = match &configuration {
        Some(path) => format!("{description} ({})", path.display()),
        None => description.to_owned(),
    };
    FileSource::of_plan(description, configuration, move || {
        let now = match &sources {
            Some(sources) => load(sources).map_err(SourceError::new)?,
            None => first.clone(),
        };
        let now = now.ok_or_else(|| SourceError::new(NoLongerConfigured { ca_file }))?;
        let settings = match &first {
            Some(first) => first.followed_by(now),
            None => now,
        };
        let TlsSettings { files, required_peer, policy, .. } = settings;
        Ok(PeerFiles { files, required_peer, policy })
    })
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use crate::config::{Sources, TyphaConfig};
    use crate::reload::TlsConfigSource as _;
    use crate::testing::TestPki;

    /// Otherwise the environment alone would count, and peers named in the file would lose their trust.
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
        let source = config.source();
        assert!(source.load().await.unwrap().required_peer.required_common_name().is_some());
        std::fs::remove_file(path("typha.cfg")).unwrap();
        let error = source.load().await.unwrap_err();
        assert!(error.to_string().ends_with("typha.cfg can not be read"), "{error}");
        // A file that never existed is not an error.
        let source = config.source();
        assert!(source.load().await.unwrap().required_peer.required_common_name().is_none());
    }
}

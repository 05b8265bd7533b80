//! The URL of the API server. The errors show its scheme, host and port only, because the rest may have a secret.

use hyper::Uri;
use hyper::http::uri::Authority;

use crate::setup_error::KubernetesSetupError;
use typha_tls::host::{HttpsConnector, HttpsError};

/// Whether requests to the URL can be sent, and all of the URL is used.
pub(crate) fn check(url: &Uri) -> Result<(), KubernetesSetupError> {
    let shown = || {
        let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default())
    };
    let has_user = url.authority().map(Authority::as_str).is_some_and(|authority| authority.contains('@'));
    match HttpsConnector::target(url) {
        Ok(_) if has_user => Err(KubernetesSetupError::UserInUrl { url: shown() }),
        Ok(_) => Ok(()),
        Err(HttpsError::Host(invalid)) => Err(KubernetesSetupError::Host(invalid)),
        Err(HttpsError::Port(url)) => Err(KubernetesSetupError::Port { url }),
        Err(_) => Err(KubernetesSetupError::NotHttps { url: shown() }),
    }
}

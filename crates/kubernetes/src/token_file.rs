//! The token of a file that changes, such as that of a service account.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::warn;

use crate::credentials;
use crate::setup_error::KubernetesSetupError;

/// How long a token is sent without reading the file again, as in Kubernetes' own client.
const READ_EVERY: Duration = Duration::from_secs(60);

/// The token that was read last. kube reads it again each minute only, even if the API server refuses it.
#[derive(Clone)]
pub(crate) struct TokenFile {
    path: PathBuf,
    last: Arc<Mutex<Last>>,
}

struct Last {
    header: HeaderValue,
    /// `None` if the API server refused it.
    read_at: Option<Instant>,
}

impl TokenFile {
    /// Reads the file. If it can not be read, `token` is sent until it can.
    pub(crate) fn open(path: PathBuf, token: Option<&SecretString>) -> Result<Self, KubernetesSetupError> {
        let header = read(&path).or_else(|error| {
            let Some(token) = token else { return Err(error) };
            warn!("{}: {error}; the token beside this tokenFile is sent", path.display());
            bearer(token.expose_secret())
        });
        let header = header.map_err(|error| KubernetesSetupError::Credentials {
            problem: format!("{}: {error}", path.display()),
        })?;
        let last = Last { header, read_at: Some(Instant::now()) };
        Ok(Self { path, last: Arc::new(Mutex::new(last)) })
    }

    /// The header with the token. If the file can not be read any more, the last token is sent: some programs remove it
    /// after the start.
    pub(crate) async fn header(&self) -> HeaderValue {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last().read_at.is_some_and(|read_at| read_at.elapsed() < READ_EVERY) {
            return last().header.clone();
        }
        let path = self.path.clone();
        let read = spawn_blocking(move || read(&path)).await.unwrap_or_else(|error| Err(error.into()));
        let mut last = last();
        last.read_at = Some(Instant::now());
        match read {
            Ok(header) => last.header = header,
            Err(error) => {
                warn!("{}: {error}; the last token for the Kubernetes API is sent", self.path.display());
            }
        }
        last.header.clone()
    }

    /// The API server did not accept it. The next request reads the file.
    pub(crate) fn refused(&self) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).read_at = None;
    }
}

fn read(path: &PathBuf) -> io::Result<HeaderValue> {
    let token = fs::read_to_string(path)?;
    bearer(token.trim())
}

fn bearer(token: &str) -> io::Result<HeaderValue> {
    if token.is_empty() {
        return Err(io::Error::other("it has no token"));
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| io::Error::other(credentials::BAD_TOKEN))?;
    header.set_sensitive(true);
    Ok(header)
}

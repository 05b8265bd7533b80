//! How a reloader goes about it.

use std::time::Duration;

use super::expiry::ExpiryWarnings;

/// How a [`Reloader`](super::Reloader) goes about it. [`Default`] has the values named below.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReloadOptions {
    /// How long after a look the next one comes; 30 s by default, which is little work for a few files, and soon enough
    /// for what is renewed days ahead. Where the source tells of changes, they are seen at once. Less than 100 ms is
    /// taken as 100 ms, but [`Duration::ZERO`] means: never by itself, only on
    /// [`reload_now`](super::Reloader::reload_now).
    pub poll_interval: Duration,
    /// How long the source may take; 10 s by default. Longer is an error of that look, since a file system that hangs
    /// should be noticed.
    pub load_timeout: Duration,
    /// When to warn of certificates in force that are about to expire.
    pub expiry_warnings: ExpiryWarnings,
}

impl Default for ReloadOptions {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(30),
            load_timeout: Duration::from_secs(10),
            expiry_warnings: ExpiryWarnings::default(),
        }
    }
}

//! Follows a source of configurations and puts new ones in force: [`Reloader`].

mod changes;
mod expiry;
mod files;
mod following;
mod reloader;
mod settling;
mod source;
mod state;
mod validation;

pub use files::FileSource;
pub(crate) use files::PeerFiles;
pub use following::ReloadOptions;
pub use reloader::Reloader;
pub use source::{SourceError, TlsConfigSource};
pub use state::{CertificateLifetime, ReloadError, ReloadState, Reloaded};

//! Follows what snapshots are made of, and replaces them: [`Reloader`].

mod changes;
mod error;
mod expiry;
mod facade;
mod files;
mod following;
mod look;
mod options;
mod reloader;
mod source;
mod state;
mod validation;

pub use error::ReloadError;
pub use expiry::ExpiryWarnings;
pub use files::FileSource;
pub(crate) use files::PlannedFiles;
pub use options::ReloadOptions;
pub use reloader::Reloader;
pub use source::{SnapshotSource, SourceError};
pub use state::{CertificateKind, CertificateLifetime, ReloadState, Reloaded};

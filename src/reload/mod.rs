//! Follows what snapshots are made of, and replaces them.

mod source;

pub use source::{SnapshotSource, SourceError};

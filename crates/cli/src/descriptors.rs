//! The limit of file descriptors: each connection needs one, and the usual soft limit is 1024.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything except connections.
const OTHERS: u64 = 100;

/// Raises the soft limit to the hard limit.
pub(crate) fn raise_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(|error| io::Error::other(format!("can not raise the limit of file descriptors: {error}")))
}

/// The most connections that a process may have open.
pub(crate) fn most_connections() -> usize {
    let limit = getrlimit(Resource::Nofile).maximum;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit.saturating_sub(OTHERS)).unwrap_or(usize::MAX))
}

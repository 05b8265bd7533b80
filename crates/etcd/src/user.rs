//! A user of etcd's authentication.

use std::fmt;

/// A user of etcd's authentication and its password.
///
/// # Security
///
/// The password is in no `Debug` output, error or log.
#[derive(Clone, Eq, PartialEq)]
pub struct EtcdUser {
    name: Box<str>,
    password: Box<str>,
}

impl EtcdUser {
    /// A user and its password.
    pub fn new(name: impl Into<Box<str>>, password: impl Into<Box<str>>) -> Self {
        Self { name: name.into(), password: password.into() }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The password, to be passed to a client of etcd.
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for EtcdUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdUser").field("name", &self.name).finish_non_exhaustive()
    }
}

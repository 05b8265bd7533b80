//! The two ends of the connection.

use std::fmt;

use crate::certificate::KeyPurpose;

/// One end of the connection between Felix and Typha.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// The TLS client, on every node. Its certificate must allow client authentication.
    Felix,
    /// The TLS server. Its certificate must allow server authentication.
    Typha,
}

impl Role {
    /// The other end.
    pub fn peer(self) -> Self {
        match self {
            Self::Felix => Self::Typha,
            Self::Typha => Self::Felix,
        }
    }

    /// The purpose of the certificate of this end.
    pub(crate) fn key_purpose(self) -> KeyPurpose {
        match self {
            Self::Felix => KeyPurpose::ClientAuth,
            Self::Typha => KeyPurpose::ServerAuth,
        }
    }

    /// The name of that purpose in RFC 5280 section 4.2.1.12.
    pub(crate) fn key_purpose_name(self) -> &'static str {
        match self {
            Self::Felix => "clientAuth",
            Self::Typha => "serverAuth",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Felix => "Felix",
            Self::Typha => "Typha",
        })
    }
}

//! The two ends of a connection.

use std::fmt;

use crate::certificate::KeyPurpose;

/// One end of a connection: between Felix and Typha, or between a client and a server that is verified for its host.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Our end of a connection to a [`Server`](Self::Server). Its certificate, if it has one, must allow client
    /// authentication.
    Client,
    /// The TLS client, on every node. Its certificate must allow client authentication.
    Felix,
    /// A server that is verified for the host that was dialled, such as etcd or kube-apiserver. Its certificate must
    /// allow server authentication.
    Server,
    /// The TLS server of Felix. Its certificate must allow server authentication.
    Typha,
}

impl Role {
    /// The other end.
    pub fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Felix => Self::Typha,
            Self::Server => Self::Client,
            Self::Typha => Self::Felix,
        }
    }

    /// The purpose of the certificate of this end.
    pub(crate) fn key_purpose(self) -> KeyPurpose {
        match self {
            Self::Client | Self::Felix => KeyPurpose::ClientAuth,
            Self::Server | Self::Typha => KeyPurpose::ServerAuth,
        }
    }

    /// The name of that purpose in RFC 5280 section 4.2.1.12.
    pub(crate) fn key_purpose_name(self) -> &'static str {
        match self {
            Self::Client | Self::Felix => "clientAuth",
            Self::Server | Self::Typha => "serverAuth",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Felix => "Felix",
            Self::Server => "server",
            Self::Typha => "Typha",
        })
    }
}

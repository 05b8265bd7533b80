//! What was negotiated.

use std::fmt;

use rustls::{CipherSuite, CommonState, NamedGroup, ProtocolVersion};

use crate::policy::{group_name, suite_name};

/// What a handshake negotiated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TlsFacts {
    version: Version,
    cipher_suite: CipherSuite,
    group: NamedGroup,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    Tls12,
    Tls13,
}

impl TlsFacts {
    /// `None` while the handshake is not complete.
    pub(crate) fn of(connection: &CommonState) -> Option<Self> {
        Some(Self {
            version: match connection.protocol_version()? {
                ProtocolVersion::TLSv1_2 => Version::Tls12,
                ProtocolVersion::TLSv1_3 => Version::Tls13,
                _ => return None,
            },
            cipher_suite: connection.negotiated_cipher_suite()?.suite(),
            group: connection.negotiated_key_exchange_group()?.name(),
        })
    }

    /// `1.2` or `1.3`.
    pub fn version(&self) -> &'static str {
        match self.version {
            Version::Tls12 => "1.2",
            Version::Tls13 => "1.3",
        }
    }

    /// The IANA name of the cipher suite, such as `TLS_AES_128_GCM_SHA256`.
    pub fn cipher_suite(&self) -> String {
        suite_name(self.cipher_suite)
    }

    /// The IANA name of the key-exchange group, such as `X25519MLKEM768`.
    pub fn group(&self) -> String {
        group_name(self.group)
    }

    pub(crate) fn is_tls12(&self) -> bool {
        self.version == Version::Tls12
    }
}

impl fmt::Display for TlsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS {}, {}, {}", self.version(), self.cipher_suite(), self.group())
    }
}

//! What was negotiated.

use std::fmt;

use rustls::{CipherSuite, CommonState, NamedGroup, ProtocolVersion};

use crate::policy::{group_name, suite_name};

/// What a handshake negotiated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TlsFacts {
    is_tls12: bool,
    cipher_suite: CipherSuite,
    group: NamedGroup,
}

impl TlsFacts {
    /// `None` while the handshake is not complete.
    pub(crate) fn of(connection: &CommonState) -> Option<Self> {
        Some(Self {
            is_tls12: match connection.protocol_version()? {
                ProtocolVersion::TLSv1_2 => true,
                ProtocolVersion::TLSv1_3 => false,
                _ => return None,
            },
            cipher_suite: connection.negotiated_cipher_suite()?.suite(),
            group: connection.negotiated_key_exchange_group()?.name(),
        })
    }

    /// `1.2` or `1.3`.
    pub fn version(&self) -> &'static str {
        if self.is_tls12 { "1.2" } else { "1.3" }
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
        self.is_tls12
    }
}

impl fmt::Display for TlsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS {}, {}, {}", self.version(), self.cipher_suite(), self.group())
    }
}

//! The negotiated parameters of a handshake.

use std::fmt;
use std::sync::Arc;

use rustls::{CipherSuite, CommonState, NamedGroup, ProtocolVersion};

use crate::policy::{TlsPolicy, group_name, suite_name};
use crate::text::Quoted;

/// The parameters that a handshake negotiated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFacts {
    is_tls12: bool,
    cipher_suite: CipherSuite,
    group: NamedGroup,
    alpn: Option<Arc<[u8]>>,
}

impl TlsFacts {
    /// `None` while the handshake is not complete.
    pub(crate) fn of(connection: &CommonState, policy: &TlsPolicy) -> Option<Self> {
        Some(Self {
            is_tls12: match connection.protocol_version()? {
                ProtocolVersion::TLSv1_2 => true,
                ProtocolVersion::TLSv1_3 => false,
                _ => return None,
            },
            cipher_suite: connection.negotiated_cipher_suite()?.suite(),
            group: connection.negotiated_key_exchange_group()?.name(),
            alpn: connection.alpn_protocol().and_then(|name| policy.shared_protocol(name)),
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

    /// The application protocol (ALPN), such as `h2`. It is `None` only if the policy has [no
    /// list](crate::policy::TlsPolicyBuilder::alpn).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The application protocol as a log shows it.
    pub(crate) fn alpn_text(&self) -> Option<String> {
        self.alpn().map(|name| Quoted(&String::from_utf8_lossy(name)).to_string())
    }

    pub(crate) fn is_tls12(&self) -> bool {
        self.is_tls12
    }
}

impl fmt::Display for TlsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS {}, {}, {}", self.version(), self.cipher_suite(), self.group())?;
        self.alpn_text().map_or(Ok(()), |name| write!(f, ", ALPN {name}"))
    }
}

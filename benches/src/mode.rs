//! The modes of a handshake: what the two ends are told to do.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;
use typha_tls::testing::{FELIX_COMMON_NAME, FELIX_SPIFFE_ID, KeyType, TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID};

use super::protocol::{Required, Version};

/// The shape of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Mode {
    pub(crate) tls: Tls,
    pub(crate) group: Group,
    pub(crate) key: Key,
    /// How many intermediates stand between a leaf and the CA.
    pub(crate) chain_length: u8,
    pub(crate) cache: Cache,
    pub(crate) identity: Identity,
}

impl Mode {
    pub(crate) const STANDARD: Self = Self {
        tls: Tls::V13,
        group: Group::X25519,
        key: Key::P256,
        chain_length: 0,
        cache: Cache::Warm,
        identity: Identity::Both,
    };

    /// The share of clients that no Typha has seen before.
    pub(crate) fn fresh_share(&self) -> f64 {
        match self.cache {
            Cache::Cold => 1.0,
            Cache::Warm => 0.0,
        }
    }

    /// Whether no implementation can do this.
    pub(crate) fn impossible(&self) -> bool {
        // A key exchange of TLS 1.3 only.
        self.tls == Tls::V12 && self.group == Group::X25519Mlkem768
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, group, key, chain_length, cache, identity } = self;
        write!(f, "{} {} {}", name(tls), name(group), name(key))?;
        write!(f, " chain-{chain_length} {} {}", name(cache), name(identity))
    }
}

/// The name of a value as the command line and the report have it.
pub(crate) fn name<V: ValueEnum>(value: &V) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Serialized as the command line has it.
macro_rules! serialize_by_name {
    ($($type:ty),*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&$crate::mode::name(self))
            }
        }
    )*};
}

serialize_by_name!(Tls, Group, Key, Cache, Identity);
pub(crate) use serialize_by_name;

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Tls {
    #[value(name = "1.2")]
    V12,
    #[value(name = "1.3")]
    V13,
}

impl Tls {
    pub(crate) fn version(self) -> Version {
        match self {
            Self::V12 => Version::Tls12,
            Self::V13 => Version::Tls13,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Group {
    /// What the implementation offers by itself.
    Default,
    Secp256r1,
    Secp384r1,
    X25519,
    #[value(name = "X25519MLKEM768", alias = "x25519mlkem768")]
    X25519Mlkem768,
}

impl Group {
    /// What Felix is told to offer.
    pub(crate) fn offered(self) -> Vec<String> {
        match self {
            Self::Default => Vec::new(),
            group => vec![name(&group)],
        }
    }

    /// The group that a handshake with this offer ends up with.
    pub(crate) fn negotiated(self, tls: Tls) -> String {
        name(&match (self, tls) {
            (Self::Default, Tls::V13) => Self::X25519Mlkem768,
            (Self::Default, Tls::V12) => Self::X25519,
            (group, _) => group,
        })
    }
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, ValueEnum)]
pub(crate) enum Key {
    Ed25519,
    P256,
    P384,
    Rsa2048,
}

impl Key {
    pub(crate) fn key_type(self) -> KeyType {
        match self {
            Self::Ed25519 => KeyType::Ed25519,
            Self::P256 => KeyType::P256,
            Self::P384 => KeyType::P384,
            Self::Rsa2048 => KeyType::Rsa2048,
        }
    }
}

/// Whether Typha has seen the client's chain before.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Cache {
    Cold,
    Warm,
}

/// By what the other end is to be known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Identity {
    Both,
    Cn,
    Uri,
}

impl Identity {
    /// What Typha requires of Felix.
    pub(crate) fn of_felix(self) -> Required {
        self.required(FELIX_COMMON_NAME, FELIX_SPIFFE_ID)
    }

    /// What Felix requires of Typha.
    pub(crate) fn of_typha(self) -> Required {
        self.required(TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID)
    }

    fn required(self, common_name: &str, uri_san: &str) -> Required {
        Required {
            common_name: (self != Self::Uri).then(|| common_name.to_owned()),
            uri_san: (self != Self::Cn).then(|| uri_san.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_required_as_asked() {
        let required = Identity::Cn.of_felix();
        assert_eq!((required.common_name.as_deref(), required.uri_san), (Some("typha-client"), None));
        let required = Identity::Uri.of_typha();
        assert_eq!((required.common_name, required.uri_san.as_deref()), (None, Some(TYPHA_SPIFFE_ID)));
    }
}

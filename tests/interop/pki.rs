//! Certificates: good ones of every key type, and bad ones of every kind.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustls::AlertDescription;
use typha_tls::Role;
use typha_tls::testing::{CertificateSpec, KeyType, Purpose, TestCa, TestLeaf, TestPki};
use typha_tls::verifier::{ChainPosition, Rejection};

use super::names;

pub(crate) const KEY_TYPES: [KeyType; 5] =
    [KeyType::P256, KeyType::P384, KeyType::Rsa2048, KeyType::Rsa4096, KeyType::Ed25519];

const CA_NAME: &str = "calico-typha-ca";

/// A CA and both leaves, all with keys of one type; made once, for the sake of RSA.
pub(crate) fn pki(key_type: KeyType) -> &'static TestPki {
    static PKIS: [OnceLock<TestPki>; KEY_TYPES.len()] = [const { OnceLock::new() }; KEY_TYPES.len()];
    let index = KEY_TYPES.iter().position(|&known| known == key_type).unwrap();
    PKIS[index].get_or_init(|| {
        let ca = TestCa::new(CertificateSpec::ca(CA_NAME).key_type(key_type)).unwrap();
        TestPki {
            felix: ca.issue(spec(Role::Felix).key_type(key_type)).unwrap(),
            typha: ca.issue(spec(Role::Typha).key_type(key_type)).unwrap(),
            ca,
        }
    })
}

/// The leaf of one end.
pub(crate) fn leaf(pki: &TestPki, role: Role) -> &TestLeaf {
    match role {
        Role::Client | Role::Felix => &pki.felix,
        Role::Server | Role::Typha => &pki.typha,
    }
}

fn spec(role: Role) -> CertificateSpec {
    let (common_name, uri_san) = names(role);
    CertificateSpec::leaf(common_name).uri_san(uri_san).purpose(purpose(role))
}

fn purpose(role: Role) -> Purpose {
    match role {
        Role::Client | Role::Felix => Purpose::ClientAuth,
        Role::Server | Role::Typha => Purpose::ServerAuth,
    }
}

/// Why an end is to be refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flaw {
    /// Its CA has the name of the trusted one, but another key.
    CaKeyMismatch,
    Expired,
    NoCertificate,
    NotYetValid,
    UnknownCa,
    WrongIdentity,
    WrongPurpose,
}

impl Flaw {
    /// The flaws that a certificate can have.
    pub(crate) const OF_CERTIFICATES: [Self; 6] = [
        Self::CaKeyMismatch,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownCa,
        Self::WrongIdentity,
        Self::WrongPurpose,
    ];

    /// What an end with this flaw presents to a peer that trusts `ca`.
    pub(crate) fn leaf(self, ca: &TestCa, role: Role) -> Option<TestLeaf> {
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        let other_ca = |name| TestCa::new(CertificateSpec::ca(name)).unwrap();
        let leaf = match self {
            Self::CaKeyMismatch => other_ca(CA_NAME).issue(spec(role)),
            Self::Expired => ca.issue(spec(role).valid(now - 2 * hour, now - hour)),
            Self::NoCertificate => return None,
            Self::NotYetValid => ca.issue(spec(role).valid(now + hour, now + 2 * hour)),
            Self::UnknownCa => other_ca("another-ca").issue(spec(role)),
            Self::WrongIdentity => ca.issue(
                CertificateSpec::leaf("intruder").uri_san("spiffe://intruder/").purpose(purpose(role)),
            ),
            Self::WrongPurpose => {
                let (common_name, uri_san) = names(role);
                ca.issue(CertificateSpec::leaf(common_name).uri_san(uri_san).purpose(purpose(role.peer())))
            }
        };
        Some(leaf.unwrap())
    }

    /// Whether this is why our end refused an end in `role`.
    pub(crate) fn explains(self, rejection: &Rejection, role: Role) -> bool {
        match self {
            Self::CaKeyMismatch => matches!(rejection, Rejection::CaKeyMismatch { .. }),
            Self::Expired => {
                matches!(rejection, Rejection::Expired { position: ChainPosition::Leaf, .. })
            }
            Self::NoCertificate => matches!(rejection, Rejection::NoCertificate),
            Self::NotYetValid => {
                matches!(rejection, Rejection::NotYetValid { position: ChainPosition::Leaf, .. })
            }
            Self::UnknownCa => {
                matches!(rejection, Rejection::UnknownCa { issuer, .. } if issuer == r#"CN="another-ca""#)
            }
            Self::WrongIdentity => matches!(
                rejection,
                Rejection::IdentityMismatch(mismatch) if mismatch.presented.common_name() == Some("intruder")
            ),
            Self::WrongPurpose => {
                matches!(rejection, Rejection::WrongKeyUsage { role: of, .. } if *of == role)
            }
        }
    }

    /// The alert by which our end refuses.
    pub(crate) fn alert(self) -> AlertDescription {
        match self {
            Self::CaKeyMismatch | Self::UnknownCa => AlertDescription::UnknownCA,
            Self::Expired | Self::NotYetValid => AlertDescription::CertificateExpired,
            // Also in TLS 1.2, although only TLS 1.3 defines it.
            Self::NoCertificate => AlertDescription::CertificateRequired,
            Self::WrongIdentity => AlertDescription::AccessDenied,
            Self::WrongPurpose => AlertDescription::UnsupportedCertificate,
        }
    }
}

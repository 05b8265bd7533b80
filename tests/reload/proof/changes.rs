//! An end that comes to think worse of its peer, and in what ways.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::{AlertDescription, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::alg_id;
use typha_tls::material::{Material, RevocationLists};
use typha_tls::policy::TlsPolicy;
use typha_tls::reload::Reloader;
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, KeyType, TYPHA_COMMON_NAME, TestCa, TestClock, TestLeaf,
};
use typha_tls::{FelixConnector, RequiredIdentity, Role, TlsConfig, TyphaAcceptor};

use super::held::{Held, replaced};
use crate::hostile::provider;

/// Why the peer is no longer to get in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// The one that its CA signs with.
    AlgorithmWithdrawn,
    AnotherName,
    CaRemoved,
    /// By the clock; our own leaf is renewed with it, so that there is another generation, which remembers who was
    /// verified.
    Expired,
    Revoked,
}

impl Change {
    pub(crate) const ALL: [Self; 5] =
        [Self::AlgorithmWithdrawn, Self::AnotherName, Self::CaRemoved, Self::Expired, Self::Revoked];
    /// Those that another configuration makes alone.
    pub(crate) const OF_CONFIGURATIONS: [Self; 4] =
        [Self::AlgorithmWithdrawn, Self::AnotherName, Self::CaRemoved, Self::Revoked];

    /// The reason on the judging end, and the alert at the peer.
    pub(crate) fn refusal(self) -> (&'static str, AlertDescription) {
        match self {
            Self::AlgorithmWithdrawn => ("unsupported_algorithm", AlertDescription::UnsupportedCertificate),
            Self::AnotherName => ("identity_mismatch", AlertDescription::AccessDenied),
            Self::CaRemoved => ("unknown_ca", AlertDescription::UnknownCA),
            Self::Expired => ("expired", AlertDescription::CertificateExpired),
            Self::Revoked => ("revoked", AlertDescription::CertificateRevoked),
        }
    }
}

/// The end that judges, speaking one version.
pub(crate) struct Judge {
    ca: TestCa,
    other_ca: TestCa,
    own_name: &'static str,
    pub(crate) peer: TestLeaf,
    peer_name: &'static str,
    policy: TlsPolicy,
    /// Without the algorithm of the CAs.
    stricter_policy: TlsPolicy,
    pub(crate) clock: TestClock,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Judge {
    pub(crate) fn new(role: Role, version: &SupportedProtocolVersion) -> Self {
        let ca = |name| TestCa::new(CertificateSpec::ca(name)).unwrap();
        let (peers_ca, now, clock) = (ca("calico-typha-ca"), SystemTime::now(), TestClock::new());
        let (own_name, peer_name) = match role {
            Role::Felix => (FELIX_COMMON_NAME, TYPHA_COMMON_NAME),
            _ => (TYPHA_COMMON_NAME, FELIX_COMMON_NAME),
        };
        let peer = CertificateSpec::leaf(peer_name).key_type(KeyType::Ed25519);
        let policy = |provider| {
            let policy = TlsPolicy::builder().provider(provider).time_provider(Arc::new(clock.clone()));
            policy.build().unwrap()
        };
        Self {
            peer: peers_ca.issue(peer.valid(now - HOUR, now + HOUR)).unwrap(),
            ca: peers_ca,
            other_ca: ca("other-ca"),
            own_name,
            peer_name,
            policy: policy(provider(version)),
            stricter_policy: policy(only_ed25519(&provider(version))),
            clock,
        }
    }

    pub(crate) fn typha(&self) -> TyphaAcceptor {
        TyphaAcceptor::new(self.config(None))
    }

    pub(crate) fn felix(&self) -> FelixConnector {
        FelixConnector::new(self.config(None))
    }

    /// Our own leaf is another one each time.
    pub(crate) fn config(&self, change: Option<Change>) -> TlsConfig {
        let own = CertificateSpec::leaf(self.own_name).key_type(KeyType::Ed25519);
        let ca = if change == Some(Change::CaRemoved) { &self.other_ca } else { &self.ca };
        let bundle = ca.trust_bundle().unwrap();
        let provider = self.policy.provider();
        let revocation_lists = match change {
            Some(Change::Revoked) => {
                let list = ca.revocation_list(&[&self.peer], SystemTime::now() + 24 * HOUR).unwrap();
                RevocationLists::from_der([list], &bundle, provider).unwrap()
            }
            _ => RevocationLists::none(),
        };
        let credentials = self.ca.issue(own).unwrap().credentials(provider).unwrap();
        let mut material = Material::new(bundle, credentials);
        material.revocation_lists = revocation_lists;
        let name = if change == Some(Change::AnotherName) { "somebody-else" } else { self.peer_name };
        let is_stricter = change == Some(Change::AlgorithmWithdrawn);
        let policy = if is_stricter { &self.stricter_policy } else { &self.policy };
        TlsConfig::new(material, RequiredIdentity::common_name(name).unwrap(), policy.clone())
    }

    /// Reloads, from nothing wrong to this, as the second generation.
    pub(crate) async fn change(&self, change: Change, follow: impl FnOnce(Held) -> Reloader) {
        let reloader = follow(Held::new(self.config(Some(change))));
        if change == Change::Expired {
            self.clock.advance(2 * HOUR);
        }
        replaced(&reloader, 2).await;
    }
}

/// Verifies no other signatures.
fn only_ed25519(provider: &CryptoProvider) -> Arc<CryptoProvider> {
    let all = provider.signature_verification_algorithms.all.iter().copied();
    let all: Vec<_> = all.filter(|algorithm| algorithm.public_key_alg_id() == alg_id::ED25519).collect();
    let all: &'static [_] = all.leak();
    let mapping = vec![(SignatureScheme::ED25519, all)].leak();
    let signature_verification_algorithms = WebPkiSupportedAlgorithms { all, mapping };
    Arc::new(CryptoProvider { signature_verification_algorithms, ..provider.clone() })
}

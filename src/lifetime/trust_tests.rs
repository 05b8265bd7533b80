//! Verdicts on peers with several problems: an expired certificate must not hide the others.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime};

use super::trust::{LossKind, judge};
use crate::Role;
use crate::identity::RequiredIdentity;
use crate::material::{Material, RevocationLists, RevocationPolicy, TrustBundle};
use crate::policy::TlsPolicy;
use crate::testing::{CertificateSpec, TestCa, TestClock, TestLeaf, material};
use crate::verifier::{PeerVerifier, VerifiedPeer};

const HOUR: Duration = Duration::from_secs(3600);

/// A CA, and a Felix whose certificate holds for an hour, at the time that it connected.
struct Site {
    ca: TestCa,
    felix: TestLeaf,
    began: SystemTime,
    /// The peer as it was accepted.
    peer: VerifiedPeer,
}

/// The differences of another configuration.
struct Changed<'a> {
    cas: &'a [CertificateDer<'static>],
    required: &'a str,
    revoked: &'a [&'a TestLeaf],
    /// Time after the start.
    lists_last: Duration,
    policy: RevocationPolicy,
}

impl Site {
    fn new() -> Self {
        let began = SystemTime::now();
        let ca = TestCa::new(CertificateSpec::ca("ca").valid(began - HOUR, began + 1000 * HOUR)).unwrap();
        let spec = CertificateSpec::leaf("felix").valid(began - HOUR, began + HOUR);
        let felix = ca.issue(spec).unwrap();
        let verifier = verifier(&ca, &Changed::nothing(&[ca.root().clone()]), began);
        let chain = verifier.verify(felix.chain(), Role::Felix, at(began)).unwrap();
        let peer = VerifiedPeer::proven(chain);
        Self { ca, felix, began, peer }
    }

    /// The CA with a new certificate of the same name and key.
    fn renewed(&self, from: Duration, until: Duration) -> CertificateDer<'static> {
        let key = rcgen::KeyPair::from_pem(&self.ca.key_pem()).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "ca");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let origin = self.began - 100 * HOUR;
        (params.not_before, params.not_after) = ((origin + from).into(), (origin + until).into());
        params.self_signed(&key).unwrap().der().clone()
    }

    /// The verdict this long after the start: the kind of loss and the reason.
    fn judged(&self, after: Duration, changed: &Changed<'_>) -> (&'static str, &'static str) {
        let verifier = verifier(&self.ca, changed, self.began);
        match judge(&verifier, self.felix.chain(), &self.peer, at(self.began + after)) {
            Ok(_) => ("none", ""),
            Err(loss) => {
                let kind = match loss.kind {
                    LossKind::Distrusted => "trust",
                    LossKind::Expired => "expired",
                    LossKind::NotYetValid => "not yet valid",
                };
                (kind, loss.rejection.label())
            }
        }
    }
}

impl<'a> Changed<'a> {
    fn nothing(cas: &'a [CertificateDer<'static>]) -> Self {
        let policy = RevocationPolicy::default();
        Self { cas, required: "felix", revoked: &[], lists_last: 500 * HOUR, policy }
    }
}

fn verifier(ca: &TestCa, changed: &Changed<'_>, began: SystemTime) -> PeerVerifier {
    let policy = TlsPolicy::builder().time_provider(Arc::new(TestClock::new())).build().unwrap();
    let typha = ca.issue(CertificateSpec::leaf("typha")).unwrap();
    let mut material = material(ca, &typha, policy.provider()).unwrap();
    material.trust_bundle = TrustBundle::from_der(changed.cas.iter().cloned()).unwrap();
    let list = ca.revocation_list(changed.revoked, began - 10 * HOUR + changed.lists_last).unwrap();
    let lists = RevocationLists::from_der([list], &material.trust_bundle, policy.provider()).unwrap();
    material.revocation_lists = lists.with_policy(changed.policy);
    let required = RequiredIdentity::common_name(changed.required).unwrap();
    let Material { trust_bundle, revocation_lists, .. } = material;
    PeerVerifier::new(trust_bundle, revocation_lists, required, &policy)
}

fn at(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

/// After a renewal, the old certificate of a CA often stays in the file.
#[test]
fn an_expired_certificate_of_the_same_ca_does_not_hide_that_a_peer_is_revoked() {
    let site = Site::new();
    let (old, new) = (site.renewed(Duration::ZERO, 99 * HOUR), site.ca.root().clone());
    for cas in [[old.clone(), new.clone()], [new, old]] {
        let revoked = [&site.felix];
        let changed = Changed { revoked: &revoked, ..Changed::nothing(&cas) };
        assert_eq!(site.judged(Duration::ZERO, &changed), ("trust", "revoked"));
        assert_eq!(site.judged(2 * HOUR, &changed), ("trust", "revoked"));
        let verifier = verifier(&site.ca, &changed, site.began);
        let rejection = verifier.verify(site.felix.chain(), Role::Felix, at(site.began)).unwrap_err();
        assert_eq!(rejection.label(), "revoked");
        assert_eq!(site.judged(Duration::ZERO, &Changed::nothing(&cas)), ("none", ""));
        assert_eq!(site.judged(2 * HOUR, &Changed::nothing(&cas)), ("expired", "expired"));
    }
}

/// There is no time at which both the leaf and the new certificate of its CA are valid.
#[test]
fn a_ca_that_was_renewed_after_the_leaf_had_expired_hides_nothing() {
    let site = Site::new();
    let cas = [site.renewed(102 * HOUR, 200 * HOUR)];
    let revoked = [&site.felix];
    let later = 3 * HOUR;
    let nothing = Changed::nothing(&cas);
    assert_eq!(site.judged(later, &nothing), ("expired", "expired"));
    let somebody_else = Changed { required: "somebody else", ..Changed::nothing(&cas) };
    assert_eq!(site.judged(later, &somebody_else), ("trust", "identity_mismatch"));
    let revoking = Changed { revoked: &revoked, ..Changed::nothing(&cas) };
    assert_eq!(site.judged(later, &revoking), ("trust", "revoked"));
    // A certificate that is not valid yet does not help either, whatever the clock.
    assert_eq!(site.judged(Duration::ZERO, &nothing), ("not yet valid", "not_yet_valid"));
    assert_eq!(site.judged(Duration::ZERO, &somebody_else), ("trust", "identity_mismatch"));
    assert_eq!(site.judged(Duration::ZERO, &revoking), ("trust", "revoked"));
}

/// When a CA is removed, peers whose own certificate has expired are treated like the rest.
#[test]
fn a_dead_certificate_of_a_ca_that_was_removed_keeps_nobody() {
    let site = Site::new();
    // The certificate that accepted the peer is gone, and the remaining one had expired even then.
    let cas = [site.renewed(Duration::ZERO, 99 * HOUR)];
    for after in [Duration::ZERO, 2 * HOUR] {
        assert_eq!(site.judged(after, &Changed::nothing(&cas)), ("trust", "expired"), "after {after:?}");
    }
    // A successor that was not valid at the time of the peer makes no difference.
    let late = site.renewed(102 * HOUR, 200 * HOUR);
    for cas in [[cas[0].clone(), late.clone()], [late, cas[0].clone()]] {
        assert_eq!(site.judged(3 * HOUR, &Changed::nothing(&cas)), ("expired", "expired"));
    }
}

/// The earlier time is used to find the kind of the loss, and does not enter the cache.
#[test]
fn who_has_expired_takes_no_place_among_those_who_are_remembered() {
    let site = Site::new();
    let verifier = verifier(&site.ca, &Changed::nothing(&[site.ca.root().clone()]), site.began);
    assert!(judge(&verifier, site.felix.chain(), &site.peer, at(site.began + 2 * HOUR)).is_err());
    let verifier = format!("{verifier:?}");
    assert!(verifier.contains("ChainCache { chains: 0,"), "{verifier}");
}

#[test]
fn a_list_that_has_expired_hides_nothing() {
    let site = Site::new();
    let cas = [site.ca.root().clone()];
    let revoked = [&site.felix];
    let strict =
        || Changed { policy: RevocationPolicy::strict(), lists_last: 9 * HOUR, ..Changed::nothing(&cas) };
    // The list had expired before the peer's own time was over. To require a current one is new, and not a matter of
    // time.
    for (after, loss) in [(Duration::ZERO, "trust"), (2 * HOUR, "expired")] {
        assert_eq!(site.judged(after, &strict()).0, loss, "after {after:?}");
        let somebody_else = Changed { required: "somebody else", ..strict() };
        assert_eq!(site.judged(after, &somebody_else), ("trust", "identity_mismatch"), "after {after:?}");
        assert_eq!(site.judged(after, &Changed { revoked: &revoked, ..strict() }), ("trust", "revoked"));
    }
}

//! Every policy over every state of the lists.

use std::time::SystemTime;

use rustls_pki_types::UnixTime;
use typha_tls::Role;
use typha_tls::verifier::{ChainPosition, Rejection};

use super::*;
use crate::lists::{HOUR, List, certificate_pem, list_pem};
use crate::verdict::verdict;

/// What becomes of the peer: root, issuer, leaf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Accepted,
    LeafRevoked,
    IssuerRevoked,
    LeafUnknown,
    IssuerUnknown,
    LeafListExpired,
    IssuerListExpired,
}

impl Outcome {
    fn of(rejection: Rejection) -> Self {
        let (leaf, issuer) = ("CN=\"peer\"", "CN=\"issuer\"");
        match rejection {
            Rejection::Revoked { position: ChainPosition::Leaf, subject } if subject == leaf => {
                Self::LeafRevoked
            }
            Rejection::Revoked { position: ChainPosition::Intermediate, subject } if subject == issuer => {
                Self::IssuerRevoked
            }
            Rejection::RevocationStatusUnknown { subject, issuer: of } if subject == leaf && of == issuer => {
                Self::LeafUnknown
            }
            Rejection::RevocationStatusUnknown { subject, issuer: of }
                if subject == issuer && of == "CN=\"root\"" =>
            {
                Self::IssuerUnknown
            }
            Rejection::RevocationListUnusable { subject, why }
                if subject == leaf
                    && why.starts_with("the list of CN=\"issuer\" was to be replaced by 20") =>
            {
                Self::LeafListExpired
            }
            Rejection::RevocationListUnusable { subject, why }
                if subject == issuer
                    && why.starts_with("the list of CN=\"root\" was to be replaced by 20") =>
            {
                Self::IssuerListExpired
            }
            other => panic!("{other:?}"),
        }
    }
}

/// In the order of the columns below.
fn policies() -> Vec<RevocationPolicy> {
    let mut policies = Vec::new();
    for leaf_only in [false, true] {
        for refuse_unknown in [false, true] {
            for refuse_expired in [false, true] {
                let mut policy = RevocationPolicy::default();
                (policy.leaf_only, policy.refuse_unknown, policy.refuse_expired) =
                    (leaf_only, refuse_unknown, refuse_expired);
                policies.push(policy);
            }
        }
    }
    assert_eq!(policies[0], RevocationPolicy::default());
    assert_eq!(policies[3], RevocationPolicy::strict());
    policies
}

#[test]
fn every_policy_over_every_state() {
    use Outcome::{
        Accepted as Ok, IssuerListExpired as IX, IssuerRevoked as IR, IssuerUnknown as IU,
        LeafListExpired as LX, LeafRevoked as LR, LeafUnknown as LU,
    };
    let root = ca("root");
    let issuer = root.intermediate(CertificateSpec::ca("issuer")).unwrap();
    let leaf = peer(&issuer);
    let [leaf_der, issuer_der] = leaf.chain() else { panic!("the chain is leaf and issuer") };
    let (current, expired) = (List::new, List::expired);
    // The list of the root, that of the issuer; by chain, and by leaf alone: each with unknown allowed and refused,
    // each of those with expired lists allowed and refused.
    let states = [
        (Some(current()), Some(current()), [Ok, Ok, Ok, Ok], [Ok, Ok, Ok, Ok]),
        (Some(current()), Some(current().revoking(leaf_der)), [LR; 4], [LR; 4]),
        (Some(current().revoking(issuer_der)), Some(current()), [IR; 4], [Ok; 4]),
        (Some(current().revoking(issuer_der)), Some(current().revoking(leaf_der)), [LR; 4], [LR; 4]),
        (Some(current()), None, [Ok, Ok, LU, LU], [Ok, Ok, LU, LU]),
        (None, Some(current()), [Ok, Ok, IU, IU], [Ok; 4]),
        (None, None, [Ok, Ok, LU, LU], [Ok, Ok, LU, LU]),
        (None, Some(current().revoking(leaf_der)), [LR; 4], [LR; 4]),
        (Some(current().revoking(issuer_der)), None, [IR; 4], [Ok, Ok, LU, LU]),
        (Some(current()), Some(expired()), [Ok, LX, Ok, LX], [Ok, LX, Ok, LX]),
        (Some(expired()), Some(current()), [Ok, IX, Ok, IX], [Ok; 4]),
        (Some(expired()), Some(expired()), [Ok, LX, Ok, LX], [Ok, LX, Ok, LX]),
        (Some(expired()), None, [Ok, IX, LU, LU], [Ok, Ok, LU, LU]),
        (None, Some(expired()), [Ok, LX, IU, LX], [Ok, LX, Ok, LX]),
        (Some(current()), Some(expired().revoking(leaf_der)), [LR; 4], [LR; 4]),
        (Some(expired().revoking(issuer_der)), Some(current()), [IR; 4], [Ok; 4]),
        (Some(current().revoking(issuer_der)), Some(expired()), [IR; 4], [Ok, LX, Ok, LX]),
    ];
    let bundle = bundle(&[&root]);
    for (number, (of_root, of_issuer, by_chain, by_leaf)) in states.iter().enumerate() {
        let mut text = String::new();
        if let Some(list) = of_root {
            text += &list_pem(&list.signed_by(&root, "root"));
        }
        if let Some(list) = of_issuer {
            text += &(certificate_pem(issuer_der) + &list_pem(&list.signed_by(&issuer, "issuer")));
        }
        for (policy, expected) in policies().into_iter().zip(by_chain.iter().chain(by_leaf)) {
            let verifier = verifier(&text, &bundle, policy);
            let outcome = verdict(&verifier, leaf.chain(), Role::Felix, UnixTime::now());
            let outcome = outcome.map_or_else(Outcome::of, |_| Ok);
            assert_eq!(outcome, *expected, "state {number} under {policy:?}");
        }
    }
}

/// What was remembered while the list was current must not outlive it where that matters, and may where it does not.
#[test]
fn a_list_expires_under_a_remembered_chain() {
    let root = ca("root");
    let leaf = peer(&root);
    let bundle = bundle(&[&root]);
    let text = list_pem(&List::new().signed_by(&root, "root"));
    let at = |time: SystemTime| {
        let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        UnixTime::since_unix_epoch(seconds)
    };
    let (now, later) = (at(SystemTime::now()), at(SystemTime::now() + 2 * HOUR));
    for policy in policies() {
        let verifier = verifier(&text, &bundle, policy);
        let expired = if policy.refuse_expired { "revocation_list_unusable" } else { "accepted" };
        for (time, expected) in [(now, "accepted"), (later, expired), (now, "accepted")] {
            let outcome = verdict(&verifier, leaf.chain(), Role::Felix, time);
            let reason = outcome.as_ref().map_or_else(Rejection::label, |_| "accepted");
            assert_eq!(reason, expected, "{policy:?}");
        }
    }
}

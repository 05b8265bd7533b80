//! Which certificate is looked up in which list.

use rcgen::RevocationReason;
use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::Role;
use typha_tls::testing::Purpose;
use typha_tls::verifier::Rejection;

use super::*;
use crate::lists::{List, certificate_pem, list_pem, renewed};
use crate::verdict::verdict;

fn reason(verifier: &PeerVerifier, leaf: &TestLeaf) -> &'static str {
    let outcome = verdict(verifier, leaf.chain(), Role::Felix, UnixTime::now());
    outcome.as_ref().map_or_else(Rejection::label, |_| "accepted")
}

fn numbered(ca: &TestCa, serial: &[u8]) -> TestLeaf {
    ca.issue(CertificateSpec::leaf("peer").serial_number(serial)).unwrap()
}

/// A serial number whose first bit is set has an octet of zero before it in DER, in the certificate as on the list.
#[test]
fn serial_numbers() {
    let root = ca("root");
    let bundle = bundle(&[&root]);
    let serials: [&[u8]; 7] = [&[1], &[0x7f], &[0x80], &[0x80, 1], &[0, 0x85], &[1, 0x80], &[0xff; 20]];
    for listed in serials {
        let text = list_pem(&List::new().serial(&[0x55], None).serial(listed, None).signed_by(&root, "root"));
        let verifier = verifier(&text, &bundle, RevocationPolicy::default());
        for serial in serials {
            let expected = if serial == listed { "revoked" } else { "accepted" };
            assert_eq!(reason(&verifier, &numbered(&root, serial)), expected, "{serial:x?} {listed:x?}");
        }
    }
}

/// The reason is the CA's affair; removeFromCRL, which takes an entry back, has a meaning in delta lists only.
#[test]
fn every_reason_revokes() {
    let root = ca("root");
    let reasons = [
        RevocationReason::Unspecified,
        RevocationReason::KeyCompromise,
        RevocationReason::Superseded,
        RevocationReason::CertificateHold,
        RevocationReason::RemoveFromCrl,
    ];
    for code in reasons {
        let text = list_pem(&List::new().serial(&[9], Some(code)).signed_by(&root, "root"));
        let verifier = verifier(&text, &bundle(&[&root]), RevocationPolicy::default());
        assert_eq!(reason(&verifier, &numbered(&root, &[9])), "revoked", "{code:?}");
    }
}

/// The migration of a CA: the new one has the name of the old one, and may give the same serial numbers again.
#[test]
fn two_cas_of_one_name_have_a_list_each() {
    let (old, new) = (ca("root"), ca("root"));
    let [of_old, of_new] = [&old, &new].map(|ca| numbered(ca, &[9]));
    let both = bundle(&[&old, &new]);
    let revoking = list_pem(&List::new().serial(&[9], None).signed_by(&old, "root"));
    let empty = list_pem(&List::new().signed_by(&new, "root"));
    for text in [format!("{revoking}{empty}"), format!("{empty}{revoking}")] {
        let verifier = verifier(&text, &both, RevocationPolicy::strict());
        assert_eq!((reason(&verifier, &of_old), reason(&verifier, &of_new)), ("revoked", "accepted"));
    }
    // The list of the one says nothing of the other's certificates.
    let strict = verifier(&revoking, &both, RevocationPolicy::strict());
    assert_eq!(
        (reason(&strict, &of_old), reason(&strict, &of_new)),
        ("revoked", "revocation_status_unknown")
    );
    let default = verifier(&revoking, &both, RevocationPolicy::default());
    assert_eq!((reason(&default, &of_old), reason(&default, &of_new)), ("revoked", "accepted"));
}

#[test]
fn two_intermediates_of_one_name_have_a_list_each() {
    let root = ca("root");
    let [old, new] = [(); 2].map(|()| root.intermediate(CertificateSpec::ca("issuer")).unwrap());
    let [of_old, of_new] = [&old, &new].map(|ca| numbered(ca, &[9]));
    let revoking = list_pem(&List::new().serial(&[9], None).signed_by(&old, "issuer"));
    let empty = list_pem(&List::new().signed_by(&new, "issuer"));
    let certificates = certificate_pem(&of_old.chain()[1]) + &certificate_pem(&of_new.chain()[1]);
    for lists in [format!("{revoking}{empty}"), format!("{empty}{revoking}")] {
        let text = format!("{certificates}{lists}");
        let verifier = verifier(&text, &bundle(&[&root]), RevocationPolicy::default());
        assert_eq!((reason(&verifier, &of_old), reason(&verifier, &of_new)), ("revoked", "accepted"));
    }
}

/// One key under two names is two CAs, whose serial numbers have nothing to do with each other.
#[test]
fn a_list_counts_under_its_own_name_only() {
    let root = ca("root");
    let key = rcgen::KeyPair::from_pem(&root.key_pem()).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "other");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let other = params.self_signed(&key).unwrap().der().clone();
    let both = TrustBundle::from_der([root.root().clone(), other]).unwrap();
    let mut leaf = rcgen::CertificateParams::default();
    leaf.distinguished_name = rcgen::DistinguishedName::new();
    leaf.distinguished_name.push(rcgen::DnType::CommonName, "peer");
    leaf.serial_number = Some(rcgen::SerialNumber::from_slice(&[9]));
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&leaf_key, &rcgen::Issuer::new(params, key)).unwrap().der().clone();

    let text = list_pem(&List::new().serial(&[9], None).signed_by(&root, "root"));
    let verifier = verifier(&text, &both, RevocationPolicy::default());
    verdict(&verifier, &[leaf], Role::Felix, UnixTime::now()).unwrap();
    assert_eq!(reason(&verifier, &numbered(&root, &[9])), "revoked");
}

/// A deep chain: each certificate is looked up in the list of its own issuer.
#[test]
fn every_intermediate_is_looked_up() {
    let root = ca("root");
    let upper = root.intermediate(CertificateSpec::ca("upper")).unwrap();
    let lower = upper.intermediate(CertificateSpec::ca("lower")).unwrap();
    let leaf = peer(&lower);
    let [_, lower_der, upper_der] = leaf.chain() else { panic!("the chain has two intermediates") };
    let certificates = certificate_pem(lower_der) + &certificate_pem(upper_der);
    for (revoked, refused) in [(lower_der, "CN=\"lower\""), (upper_der, "CN=\"upper\"")] {
        let list = |ca: &TestCa, name: &str| list_pem(&List::new().revoking(revoked).signed_by(ca, name));
        let text =
            [&certificates, &*list(&lower, "lower"), &list(&upper, "upper"), &list(&root, "root")].concat();
        let verifier = verifier(&text, &bundle(&[&root]), RevocationPolicy::strict());
        let text = verdict(&verifier, leaf.chain(), Role::Felix, UnixTime::now()).unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "the intermediate certificate {refused} has been revoked by its issuer; give its owner a new one"
            )
        );
    }
}

/// Whoever is in the CA file is trusted as it is.
#[test]
fn what_is_in_the_bundle_is_not_looked_up() {
    let strict = RevocationPolicy::strict();
    let pinned = TestLeaf::self_signed(CertificateSpec::leaf("peer").purpose(Purpose::ClientAuth)).unwrap();
    let bundle = TrustBundle::from_der([pinned.chain()[0].clone()]).unwrap();
    assert_eq!(reason(&verifier("", &bundle, strict), &pinned), "accepted");

    let root = ca("root");
    let issuer = root.intermediate(CertificateSpec::ca("issuer")).unwrap();
    let leaf = peer(&issuer);
    let issuer_der = &leaf.chain()[1];
    let of_root = list_pem(&List::new().revoking(issuer_der).signed_by(&root, "root"));
    let of_issuer = list_pem(&List::new().signed_by(&issuer, "issuer"));
    let both = TrustBundle::from_der([root.root().clone(), issuer_der.clone()]).unwrap();
    let verifier = verifier(&format!("{of_root}{of_issuer}"), &both, strict);
    assert_eq!(reason(&verifier, &leaf), "accepted");
}

/// A strict policy without lists is no policy without effect.
#[test]
fn nobody_is_refused_without_a_list_and_everybody_with_the_strict_policy() {
    let root = ca("root");
    let leaf = peer(&root);
    let bundle = bundle(&[&root]);
    assert_eq!(reason(&verifier("", &bundle, RevocationPolicy::default()), &leaf), "accepted");
    let strict = verifier("", &bundle, RevocationPolicy::strict());
    assert_eq!(reason(&strict, &leaf), "revocation_status_unknown");
}

/// A CA that was renewed with its key: while its old certificate is still in the CA file, the expiry of that one must
/// not stand for the reason, since who is connected stays when something has only expired.
#[test]
fn that_the_old_certificate_of_the_ca_has_expired_does_not_hide_a_revocation() {
    let root = ca("root");
    let expired = renewed(&root, "root", -2, -1);
    let leaf = peer(&root);
    let text = list_pem(&List::new().revoking(&leaf.chain()[0]).signed_by(&root, "root"));
    for anchors in [[expired.clone(), root.root().clone()], [root.root().clone(), expired.clone()]] {
        let bundle = TrustBundle::from_der(anchors).unwrap();
        for policy in [RevocationPolicy::default(), RevocationPolicy::strict()] {
            assert_eq!(reason(&verifier(&text, &bundle, policy), &leaf), "revoked");
        }
        let accepting = verifier("", &bundle, RevocationPolicy::default());
        assert_eq!(reason(&accepting, &leaf), "accepted");
        let unknown = verifier("", &bundle, RevocationPolicy::strict());
        assert_eq!(reason(&unknown, &leaf), "revocation_status_unknown");
    }
}

/// What stands in the CA file is trusted whatever a list says of it; but somebody is told.
#[test]
fn a_revoked_ca_that_stands_in_the_bundle_is_told_of() {
    let (root, namesake) = (ca("root"), ca("root"));
    let issuer = root.intermediate(CertificateSpec::ca("issuer")).unwrap();
    let leaf = peer(&issuer);
    let both = TrustBundle::from_der([root.root().clone(), leaf.chain()[1].clone()]).unwrap();
    let revoking = List::new().revoking(&leaf.chain()[1]).signed_by(&root, "root");
    let read = lists(&list_pem(&revoking), &both, RevocationPolicy::default());
    let warnings = read.warnings(UnixTime::now());
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "the CA CN=\"issuer\" was revoked by CN=\"root\", but is itself in the CA bundle: certificates that it \
             issued are still accepted; remove it from the bundle"
        ]
    );
    assert_eq!(warnings[0].label(), "revoked_ca_in_bundle");
    assert_eq!(
        reason(&verifier(&list_pem(&revoking), &both, RevocationPolicy::default()), &leaf),
        "accepted"
    );
    let root_alone = verifier(&list_pem(&revoking), &bundle(&[&root]), RevocationPolicy::default());
    assert_eq!(reason(&root_alone, &leaf), "revoked");

    // The list of another CA of that name says nothing of it.
    let three = [root.root(), namesake.root(), &leaf.chain()[1]].map(CertificateDer::clone);
    let of_another = List::new().revoking(&leaf.chain()[1]).signed_by(&namesake, "root");
    let read =
        lists(&list_pem(&of_another), &TrustBundle::from_der(three).unwrap(), RevocationPolicy::default());
    assert_eq!(read.warnings(UnixTime::now()), []);
}

/// Octets that say nothing before a serial number, which DER forbids, must not make it another one.
#[test]
fn a_serial_number_that_is_not_in_its_shortest_form() {
    let root = ca("root");
    let bundle = bundle(&[&root]);
    for (serial, padded) in [
        (&[0x11, 0x22][..], &[2, 3, 0, 0x11, 0x22][..]),
        (&[0x85], &[2, 4, 0, 0, 0, 0x85]),
        (&[0], &[2, 2, 0, 0]),
    ] {
        let leaf = with_serial(&root, numbered(&root, &[1]).chain(), padded);
        let text = list_pem(&List::new().serial(serial, None).signed_by(&root, "root"));
        let verifier = verifier(&text, &bundle, RevocationPolicy::default());
        let outcome = verdict(&verifier, &[leaf], Role::Felix, UnixTime::now());
        assert_eq!(outcome.unwrap_err().label(), "revoked", "{padded:x?}");
    }
}

/// The leaf with another INTEGER for its serial number, signed again.
fn with_serial(ca: &TestCa, chain: &[CertificateDer<'_>], serial: &[u8]) -> CertificateDer<'static> {
    use rcgen::SigningKey as _;
    let [message, algorithm, _] = &*elements(&chain[0]) else { panic!("three parts") };
    let mut fields = elements(message);
    fields[1] = serial.to_vec();
    let message = sequence(&fields);
    let signature = rcgen::KeyPair::from_pem(&ca.key_pem()).unwrap().sign(&message).unwrap();
    let signature = [&[3, signature.len() as u8 + 1, 0], &*signature].concat();
    sequence(&[message, algorithm.clone(), signature]).into()
}

/// What a SEQUENCE consists of.
fn elements(sequence: &[u8]) -> Vec<Vec<u8>> {
    let header_and_length = |der: &[u8]| match der[1] {
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
        short => (2, usize::from(short)),
    };
    let mut rest = &sequence[header_and_length(sequence).0..];
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let (header, length) = header_and_length(rest);
        let (element, after) = rest.split_at(header + length);
        elements.push(element.to_vec());
        rest = after;
    }
    elements
}

fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    let contents = elements.concat();
    let header: &[u8] = match contents.len() {
        length @ 128..256 => &[0x30, 0x81, length as u8],
        length => &[0x30, 0x82, (length >> 8) as u8, length as u8],
    };
    [header, &*contents].concat()
}

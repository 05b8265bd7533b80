//! Each reason for which a chain is refused, with what the operator is told; and the chains next to it that are
//! accepted.

use std::time::{Duration, SystemTime};

use crate::verdict::verdict;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::Role;
use typha_tls::identity::RequiredIdentity;
use typha_tls::material::{RevocationLists, RevocationPolicy, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, KeyType, Purpose, TestCa, TestLeaf};
use typha_tls::verifier::{ChainPosition, PeerVerifier, Rejection, VerifiedChain};

const HOUR: Duration = Duration::from_secs(3600);

fn ca() -> TestCa {
    TestCa::new(CertificateSpec::ca("ca")).unwrap()
}

fn leaf_spec() -> CertificateSpec {
    CertificateSpec::leaf("typha-client")
}

fn verifier(bundle: TrustBundle, lists: RevocationLists) -> PeerVerifier {
    let required = RequiredIdentity::common_name("typha-client").unwrap();
    PeerVerifier::new(bundle, lists, required, &TlsPolicy::builder().build().unwrap())
}

fn judge(ca: &TestCa, chain: &[CertificateDer<'_>]) -> Result<VerifiedChain, Rejection> {
    verdict(
        &verifier(ca.trust_bundle().unwrap(), RevocationLists::none()),
        chain,
        Role::Felix,
        UnixTime::now(),
    )
}

fn judge_spec(spec: CertificateSpec) -> Result<VerifiedChain, Rejection> {
    let ca = ca();
    judge(&ca, ca.issue(spec).unwrap().chain())
}

/// Checks label and text of a refusal.
fn assert_refused(outcome: Result<VerifiedChain, Rejection>, reason: &str, text: &str) {
    let rejection = outcome.unwrap_err();
    assert_eq!((rejection.label(), rejection.to_string().as_str()), (reason, text));
}

/// A time as certificates have it.
fn seconds(time: SystemTime) -> UnixTime {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    UnixTime::since_unix_epoch(Duration::from_secs(since_epoch.as_secs()))
}

#[test]
fn no_certificate() {
    assert_refused(judge(&ca(), &[]), "no_certificate", "the peer presented no certificate");
}

#[test]
fn malformed_certificates() {
    let ca = ca();
    let good = ca.issue(leaf_spec()).unwrap();
    let der = good.chain()[0].to_vec();
    let cases = [
        b"not a certificate".to_vec(),
        Vec::new(),
        der[..der.len() - 1].to_vec(),
        [der.as_slice(), &[0]].concat(),
    ];
    for bytes in cases {
        let rejection = judge(&ca, &[CertificateDer::from(bytes)]).unwrap_err();
        assert_eq!(rejection.label(), "malformed_certificate", "{rejection}");
    }
}

/// No error of another library is shown.
#[test]
fn problems_that_only_webpki_finds() {
    let extension = |oid: &[u64], value: &[u8]| CertificateSpec::ca("lower").extension(oid, false, value);
    let reversed = CertificateSpec::ca("lower").valid(at(900_000_001), at(900_000_000));
    for (lower, problem) in [
        (
            extension(&[2, 5, 29, 37], &[0x30, 0]),
            "(certificate 2 of the chain): its extended key usage is empty; issue it again",
        ),
        (
            extension(NAME_CONSTRAINTS, &[0x30, 2, 0xa2, 0]),
            ": a certificate in the chain of CN=\"typha-client\": it is not valid DER; issue it again",
        ),
        (reversed, "(certificate 2 of the chain): its validity ends before it begins; issue it again"),
    ] {
        let ca = ca();
        let leaf = ca.intermediate(lower).unwrap().issue(leaf_spec()).unwrap();
        let expected = format!("malformed certificate {problem}").replace(" :", ":");
        assert_refused(judge(&ca, leaf.chain()), "malformed_certificate", &expected);
    }
}

#[test]
fn one_bad_name_spoils_the_leaf_even_if_the_other_matches() {
    // A subject alternative name with a URI that has a NUL in it.
    let san = [0x30, 5, 0x86, 3, b'a', b':', 0];
    let outcome = judge_spec(leaf_spec().extension(&[2, 5, 29, 17], false, &san));
    assert_refused(
        outcome,
        "malformed_certificate",
        "malformed certificate (the leaf): a URI SAN is empty or has white space, a control character or a byte \
         outside ASCII",
    );
}

#[test]
fn unknown_ca() {
    let (ours, other) = (ca(), TestCa::new(CertificateSpec::ca("other\n")).unwrap());
    let leaf = other.issue(leaf_spec()).unwrap();
    assert_refused(
        judge(&ours, leaf.chain()),
        "unknown_ca",
        "the certificate of CN=\"typha-client\" is issued by CN=\"other\\n\", which is not in the CA file; if that \
         is an intermediate CA, append its certificate to the certificate file of the peer; otherwise add it to the \
         CA file, if it is a CA of this cluster",
    );
    // With an intermediate, the issuer to look for is that one's.
    let intermediate = other.intermediate(CertificateSpec::ca("intermediate")).unwrap();
    let leaf = intermediate.issue(leaf_spec()).unwrap();
    match judge(&ours, leaf.chain()).unwrap_err() {
        Rejection::UnknownCa { issuer, .. } => assert_eq!(issuer, "CN=\"other\\n\""),
        other => panic!("{other}"),
    }
    // An intermediate that is not sent.
    match judge(&other, &leaf.chain()[..1]).unwrap_err() {
        Rejection::UnknownCa { issuer, .. } => assert_eq!(issuer, "CN=\"intermediate\""),
        other => panic!("{other}"),
    }
    judge(&other, leaf.chain()).unwrap();
}

/// The beginning of the key identifier of a CA, as its text shows it.
fn key(ca: &TestCa) -> String {
    let label = judge(ca, ca.issue(leaf_spec()).unwrap().chain()).unwrap().ca().to_owned();
    label.trim_start_matches("CN=\"ca\" (key ").trim_end_matches(')').to_owned()
}

#[test]
fn a_ca_made_anew_under_the_same_name() {
    let (old, new) = (ca(), ca());
    let leaf = new.issue(leaf_spec()).unwrap();
    assert_refused(
        judge(&old, leaf.chain()),
        "ca_key_mismatch",
        &format!(
            "the certificate of CN=\"typha-client\" names the trusted CA CN=\"ca\" as its issuer, but that CA's key \
             did not sign it (it names key {}, and the CA file has key {}); if you made that CA anew, put its old and \
             its new certificate into the CA file; otherwise the certificate is probably of another cluster whose CA \
             has the same name: issue one by a CA of this cluster; never add a CA that you did not make",
            key(&new),
            key(&old)
        ),
    );
    // With both in the bundle, both are tried.
    let both = TrustBundle::from_der([old.root().clone(), new.root().clone()]).unwrap();
    verdict(&verifier(both, RevocationLists::none()), leaf.chain(), Role::Felix, UnixTime::now()).unwrap();
}

#[test]
fn an_altered_signature() {
    let ca = ca();
    let mut der = ca.issue(leaf_spec()).unwrap().chain()[0].to_vec();
    *der.last_mut().unwrap() ^= 1;
    assert_refused(
        judge(&ca, &[CertificateDer::from(der)]),
        "invalid_signature",
        "the certificate of CN=\"typha-client\" has a bad signature: it was altered or is not issued by CN=\"ca\"",
    );
}

#[test]
fn validity_of_leaf_intermediate_and_ca() {
    let now = SystemTime::now();
    let (past, future) = ((now - 9 * HOUR, now - HOUR), (now + HOUR, now + 9 * HOUR));
    let good = (now - HOUR, now + HOUR);
    for (position, place) in
        [ChainPosition::Ca, ChainPosition::Intermediate, ChainPosition::Leaf].iter().zip(0..)
    {
        for bad in [past, future] {
            let mut validity = [good; 3];
            validity[place] = bad;
            let [(a, b), (c, d), (e, f)] = validity;
            let root = TestCa::new(CertificateSpec::ca("root").valid(a, b)).unwrap();
            let intermediate = root.intermediate(CertificateSpec::ca("intermediate").valid(c, d)).unwrap();
            let leaf = intermediate.issue(leaf_spec().valid(e, f)).unwrap();
            let subject = ["CN=\"root\"", "CN=\"intermediate\"", "CN=\"typha-client\""][place];
            match judge(&root, leaf.chain()).unwrap_err() {
                Rejection::Expired { position: found, subject: named, not_after, .. } if bad == past => {
                    assert_eq!((found, &*named, not_after), (*position, subject, seconds(past.1)));
                }
                Rejection::NotYetValid { position: found, subject: named, not_before, .. }
                    if bad == future =>
                {
                    assert_eq!((found, &*named, not_before), (*position, subject, seconds(future.0)));
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn validity_is_inclusive_and_judged_at_the_given_time() {
    let ca = TestCa::new(CertificateSpec::ca("ca").valid(at(0), at(9000))).unwrap();
    let leaf = ca.issue(leaf_spec().valid(at(1000), at(2000))).unwrap();
    let verifier = verifier(ca.trust_bundle().unwrap(), RevocationLists::none());
    let judge = |second| verdict(&verifier, leaf.chain(), Role::Felix, seconds(at(second)));
    judge(1000).unwrap();
    judge(2000).unwrap();
    assert_refused(
        judge(2001),
        "expired",
        "the leaf certificate CN=\"typha-client\" expired at 2001-09-09T02:20:00Z, and it is 2001-09-09T02:20:01Z \
         now; renew it",
    );
    assert_refused(
        judge(999),
        "not_yet_valid",
        "the leaf certificate CN=\"typha-client\" is not valid before 2001-09-09T02:03:20Z, and it is \
         2001-09-09T02:03:19Z now; check both clocks",
    );
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + second)
}

#[test]
fn a_renewed_ca_beside_its_expired_self() {
    // The same name and key cannot be had from two calls; a bundle with an expired CA of the same name and another key
    // is what an operator has in the middle of a renewal.
    let now = SystemTime::now();
    let expired = TestCa::new(CertificateSpec::ca("ca").valid(now - 9 * HOUR, now - HOUR)).unwrap();
    let renewed = ca();
    let bundle = TrustBundle::from_der([expired.root().clone(), renewed.root().clone()]).unwrap();
    let leaf = renewed.issue(leaf_spec()).unwrap();
    verdict(&verifier(bundle, RevocationLists::none()), leaf.chain(), Role::Felix, UnixTime::now()).unwrap();
}

#[test]
fn extended_key_usage() {
    use Purpose::{Any, ClientAuth, CodeSigning, ServerAuth};
    for (purposes, accepted) in [
        (&[][..], true),
        (&[ClientAuth], true),
        (&[Any], true),
        (&[CodeSigning, ClientAuth], true),
        (&[CodeSigning, Any], true),
        (&[ServerAuth], false),
        (&[CodeSigning], false),
    ] {
        let spec = purposes.iter().fold(leaf_spec(), |spec, &purpose| spec.purpose(purpose));
        match judge_spec(spec) {
            Ok(_) => assert!(accepted, "{purposes:?}"),
            Err(rejection) => {
                assert!(!accepted, "{purposes:?}: {rejection}");
                assert_refused(
                    Err(rejection),
                    "wrong_key_usage",
                    "the leaf certificate CN=\"typha-client\" is not allowed for clientAuth, which a Felix needs; \
                     issue it again with clientAuth in its extended key usage",
                );
            }
        }
    }
    // The same certificate is judged by the role of the peer.
    let ca = ca();
    let typha = ca.issue(leaf_spec().purpose(ServerAuth)).unwrap();
    let verifier = verifier(ca.trust_bundle().unwrap(), RevocationLists::none());
    verdict(&verifier, typha.chain(), Role::Typha, UnixTime::now()).unwrap();
}

#[test]
fn extended_key_usage_of_cas_nests() {
    let server_ca = TestCa::new(CertificateSpec::ca("ca").purpose(Purpose::ServerAuth)).unwrap();
    let leaf = server_ca.issue(leaf_spec()).unwrap();
    assert_refused(
        judge(&server_ca, leaf.chain()),
        "ca_unusable",
        "the CA CN=\"ca\" can not be used to verify this peer: its extended key usage does not include clientAuth",
    );
    let root = ca();
    let intermediate =
        root.intermediate(CertificateSpec::ca("intermediate").purpose(Purpose::ServerAuth)).unwrap();
    let leaf = intermediate.issue(leaf_spec()).unwrap();
    assert_refused(
        judge(&root, leaf.chain()),
        "wrong_key_usage",
        "the intermediate certificate CN=\"intermediate\" is not allowed for clientAuth, which a Felix needs; issue it \
         again with clientAuth in its extended key usage",
    );
}

#[test]
fn a_ca_certificate_as_a_leaf() {
    assert_refused(
        judge_spec(CertificateSpec::ca("typha-client")),
        "ca_used_as_leaf",
        "CN=\"typha-client\" is marked as a CA, and a peer must present a leaf certificate; issue it again with \
         basicConstraints = CA:FALSE",
    );
}

#[test]
fn path_lengths() {
    // webpki knows the limits of intermediates; those of the root are ours to check.
    for (root_limit, intermediate_limit, accepted) in
        [(2, 1, true), (1, 1, false), (2, 0, false), (0, 0, false)]
    {
        let root = TestCa::new(CertificateSpec::ca("root").path_length(root_limit)).unwrap();
        let upper = root.intermediate(CertificateSpec::ca("upper").path_length(intermediate_limit)).unwrap();
        let lower = upper.intermediate(CertificateSpec::ca("lower")).unwrap();
        let leaf = lower.issue(leaf_spec()).unwrap();
        match judge(&root, leaf.chain()) {
            Ok(_) => assert!(accepted),
            Err(rejection) => {
                assert!(!accepted, "{rejection}");
                let (ca, permitted) =
                    if intermediate_limit == 0 { ("upper", 0) } else { ("root", root_limit) };
                assert_refused(
                    Err(rejection),
                    "path_too_long",
                    &format!(
                        "too many CA certificates stand between the certificate of CN=\"typha-client\" and a trusted \
                         CA: the CA CN=\"{ca}\" permits {permitted} below it (pathlen); have it issued by a CA \
                         closer to the trusted one, or issue CN=\"{ca}\" again with a larger pathlen"
                    ),
                );
            }
        }
    }
}

#[test]
fn the_ca_that_permits_too_few_is_named() {
    let root = ca();
    let upper = root.intermediate(CertificateSpec::ca("upper").path_length(0)).unwrap();
    let lower = upper.intermediate(CertificateSpec::ca("lower").path_length(0)).unwrap();
    let rejection = judge(&root, lower.issue(leaf_spec()).unwrap().chain()).unwrap_err().to_string();
    assert!(rejection.contains("the CA CN=\"upper\" permits 0 below it (pathlen)"), "{rejection}");
}

#[test]
fn more_than_six_intermediates() {
    let root = ca();
    let mut lowest = root.intermediate(CertificateSpec::ca("1")).unwrap();
    for name in ["2", "3", "4", "5", "6"] {
        lowest = lowest.intermediate(CertificateSpec::ca(name)).unwrap();
    }
    judge(&root, lowest.issue(leaf_spec()).unwrap().chain()).unwrap();
    let seventh = lowest.intermediate(CertificateSpec::ca("7")).unwrap();
    let leaf = seventh.issue(leaf_spec()).unwrap();
    assert_eq!(judge(&root, leaf.chain()).unwrap_err().label(), "path_too_long");
}

#[test]
fn more_certificates_than_any_honest_peer_sends() {
    let ca = ca();
    let leaf = ca.issue(leaf_spec()).unwrap();
    let chain: Vec<_> = std::iter::repeat_n(leaf.chain()[0].clone(), 49).collect();
    assert_eq!(judge(&ca, &chain).unwrap_err().label(), "too_complex");
    judge(&ca, &chain[..48]).unwrap();
}

/// NameConstraints with one permitted subtree: the GeneralName of this tag and text.
fn permit(tag: u8, text: &str) -> Vec<u8> {
    let wrap = |tag: u8, inner: Vec<u8>| [vec![tag, u8::try_from(inner.len()).unwrap()], inner].concat();
    wrap(0x30, wrap(0xa0, wrap(0x30, wrap(tag, text.as_bytes().to_vec()))))
}

const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];

#[test]
fn name_constraints() {
    let ca = TestCa::new(CertificateSpec::ca("ca").extension(
        NAME_CONSTRAINTS,
        true,
        &permit(0x82, "inside.example"),
    ))
    .unwrap();
    judge(&ca, ca.issue(leaf_spec()).unwrap().chain()).unwrap();
    judge(&ca, ca.issue(leaf_spec().dns_san("a.inside.example")).unwrap().chain()).unwrap();
    assert_refused(
        judge(&ca, ca.issue(leaf_spec().dns_san("outside.example")).unwrap().chain()),
        "name_constraint_violation",
        "the DNS name \"outside.example\" in the certificate of CN=\"typha-client\" is outside what the name \
         constraints of CN=\"ca\" permit; issue it again without that name, or by a CA that permits it",
    );
}

#[test]
fn name_constraints_on_uris_are_told_apart() {
    let ca =
        TestCa::new(CertificateSpec::ca("ca").extension(NAME_CONSTRAINTS, true, &permit(0x86, ".local")))
            .unwrap();
    judge(&ca, ca.issue(leaf_spec()).unwrap().chain()).unwrap();
    assert_refused(
        judge(&ca, ca.issue(leaf_spec().uri_san("spiffe://cluster.local/a")).unwrap().chain()),
        "uri_name_constraint",
        "CN=\"ca\", a CA of CN=\"typha-client\", has name constraints on URIs, which are not supported: no leaf with \
         a URI SAN below that CA can be accepted, even one inside the constraint; issue it by a CA without such \
         constraints, or without a URI SAN, and require its Common Name",
    );
}

const PRIVATE_EXTENSION: &[u64] = &[1, 3, 6, 1, 4, 1, 99_999, 1];

#[test]
fn critical_extensions() {
    judge_spec(leaf_spec().extension(PRIVATE_EXTENSION, false, &[5, 0])).unwrap();
    assert_refused(
        judge_spec(leaf_spec().extension(PRIVATE_EXTENSION, true, &[5, 0])),
        "unhandled_critical_extension",
        "the leaf certificate CN=\"typha-client\" has a critical extension (1.3.6.1.4.1.99999.1) that is not \
         supported; issue it again without it, or with it not critical",
    );
    let ca = TestCa::new(CertificateSpec::ca("ca").extension(PRIVATE_EXTENSION, true, &[5, 0])).unwrap();
    match judge(&ca, ca.issue(leaf_spec()).unwrap().chain()).unwrap_err() {
        Rejection::CaUnusable { why, .. } => {
            assert_eq!(why, "it has a critical extension (1.3.6.1.4.1.99999.1) that is not supported");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_ca_file_entry_that_is_no_ca_never_issues() {
    for (spec, problem) in [
        (CertificateSpec::ca("ca").without_ca_flag(), "basic constraints do not mark it as a CA"),
        (CertificateSpec::ca("ca").without_key_cert_sign(), "its key usage does not include keyCertSign"),
    ] {
        let not_a_ca = TestCa::new(spec).unwrap();
        let leaf = not_a_ca.issue(leaf_spec()).unwrap();
        match judge(&not_a_ca, leaf.chain()).unwrap_err() {
            Rejection::CaUnusable { subject, why } => assert_eq!((&*subject, &*why), ("CN=\"ca\"", problem)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn an_intermediate_that_is_no_ca_never_issues() {
    let root = ca();
    for (spec, problem) in [
        (CertificateSpec::ca("sub").without_ca_flag(), "basic constraints do not mark it as a CA"),
        (CertificateSpec::ca("sub").without_key_cert_sign(), "its key usage does not include keyCertSign"),
    ] {
        let intermediate = root.intermediate(spec).unwrap();
        let leaf = intermediate.issue(leaf_spec()).unwrap();
        match judge(&root, leaf.chain()).unwrap_err() {
            Rejection::CaUnusable { subject, why } => assert_eq!((&*subject, &*why), ("CN=\"sub\"", problem)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_pinned_self_signed_leaf_is_accepted_as_itself_only() {
    let pinned = TestLeaf::self_signed(leaf_spec()).unwrap();
    let other = TestLeaf::self_signed(leaf_spec()).unwrap();
    let verifier =
        verifier(TrustBundle::from_der([pinned.chain()[0].clone()]).unwrap(), RevocationLists::none());
    let judge = |leaf: &TestLeaf| verdict(&verifier, leaf.chain(), Role::Felix, UnixTime::now());
    judge(&pinned).unwrap();
    assert_eq!(judge(&other).unwrap_err().label(), "ca_key_mismatch");
    // Validity and purpose are checked as for any leaf.
    let wrong = TestLeaf::self_signed(leaf_spec().purpose(Purpose::ServerAuth)).unwrap();
    let bundle = TrustBundle::from_der([wrong.chain()[0].clone()]).unwrap();
    let outcome = verdict(
        &self::verifier(bundle, RevocationLists::none()),
        wrong.chain(),
        Role::Felix,
        UnixTime::now(),
    );
    assert_eq!(outcome.unwrap_err().label(), "wrong_key_usage");
}

#[test]
fn revocation() {
    let (ca, other) = (ca(), TestCa::new(CertificateSpec::ca("other")).unwrap());
    let (revoked, good) = (ca.issue(leaf_spec()).unwrap(), ca.issue(leaf_spec()).unwrap());
    let unlisted = other.issue(leaf_spec()).unwrap();
    let bundle = TrustBundle::from_der([ca.root().clone(), other.root().clone()]).unwrap();
    let due = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let list = ca.revocation_list(&[&revoked], due).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let lists = RevocationLists::from_der([list], &bundle, &provider).unwrap();
    let judge = |policy, leaf: &TestLeaf| {
        let verifier = verifier(bundle.clone(), lists.clone().with_policy(policy));
        verdict(&verifier, leaf.chain(), Role::Felix, UnixTime::now())
    };
    let (default, strict) = (RevocationPolicy::default(), RevocationPolicy::strict());
    judge(default, &good).unwrap();
    judge(default, &unlisted).unwrap();
    for policy in [default, strict] {
        assert_refused(
            judge(policy, &revoked),
            "revoked",
            "the leaf certificate CN=\"typha-client\" has been revoked by its issuer; give its owner a new one",
        );
    }
    assert_refused(
        judge(strict, &good),
        "revocation_list_unusable",
        "the revocation list for the certificate of CN=\"typha-client\" can not be used: the list of CN=\"ca\" was to \
         be replaced by 2023-11-14T22:13:20Z; install a current one",
    );
    assert_refused(
        judge(strict, &unlisted),
        "revocation_status_unknown",
        "the revocation status of the certificate of CN=\"typha-client\" is unknown: there is no revocation list of \
         its issuer CN=\"other\"; add it to the configured lists",
    );
}

#[test]
fn every_key_type_of_the_defaults_is_accepted() {
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Rsa2048, KeyType::Ed25519] {
        let ca = TestCa::new(CertificateSpec::ca("ca").key_type(key_type)).unwrap();
        judge(&ca, ca.issue(leaf_spec().key_type(key_type)).unwrap().chain()).unwrap();
    }
}

#[test]
fn certificates_of_another_age() {
    let fixture = |name: &str| {
        let path = format!("{}/tests/fixtures/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        CertificateDer::from_pem_file(path).unwrap()
    };
    let verifier = verifier(TrustBundle::from_der([fixture("ca")]).unwrap(), RevocationLists::none());
    for (name, reason, text) in [
        (
            "rsa1024",
            "unsupported_key_size",
            "CN=\"typha-client\" has an RSA key of 1024 bits, but 2048 to 8192 are supported; issue it again with \
             such a key",
        ),
        (
            "dsa",
            "unsupported_algorithm",
            "the leaf certificate CN=\"typha-client\" can not be used: its DSA key is not supported; issue it again \
             for an ECDSA P-256 key, or an RSA key of 2048 to 8192 bits",
        ),
        (
            "p224",
            "unsupported_algorithm",
            "the leaf certificate CN=\"typha-client\" can not be used: its EC key on the curve P-224 is not \
             supported; issue it again for an ECDSA P-256 key, or an RSA key of 2048 to 8192 bits",
        ),
        (
            "sha1",
            "unsupported_algorithm",
            "the leaf certificate CN=\"typha-client\" can not be used: its signature by SHA-1 with ECDSA is not \
             supported; have its CA issue it again with SHA-256",
        ),
        (
            "version1",
            "unsupported_version",
            "the leaf certificate CN=\"typha-client\" is X.509 version 1, but only version 3 has the extensions that \
             are needed; issue it again with an extension: openssl x509 -req -in CSR -CA CA -CAkey KEY \
             -CAcreateserial -days DAYS -extfile EXT -out NEW (EXT is a file with the line extendedKeyUsage = \
             clientAuth, and with subjectAltName = URI:ID if a URI SAN is required)",
        ),
    ] {
        let outcome = verdict(&verifier, &[fixture(name)], Role::Felix, seconds(at(900_000_000)));
        assert_refused(outcome, reason, text);
    }
}

#[test]
fn texts_stay_short_and_printable_whatever_the_peer_presents() {
    let ca = ca();
    let long = "\u{202e}\n\"é".repeat(500);
    let many_uris = |spec| {
        (0..200).fold(spec, |spec: CertificateSpec, i| {
            spec.uri_san(&format!("spiffe://td/{i}/{}", "x".repeat(100)))
        })
    };
    let by = |issuer: &TestCa, spec| issuer.issue(spec).unwrap();
    let stranger = TestCa::new(CertificateSpec::ca(&long).common_name(&long)).unwrap();
    let namesake = self::ca();
    let long_oid: Vec<u64> =
        [1, 3].into_iter().chain(std::iter::repeat_n(u64::from(u32::MAX), 2000)).collect();
    for (leaf, reason) in [
        (by(&ca, many_uris(CertificateSpec::leaf(&long))), "identity_mismatch"),
        (by(&stranger, CertificateSpec::leaf(&long).common_name(&long)), "unknown_ca"),
        (by(&namesake, CertificateSpec::leaf(&long).common_name(&long)), "ca_key_mismatch"),
        (by(&ca, leaf_spec().extension(&long_oid, true, &[5, 0])), "unhandled_critical_extension"),
    ] {
        let rejection = judge(&ca, leaf.chain()).unwrap_err();
        let text = rejection.to_string();
        assert_eq!(rejection.label(), reason);
        assert!(text.len() < 1024 && text.bytes().all(|b| matches!(b, b' '..=b'~')), "{} {text}", text.len());
    }
}

//! What is lost if one set of revocation lists takes the place of another.

use rcgen::{BasicConstraints, DistinguishedName, DnType, IsCa};

use super::common_lists::{HOUR, List, certificate_pem, list_pem};
use super::*;

/// The lists in `pem`, of CAs of the bundle and below.
fn lists(pem: &str, bundle: &TrustBundle) -> RevocationLists {
    RevocationLists::from_pem(pem.as_bytes(), bundle, &provider()).unwrap()
}

fn bundle(cas: &[&str]) -> TrustBundle {
    TrustBundle::from_pem(cas.concat().as_bytes()).unwrap()
}

fn empty_list(ca: &TestCa, name: &str) -> String {
    list_pem(&List::new().signed_by(ca, name))
}

/// The certificate of the CA that a leaf of it sends.
fn intermediate_pem(ca: &TestCa) -> String {
    certificate_pem(&ca.issue(CertificateSpec::leaf("x")).unwrap().chain()[1])
}

/// The issuers whose list is missing if `new` takes the place of `former`.
#[track_caller]
fn missing(new: &RevocationLists, former: &RevocationLists, bundle: &TrustBundle) -> Vec<String> {
    let warnings = new.replacement_warnings(former, bundle, &provider(), UnixTime::now());
    let issuers = warnings.into_iter().map(|warning| match warning {
        MaterialWarning::RevocationListMissing { issuer } => issuer,
        other => panic!("{other}"),
    });
    issuers.collect()
}

/// The certificate of a CA with the name `name` and the key of `ca`, signed by its own key.
fn renewed_pem(ca: &TestCa, name: &str) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::from_pem(&ca.key_pem()).unwrap()).unwrap().pem()
}

#[test]
fn a_list_of_a_ca_that_stays_must_stay() {
    let (a, b, b2) = (ca("a"), ca("b"), ca("b"));
    let [a_pem, b_pem, b2_pem] = [&a, &b, &b2].map(TestCa::root_pem);
    let both = bundle(&[&a_pem, &b_pem]);
    let [of_a, of_b, of_b2] = [(&a, "a"), (&b, "b"), (&b2, "b")].map(|(ca, name)| empty_list(ca, name));
    let former = lists(&(of_a.clone() + &of_b), &both);
    let only_a = lists(&of_a, &both);
    assert_eq!(missing(&former, &former, &both), [""; 0]);
    assert_eq!(missing(&only_a, &former, &both), ["CN=\"b\""]);
    assert_eq!(missing(&RevocationLists::none(), &former, &both), ["CN=\"a\"", "CN=\"b\""]);
    // More lists, and a CA that goes with its list.
    assert_eq!(missing(&former, &only_a, &both), [""; 0]);
    assert_eq!(missing(&only_a, &former, &bundle(&[&a_pem])), [""; 0]);
    // With another certificate of the same name and key, it is the same CA.
    let renewed = bundle(&[&a_pem, &renewed_pem(&b, "b")]);
    assert_eq!(missing(&only_a, &former, &renewed), ["CN=\"b\""]);
    assert_eq!(missing(&lists(&(of_a.clone() + &of_b), &renewed), &former, &renewed), [""; 0]);
    // With another key, it is another one. The list of one does not stand in for that of the other.
    assert_eq!(missing(&only_a, &former, &bundle(&[&a_pem, &b2_pem])), [""; 0]);
    let all = bundle(&[&a_pem, &b_pem, &b2_pem]);
    assert_eq!(missing(&lists(&(of_a + &of_b2), &all), &former, &all), ["CN=\"b\""]);
    // A certificate of that name and key that is no CA issues nothing.
    let pinned = certificate_pem(
        CertificateParams::default().self_signed(&KeyPair::from_pem(&b.key_pem()).unwrap()).unwrap().der(),
    );
    assert_eq!(missing(&only_a, &former, &bundle(&[&a_pem, &pinned])), [""; 0]);
}

/// A leaf in the bundle needs no CA to be accepted, and is looked up in the list of the CA that signed it.
#[test]
fn a_list_that_revokes_a_leaf_of_the_bundle_must_stay() {
    let (a, b) = (ca("a"), ca("b"));
    let leaves =
        [7, 8].map(|serial| b.issue(CertificateSpec::leaf("felix").serial_number(&[serial])).unwrap());
    let [revoked, other] = leaves.each_ref().map(|leaf| certificate_pem(&leaf.chain()[0]));
    let (a_pem, b_pem) = (a.root_pem(), b.root_pem());
    let of_a = empty_list(&a, "a");
    let list = b.revocation_list(&[&leaves[0]], SystemTime::now() + HOUR).unwrap();
    let of_b = pem::encode(&pem::Pem::new("X509 CRL", list.to_vec()));
    let former = lists(&(of_a.clone() + &of_b), &bundle(&[&a_pem, &b_pem, &revoked]));
    assert_eq!(missing(&lists(&of_a, &bundle(&[&a_pem])), &former, &bundle(&[&a_pem])), [""; 0]);
    let pinned = bundle(&[&a_pem, &revoked]);
    assert_eq!(missing(&lists(&of_a, &pinned), &former, &pinned), ["CN=\"b\""]);
    let pinned = bundle(&[&a_pem, &other]);
    assert_eq!(missing(&lists(&of_a, &pinned), &former, &pinned), [""; 0]);
}

#[test]
fn an_intermediate_is_trusted_as_long_as_a_ca_above_it() {
    let (root, other) = (ca("root"), ca("other"));
    let upper = root.intermediate(CertificateSpec::ca("upper")).unwrap();
    let lower = upper.intermediate(CertificateSpec::ca("lower")).unwrap();
    let [root_pem, other_pem] = [&root, &other].map(TestCa::root_pem);
    let [upper_pem, lower_pem] = [&upper, &lower].map(intermediate_pem);
    let (of_root, of_lower) = (empty_list(&root, "root"), empty_list(&lower, "lower"));
    let (rooted, elsewhere) = (bundle(&[&root_pem, &other_pem]), bundle(&[&other_pem]));
    let none = RevocationLists::none();

    let former = lists(&[&*lower_pem, &upper_pem, &of_root, &of_lower].concat(), &rooted);
    assert_eq!(missing(&none, &former, &rooted), ["CN=\"root\"", "CN=\"lower\""]);
    assert_eq!(missing(&lists(&of_root, &rooted), &former, &rooted), ["CN=\"lower\""]);
    // The certificate alone stays.
    let certificates = [&*upper_pem, &lower_pem, &of_root].concat();
    assert_eq!(missing(&lists(&certificates, &rooted), &former, &rooted), ["CN=\"lower\""]);
    assert_eq!(missing(&none, &former, &elsewhere), [""; 0]);
    // Only its own issuer is still in the bundle, or only itself.
    assert_eq!(missing(&none, &former, &bundle(&[&upper_pem])), ["CN=\"lower\""]);
    assert_eq!(missing(&none, &former, &bundle(&[&lower_pem])), ["CN=\"lower\""]);

    // It was in the bundle itself, and so was the CA above it: peers send both as intermediates from now on.
    let all = bundle(&[&root_pem, &upper_pem, &lower_pem]);
    let former = lists(&of_lower, &all);
    assert_eq!(missing(&none, &former, &rooted), ["CN=\"lower\""]);
    // The former files do not tell who issued its issuer, but the new ones do.
    let former = lists(&of_lower, &bundle(&[&lower_pem]));
    assert_eq!(missing(&none, &former, &rooted), [""; 0]);
    let tells = lists(&(upper_pem + &of_root), &rooted);
    assert_eq!(missing(&tells, &former, &rooted), ["CN=\"lower\""]);

    // A CA with the name of the root, but not its key, has issued neither.
    let namesake = ca("root").root_pem();
    let former = lists(&[&*certificates, &of_lower].concat(), &rooted);
    assert_eq!(missing(&none, &former, &bundle(&[&namesake])), [""; 0]);
}

/// More signatures than are checked: each is issued by the one before, all of one name, in the order that costs most.
#[test]
fn a_ca_that_may_be_trusted_counts_as_trusted() {
    let spec = || CertificateSpec::ca("same");
    let (root, other) = (ca("root"), ca("other"));
    let mut chains = Vec::new();
    for _ in 0..2 {
        let mut chain = Vec::new();
        let mut issuer = root.intermediate(spec()).unwrap();
        for _ in 0..110 {
            chain.push(intermediate_pem(&issuer));
            issuer = issuer.intermediate(spec()).unwrap();
        }
        chain.reverse();
        chains.push(chain.concat());
    }
    let both = bundle(&[&root.root_pem(), &other.root_pem()]);
    let [of_root, of_other] = [(&root, "root"), (&other, "other")].map(|(ca, name)| empty_list(ca, name));
    let former = lists(&(chains[0].clone() + &of_root + &of_other), &both);
    let only_root = bundle(&[&root.root_pem()]);
    assert_eq!(missing(&lists(&of_root, &only_root), &former, &only_root), [""; 0]);
    let new = lists(&(chains[1].clone() + &of_root), &only_root);
    assert_eq!(missing(&new, &former, &only_root), ["CN=\"other\""]);
}

#[test]
fn a_list_must_not_become_older() {
    let a = ca("a");
    let bundle = bundle(&[&a.root_pem()]);
    let (begin, end) = year();
    let list = |days_later: u64| {
        lists(&list_pem(&List::new().of(begin + days(days_later), end).signed_by(&a, "a")), &bundle)
    };
    let unix_time =
        |time: SystemTime| UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let warnings = |new: &RevocationLists, former: &RevocationLists, now: SystemTime| {
        new.replacement_warnings(former, &bundle, &provider(), unix_time(now))
    };
    let (first, second) = (list(1), list(2));
    assert_eq!(warnings(&second, &first, end), []);
    assert_eq!(warnings(&second, &second, end), []);
    let (this_update, in_force) = (unix_time(begin + days(1)), unix_time(begin + days(2)));
    let older = MaterialWarning::RevocationListOlder { issuer: "CN=\"a\"".to_owned(), this_update, in_force };
    assert_eq!(warnings(&first, &second, begin + days(2)), [older]);
    // A wrong clock has made the second.
    assert_eq!(warnings(&first, &second, begin + days(2) - HOUR), []);
    // Its date does not matter if there is none at all.
    let missing = MaterialWarning::RevocationListMissing { issuer: "CN=\"a\"".to_owned() };
    assert_eq!(
        missing.to_string(),
        "there is no revocation list of CN=\"a\", which is still trusted and had one: its revoked certificates would \
         be accepted; put the list back, remove the CA (for an intermediate CA: the CA above it) from the CA file too, \
         or restart the daemon to use no list"
    );
    assert_eq!(warnings(&RevocationLists::none(), &second, begin), [missing]);
}

//! Revocation lists: good and damaged ones, and whose signature they must carry.

use rustls_pki_types::CertificateRevocationListDer;

use typha_tls::material::RevocationList;

use super::common_lists::{List, certificate_pem, list_pem};
use super::*;

fn spec(name: &str) -> CertificateSpec {
    let (begin, end) = year();
    CertificateSpec::ca(name).valid(begin, end)
}

fn bundle(cas: &[&TestCa]) -> TrustBundle {
    TrustBundle::from_der(cas.iter().map(|ca| ca.root().clone())).unwrap()
}

fn intermediate_of(ca: &TestCa) -> String {
    certificate_pem(&ca.issue(CertificateSpec::leaf("x")).unwrap().chain()[1])
}

fn from_pem(text: &str, bundle: &TrustBundle) -> Result<RevocationLists, MaterialError> {
    RevocationLists::from_pem(text.as_bytes(), bundle, &provider())
}

#[track_caller]
fn issuers(lists: &RevocationLists) -> Vec<&str> {
    lists.iter().map(RevocationList::issuer).collect()
}

/// What is wrong with the only list in `text`.
#[track_caller]
fn problem(text: &str, bundle: &TrustBundle) -> String {
    match from_pem(text, bundle).unwrap_err() {
        MaterialError::RevocationList { origin, position: 1, problem, .. } if origin == "the given bytes" => {
            problem
        }
        other => panic!("{other}"),
    }
}

#[test]
fn files_of_each_kind() {
    let (dir, a, b) = (Dir::new(), ca("a"), ca("b"));
    let bundle = bundle(&[&a, &b]);
    let (of_a, of_b) = (List::new().signed_by(&a, "a"), List::new().signed_by(&b, "b"));
    let (pem_a, pem_b) = (list_pem(&of_a), list_pem(&of_b));
    let load = |contents: &[&[u8]]| {
        let paths = contents.iter().enumerate().map(|(i, bytes)| dir.write(&format!("{i}.crl"), bytes));
        RevocationLists::from_files(paths, &bundle, &provider()).unwrap()
    };
    let (name_a, name_b) = ("CN=\"a\"", "CN=\"b\"");
    assert!(issuers(&load(&[])).is_empty());
    assert_eq!(issuers(&load(&[pem_a.as_bytes()])), [name_a]);
    assert_eq!(issuers(&load(&[&of_a])), [name_a]);
    assert_eq!(issuers(&load(&[&of_b, pem_a.as_bytes()])), [name_b, name_a]);
    // Text that begins with the first octet of DER.
    assert_eq!(issuers(&load(&[format!("0 a list\n{pem_a}{pem_b}").as_bytes()])), [name_a, name_b]);
    let dos = format!("{pem_a}{pem_b}").replace('\r', "").replace('\n', "\r\n");
    assert_eq!(issuers(&load(&[dos.as_bytes()])), [name_a, name_b]);
    // The certificate of a CA that is in the bundle anyway does no harm.
    assert_eq!(issuers(&load(&[format!("{}{pem_a}", a.root_pem()).as_bytes()])), [name_a]);

    let lists = RevocationLists::from_der([of_a, of_b], &bundle, &provider()).unwrap();
    assert_eq!(issuers(&lists), [name_a, name_b]);
    assert_eq!(format!("{lists:?}"), "RevocationLists(2)");
    assert_eq!(format!("{:?}", RevocationLists::none()), "RevocationLists(0)");
}

#[test]
fn a_file_without_a_list() {
    let (dir, a) = (Dir::new(), ca("a"));
    let file = dir.text("crl.pem");
    for (text, found) in [
        ("", "it is empty"),
        ("0", "it has no PEM block"),
        ("no list", "it has no PEM block"),
        (&a.root_pem(), "it has a certificate"),
    ] {
        let path = dir.write("crl.pem", text);
        let error = RevocationLists::from_files([path], &bundle(&[&a]), &provider()).unwrap_err();
        let expected = format!(
            "{file}: there is no revocation list (a PEM block X509 CRL, or DER) in it: {found}; put the revocation \
             lists here, in PEM or DER"
        );
        assert_eq!(error.to_string(), expected);
        assert!(matches!(error, MaterialError::NoRevocationList { origin, .. } if origin == file));
    }
    let none = RevocationLists::from_der([], &bundle(&[&a]), &provider()).unwrap_err();
    assert!(matches!(none, MaterialError::NoRevocationList { origin, .. } if origin == "the given bytes"));
}

#[test]
fn the_files_of_an_end() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    dir.write_material(&pki.ca, &pki.typha);
    let list = dir.write("ca.crl", List::new().signed_by(&pki.ca, "calico-typha-ca"));
    let mut files = TlsFiles::new(dir.path("ca.pem"), dir.path("cert.pem"), dir.path("key.pem"));
    assert_eq!((files.crl_files.len(), files.revocation), (0, RevocationPolicy::default()));
    let loaded = files.load(&provider()).unwrap().revocation_lists;
    assert_eq!((loaded.iter().len(), loaded.policy()), (0, RevocationPolicy::default()));
    (files.crl_files, files.revocation) = (vec![list.clone()], RevocationPolicy::strict());
    let loaded = files.load(&provider()).unwrap().revocation_lists;
    assert_eq!((loaded.iter().len(), loaded.policy()), (1, RevocationPolicy::strict()));
    dir.write("ca.pem", ca("calico-typha-ca").root_pem());
    let error = files.load(&provider()).unwrap_err();
    assert!(
        error.to_string().starts_with(&format!(
            "{}: revocation list 1 is unusable: it is signed with another key",
            list.display()
        )),
        "{error}"
    );
}

#[test]
fn damaged_lists() {
    let (dir, a) = (Dir::new(), ca("a"));
    let bundle = bundle(&[&a]);
    let list = List::new().signed_by(&a, "a");
    let (first, file) = (list_pem(&list), dir.text("crl.pem"));
    for damaged in [&b""[..], b"\x30\x00", &list[..list.len() - 1], &list[1..], a.root()] {
        let path = dir.write("crl.pem", first.clone() + &pem("X509 CRL", damaged));
        let error = RevocationLists::from_files([path], &bundle, &provider()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("{file}: revocation list 2 is unusable: ")), "{text}");
        assert!(matches!(error, MaterialError::RevocationList { position: 2, .. }), "{error:?}");
    }
    let error = from_pem(&(first.clone() + &pem("PRIVATE KEY", b"")), &bundle).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the given bytes: found a PEM block \"PRIVATE KEY\", but only X509 CRL blocks (the lists) and CERTIFICATE \
         blocks (intermediate CAs that signed them) are allowed here; remove it"
    );
    let text = format!("{first}{}", a.root_pem());
    for length in 0..text.trim_end().len() {
        if let Ok(lists) = from_pem(&text[..length], &bundle) {
            assert_eq!(lists.iter().len(), 1);
            let range = first.trim_end().len()..first.len() + "-----BEGIN".len();
            assert!(range.contains(&length), "{length}");
        }
    }
}

/// In DER, whatever is cut off or changed is found: a list never says less than its CA has signed.
#[test]
fn every_truncation_and_every_other_byte() {
    let a = ca("a");
    let bundle = bundle(&[&a]);
    let dir = Dir::new();
    let list = List::new().serial(&[7], None).serial(&[0x80, 1], None).signed_by(&a, "a");
    let of_der = |der: &[u8]| {
        RevocationLists::from_der([CertificateRevocationListDer::from(der.to_vec())], &bundle, &provider())
    };
    of_der(&list).unwrap();
    for length in 0..list.len() {
        of_der(&list[..length]).unwrap_err();
        let path = dir.write("crl.der", &list[..length]);
        RevocationLists::from_files([path], &bundle, &provider()).unwrap_err();
    }
    of_der(&[&list[..], &[0]].concat()).unwrap_err();
    let mut changed = list.to_vec();
    for position in 0..list.len() {
        for other in (1..=255).map(|difference| list[position] ^ difference) {
            changed[position] = other;
            let error = of_der(&changed).err();
            assert!(error.is_some(), "byte {position} as {other:#x}");
        }
        changed[position] = list[position];
    }
}

#[test]
fn a_list_must_be_signed_by_a_ca_of_the_bundle() {
    let a = ca("a");
    let list = list_pem(&List::new().signed_by(&a, "a"));
    assert_eq!(
        problem(&list, &bundle(&[&ca("b")])),
        "its issuer CN=\"a\" is no CA of the CA file; put the certificate of the CA that signed it into the CA file, \
         or, if peers send it as an intermediate, into this file"
    );
    assert_eq!(
        problem(&list, &bundle(&[&ca("a")])),
        "it is signed with another key than that of the CA CN=\"a\" in the CA file, or was altered: if that CA was \
         made anew under its name, put its other certificate into the CA file, too; otherwise leave this list out"
    );
    let not_for_lists = TestCa::new(spec("a").without_crl_sign()).unwrap();
    assert_eq!(
        problem(&list_pem(&List::new().signed_by(&not_for_lists, "a")), &bundle(&[&not_for_lists])),
        "its issuer CN=\"a\" may not sign lists, since its key usage does not include cRLSign; issue that CA's \
         certificate anew with it"
    );
    // A pinned leaf is no CA, whatever it signs.
    let pinned = TestCa::new(CertificateSpec::leaf("a")).unwrap();
    let text = problem(&list_pem(&List::new().signed_by(&pinned, "a")), &bundle(&[&pinned]));
    assert!(text.starts_with("its issuer CN=\"a\" is no CA of the CA file"), "{text}");

    // A CA with a P-256 key, and a provider that knows RSA only.
    let mut rsa_only = provider();
    let algorithms = rsa_only.signature_verification_algorithms.mapping.iter();
    let (_, known) =
        *algorithms.clone().find(|(scheme, _)| *scheme == rustls::SignatureScheme::RSA_PKCS1_SHA256).unwrap();
    rsa_only.signature_verification_algorithms.all = known;
    let error = RevocationLists::from_pem(list.as_bytes(), &bundle(&[&a]), &rsa_only).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the given bytes: revocation list 1 is unusable: its signature algorithm SHA-256 with ECDSA is not supported \
         with the key of its issuer CN=\"a\""
    );
}

#[test]
fn every_kind_of_key_signs_lists() {
    for key_type in [KeyType::Ed25519, KeyType::P256, KeyType::P384, KeyType::Rsa2048] {
        let a = TestCa::new(CertificateSpec::ca("a").key_type(key_type)).unwrap();
        from_pem(&list_pem(&List::new().signed_by(&a, "a")), &bundle(&[&a])).unwrap();
    }
}

#[test]
fn two_cas_of_one_name() {
    let (old, new) = (ca("a"), ca("a"));
    let both = bundle(&[&old, &new]);
    let [of_old, of_new] = [&old, &new].map(|ca| list_pem(&List::new().signed_by(ca, "a")));
    assert_eq!(from_pem(&(of_old.clone() + &of_new), &both).unwrap().iter().len(), 2);
    let error = from_pem(&(of_old.clone() + &of_new + &of_old), &both).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the given bytes: revocation list 3 is unusable: it is the second list of the same issuer, CN=\"a\"; leave \
         only the current one"
    );
    // Without the CA that was left behind, its list is nobody's.
    let error = from_pem(&(of_old + &of_new), &bundle(&[&new])).unwrap_err();
    assert!(matches!(error, MaterialError::RevocationList { position: 1, .. }), "{error}");
}

#[test]
fn a_second_list_in_another_file() {
    let (dir, a) = (Dir::new(), ca("a"));
    let list = List::new().signed_by(&a, "a");
    let paths = [dir.write("1.crl", &list), dir.write("2.crl", list_pem(&list))];
    let error = RevocationLists::from_files(paths, &bundle(&[&a]), &provider()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}: revocation list 1 is unusable: it is the second list of the same issuer, CN=\"a\"; leave only the \
             current one",
            dir.text("2.crl")
        )
    );
}

#[test]
fn lists_of_intermediates() {
    let root = ca("root");
    let first = root.intermediate(CertificateSpec::ca("first")).unwrap();
    let second = first.intermediate(CertificateSpec::ca("second")).unwrap();
    let bundle = bundle(&[&root]);
    let list = list_pem(&List::new().signed_by(&second, "second"));
    let text = problem(&list, &bundle);
    assert!(text.starts_with("its issuer CN=\"second\" is no CA of the CA file"), "{text}");

    let (first_pem, second_pem) = (intermediate_of(&first), intermediate_of(&second));
    for text in [
        format!("{first_pem}{second_pem}{list}"),
        format!("{second_pem}{first_pem}{list}"),
        format!("{list}{second_pem}{first_pem}{first_pem}"),
    ] {
        assert_eq!(issuers(&from_pem(&text, &bundle).unwrap()), ["CN=\"second\""]);
    }
    // In a file of its own kind, too, as long as there is a list in each.
    let dir = Dir::new();
    let of_first = List::new().signed_by(&first, "first");
    let files = [
        dir.write("1.crl", first_pem.clone() + &list_pem(&of_first)),
        dir.write("2.crl", second_pem.clone() + &list),
    ];
    let lists = RevocationLists::from_files(files, &bundle, &provider()).unwrap();
    assert_eq!(issuers(&lists), ["CN=\"first\"", "CN=\"second\""]);

    let error = from_pem(&format!("{second_pem}{list}"), &bundle).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the given bytes: certificate 1 can not vouch for a revocation list: CN=\"second\" is issued by CN=\"first\", \
         and not by a CA of the CA file; put the certificate of the CA that issued it into the CA file, or, if that \
         is an intermediate too, into this file"
    );
    // Neither is one that claims it, nor one that is no CA.
    let forged = intermediate_of(&ca("root").intermediate(CertificateSpec::ca("second")).unwrap());
    let error = from_pem(&format!("{forged}{list}"), &bundle).unwrap_err();
    assert!(matches!(error, MaterialError::RevocationListIssuer { position: 1, .. }), "{error}");
    let leaf = certificate_pem(&root.issue(CertificateSpec::leaf("second")).unwrap().chain()[0]);
    assert_eq!(
        from_pem(&format!("{first_pem}{leaf}{list}"), &bundle).unwrap_err().to_string(),
        "the given bytes: certificate 2 can not vouch for a revocation list: CN=\"second\" is no CA (basic \
         constraints do not mark it as a CA)"
    );
    let not_for_lists = root.intermediate(CertificateSpec::ca("second").without_crl_sign()).unwrap();
    let list = list_pem(&List::new().signed_by(&not_for_lists, "second"));
    let text = problem(&(intermediate_of(&not_for_lists) + &list), &bundle);
    assert!(text.starts_with("its issuer CN=\"second\" may not sign lists"), "{text}");
}

#[test]
fn lists_that_do_not_cover_all() {
    let a = ca("a");
    let list = List::new().of_a_distribution_point().signed_by(&a, "a");
    assert_eq!(
        problem(&list_pem(&list), &bundle(&[&a])),
        "it covers only a part of its issuer's certificates (issuing distribution point), which is not supported"
    );
}

#[test]
fn warnings_about_lists() {
    let a = ca("a");
    let bundle = bundle(&[&a]);
    let (begin, end) = year();
    let list = List::new().of(begin, end).signed_by(&a, "a");
    let lists = RevocationLists::from_der([list], &bundle, &provider()).unwrap();
    let unix_time =
        |time: SystemTime| UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let warnings = |lists: &RevocationLists, now: SystemTime| -> Vec<_> {
        let warnings = lists.warnings(unix_time(now));
        warnings.iter().map(|warning| (warning.label(), warning.to_string())).collect()
    };
    let second = Duration::from_secs(1);
    let only = lists.iter().next().unwrap();
    assert_eq!(only.next_update(), unix_time(end));
    let text = "the list of CN=\"a\" of 2025-01-01T00:00:00Z, to be replaced by 2026-01-01T00:00:00Z";
    assert_eq!(only.to_string(), text);
    assert_eq!(warnings(&lists, begin), []);
    assert_eq!(warnings(&lists, end - second), []);
    assert_eq!(
        warnings(&lists, begin - second),
        [(
            "revocation_list_not_yet_valid",
            "the revocation list of CN=\"a\" is of 2025-01-01T00:00:00Z, which is in the future: it is used \
             nevertheless; check the clock"
                .to_owned()
        )]
    );
    let expired = |meaning: &str| {
        let text = format!(
            "the revocation list of CN=\"a\" was to be replaced by 2026-01-01T00:00:00Z: {meaning}; install a current \
             one"
        );
        [("revocation_list_expired", text)]
    };
    assert_eq!(
        warnings(&lists, end),
        expired("it is still used, but lacks certificates that were revoked since")
    );
    let strict = lists.with_policy(RevocationPolicy::strict());
    assert_eq!(warnings(&strict, end), expired("every peer with a certificate of that CA will be refused"));

    let none = RevocationLists::none();
    assert_eq!(warnings(&none, begin), []);
    assert_eq!(
        warnings(&none.with_policy(RevocationPolicy::strict()), begin),
        [(
            "no_revocation_list",
            "there is no revocation list, but the policy refuses peers whose issuer has none: every peer will be \
             refused; add the lists of the CAs"
                .to_owned()
        )]
    );
}

/// The certificate of another CA's key, as that key would have it signed, in the name and with the key of `ca`.
fn forged_for_lists(ca: &TestCa, name: &str) -> String {
    let named = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
    };
    let key = KeyPair::from_pem(&ca.key_pem()).unwrap();
    let forger = rcgen::Issuer::new(named("forger"), KeyPair::generate().unwrap());
    certificate_pem(named(name).signed_by(&key, &forger).unwrap().der())
}

/// What the CA file says of a CA counts; nobody but who has issued it can say more.
#[test]
fn a_forged_certificate_does_not_let_a_ca_sign_lists() {
    let a = TestCa::new(spec("a").without_crl_sign()).unwrap();
    let list = list_pem(&List::new().signed_by(&a, "a"));
    let expected = problem(&list, &bundle(&[&a]));
    assert!(expected.contains("may not sign lists"), "{expected}");
    assert_eq!(problem(&(forged_for_lists(&a, "a") + &list), &bundle(&[&a])), expected);
    // Beside a CA that may anyway, it does no harm.
    let b = ca("b");
    let list = list_pem(&List::new().signed_by(&b, "b"));
    from_pem(&(forged_for_lists(&b, "b") + &list), &bundle(&[&b])).unwrap();
}

/// Each under the one before, all of one name, and in the order that costs most.
#[test]
fn the_work_for_intermediates_is_bounded() {
    let root = ca("a");
    let mut chain = Vec::new();
    let mut issuer = root.intermediate(spec("same")).unwrap();
    for _ in 0..200 {
        let below = issuer.intermediate(spec("same")).unwrap();
        chain.push(intermediate_of(&issuer));
        issuer = below;
    }
    chain.reverse();
    let list = list_pem(&List::new().signed_by(&root, "a"));
    let few: String = chain[100..].concat();
    from_pem(&(few + &list), &bundle(&[&root])).unwrap();
    let error = from_pem(&(chain.concat() + &list), &bundle(&[&root])).unwrap_err().to_string();
    assert!(error.contains("more than 10,000 signatures would have to be checked"), "{error}");
}

//! `check manager`: what a browser says about the certificate, and why.

use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::json;
use typha_tls::testing::{CertificateSpec, KeyType, Purpose, TestLeaf};

use super::server::{Server, findings, fixture, leaf};
use super::site::{DAY, ca, detail, name, only, spec};
use crate::lists::certificate_pem;

const HOST: &str = "manager.example";
const CHECK: [&str; 3] = ["manager", "--host", HOST];

const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];

/// The DER of anyExtendedKeyUsage alone.
const ANY: &[u8] = &[0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0];

/// With the key usage of a CA, which has no digitalSignature.
fn without_signatures() -> CertificateSpec {
    let now = SystemTime::now();
    let spec = CertificateSpec::ca("server").without_ca_flag().dns_san(HOST).purpose(Purpose::ServerAuth);
    spec.valid(now - DAY, now + 60 * DAY)
}

fn valid_for(days: u32) -> CertificateSpec {
    let begin = SystemTime::now() - DAY;
    leaf(HOST).valid(begin, begin + days * DAY)
}

#[test]
fn a_good_certificate_needs_its_ca_in_the_browser() {
    let ca = ca("site");
    let server = Server::new(&ca.issue(leaf(HOST)).unwrap());
    let (code, text) = server.text(&CHECK);
    let expected = "- own_chain: the browsers must have the CA CN=\"site\", which issued CN=\"server\"\n    \
                    fix: if CN=\"site\" is an intermediate CA, append its certificate to --chain DIR/chain.pem\n\
                    - days_left: our certificate expires in 59 days\n\
                    - host: the certificate is valid for the host manager.example\n\
                    \n\
                    no errors, no warnings\n";
    assert_eq!((code, &*text), (Some(0), expected));

    let ca_file = server.write("ca.pem", &ca.root_pem());
    let (code, lines) = server.check(&[&CHECK[..], &["--ca-file", &ca_file]].concat());
    let names: Vec<_> = lines.iter().map(name).collect();
    assert_eq!((code, names), (Some(0), vec!["days_left", "host", "trusted_ca", "own_chain"]));
    assert_eq!(
        lines[3],
        json!({ "level": "info", "fact": "own_chain", "detail": "the chain leads to a CA of DIR/ca.pem" })
    );
}

#[test]
fn a_common_name_does_not_count() {
    let server = Server::new(&ca("site").issue(spec(HOST, Purpose::ServerAuth)).unwrap());
    let (code, text) = server.text(&CHECK);
    let expected = "✗ host_mismatch: --chain DIR/chain.pem: the server's certificate is not valid for the host \
                    manager.example: it has neither a DNS name nor an IP address as subject alternative name (only its \
                    Common Name is manager.example, and that does not count)\n    \
                    fix: issue it again with subjectAltName = DNS:manager.example\n";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!((code, text.lines().last()), (Some(1), Some("1 error, no warnings: host_mismatch")));
}

/// What is wrong with the leaf alone, each the only finding.
#[test]
fn each_mistake_in_the_leaf_is_one_finding() {
    let now = SystemTime::now();
    let name = || CertificateSpec::leaf("server").dns_san(HOST).valid(now - DAY, now + 60 * DAY);
    let specs = [
        (leaf(HOST).valid(now - 2 * DAY, now - DAY), "error leaf_expired"),
        (leaf(HOST).valid(now - 99 * DAY, now + 5 * DAY), "warning leaf_expires_soon"),
        (leaf(HOST).valid(now + DAY, now + 60 * DAY), "error leaf_not_yet_valid"),
        (name().purpose(Purpose::ClientAuth), "error leaf_lacks_purpose"),
        (name(), "warning no_server_auth"),
        (name().extension(EXTENDED_KEY_USAGE, false, ANY), "warning no_server_auth"),
        (without_signatures(), "error key_usage"),
        (leaf(HOST).key_type(KeyType::Ed25519), "error key_type"),
        (valid_for(826), "warning validity_too_long"),
        // Its names can not be judged.
        (leaf(HOST).extension(&[1, 3, 6, 1, 4, 1, 99999, 1], true, &[5, 0]), "error own_chain_refused"),
    ];
    let site = ca("site");
    for (spec, finding) in specs {
        let server = Server::new(&site.issue(spec).unwrap());
        let (code, lines) = server.check(&CHECK);
        assert_eq!((code, findings(&lines)), (Some(1), vec![finding.to_owned()]));
        // The CA file, which shows more, leads to no other finding.
        let ca_file = server.write("ca.pem", &site.root_pem());
        let (_, lines) = server.check(&[&CHECK[..], &["--ca-file", &ca_file]].concat());
        assert_eq!(findings(&lines), [finding]);
    }
    let server = Server::new(&TestLeaf::self_signed(leaf(HOST)).unwrap());
    assert_eq!(findings(&server.check(&CHECK).1), ["warning self_signed"]);
    let as_ca = CertificateSpec::ca("server").dns_san(HOST).purpose(Purpose::ServerAuth);
    let server = Server::new(&site.issue(as_ca.valid(now - DAY, now + 60 * DAY)).unwrap());
    // The key usage of a CA has no digitalSignature.
    assert_eq!(findings(&server.check(&CHECK).1), ["error leaf_is_ca", "error key_usage"]);
}

#[test]
fn the_texts_of_the_rules_of_browsers() {
    let site = ca("site");
    let line = |spec, label| {
        let server = Server::new(&site.issue(spec).unwrap());
        only(&server.check(&CHECK).1, label).clone()
    };
    let too_long = line(valid_for(826), "validity_too_long");
    let limits = "issue it for at most 825 days";
    let problem = "the certificate is valid for 826 days in all: Safari refuses more than 825 days, whichever CA \
                   issued it";
    assert_eq!(
        too_long,
        json!({
            "level": "warning", "finding": "validity_too_long", "about": "--chain DIR/chain.pem",
            "detail": format!("{problem}; {limits}"), "fix": limits,
        })
    );
    for days in [399, 825] {
        let line = line(valid_for(days), "validity");
        let detail = format!(
            "the certificate is valid for {days} days in all: that is good for a CA of your own, but Chrome and Safari \
             refuse more than 398 days of a CA that they are delivered with"
        );
        assert_eq!((&line["level"], &line["detail"]), (&json!("info"), &json!(detail)));
    }
    let server = Server::new(&site.issue(valid_for(398)).unwrap());
    assert!(server.check(&CHECK).1.iter().all(|line| name(line) != "validity"));
    let bare = CertificateSpec::leaf("x").dns_san(HOST);
    assert_eq!(
        line(bare, "no_server_auth")["detail"],
        "the certificate does not name serverAuth in an extended key usage: Safari refuses it; issue it again with \
         extendedKeyUsage = serverAuth"
    );
    assert_eq!(
        line(without_signatures(), "key_usage")["detail"],
        "the certificate has a key usage without digitalSignature: Chrome refuses it \
         (ERR_SSL_KEY_USAGE_INCOMPATIBLE); issue it again with keyUsage = digitalSignature, or without a key usage"
    );
    assert_eq!(
        line(leaf(HOST).key_type(KeyType::Ed25519), "key_type")["detail"],
        "the certificate has an Ed25519 key, which no browser supports; issue one for a key on the curve P-256: \
         openssl ecparam -name prime256v1 -genkey -noout"
    );
}

/// The chain is valid for a century, so that this test does not expire.
#[test]
fn a_signature_by_sha_1_is_refused() {
    let server = Server::of_pem(&fixture("sha1.pem"), &fixture("sha1.key"));
    let (code, lines) = server.check(&CHECK);
    assert_eq!(
        (code, findings(&lines)),
        (Some(1), vec!["error own_chain_refused".to_owned(), "warning validity_too_long".to_owned()])
    );
    assert_eq!(
        detail(&lines, "own_chain_refused"),
        "browsers will probably refuse our certificate (unsupported_algorithm): the leaf certificate CN=\"manager\" \
         can not be used: its signature by SHA-1 with RSA is not supported; have its CA issue it again with SHA-256"
    );
}

#[test]
fn an_rsa_key_of_1024_bits_is_refused() {
    let server = Server::of_pem(&fixture("rsa1024.pem"), &fixture("rsa1024.key"));
    let (code, lines) = server.check(&CHECK);
    let line = only(&lines, "cert_file_and_key_file");
    assert_eq!((code, &line["about"]), (Some(1), &json!("--key")));
    let problem =
        "DIR/key.pem: the private key can not be used: it is an RSA key of 1024 bits, which is not supported";
    assert!(line["detail"].as_str().unwrap().starts_with(problem), "{line}");
}

#[test]
fn a_key_of_another_certificate_hides_nothing_of_the_chain() {
    let site = ca("site");
    let server = Server::of_pem(
        &site.issue(leaf("other.example")).unwrap().chain_pem(),
        &site.issue(leaf(HOST)).unwrap().key_pem(),
    );
    let (code, lines) = server.check(&CHECK);
    let expected = ["error cert_file_and_key_file", "error host_mismatch"];
    assert_eq!((code, findings(&lines)), (Some(1), expected.map(str::to_owned).to_vec()));
    assert_eq!(
        only(&lines, "cert_file_and_key_file")["fix"],
        "set --key to the key that --chain was issued for, or issue a certificate for this key: openssl x509 -in \
         DIR/chain.pem -noout -pubkey and openssl pkey -in DIR/key.pem -pubout must print the same"
    );
}

/// The certificates of the file, the findings with their problems, and a part of what is said of the CA.
type Case<'a> = (&'a [&'a String], &'a [(&'a str, &'a str)], &'a str);

#[test]
fn intermediates_are_present_and_in_order() {
    let root = ca("root");
    let middle = root.intermediate(CertificateSpec::ca("middle")).unwrap();
    let low = middle.intermediate(CertificateSpec::ca("low")).unwrap();
    let own = low.issue(leaf(HOST)).unwrap();
    let pem: Vec<_> = own.chain().iter().map(certificate_pem).collect();
    let [leaf, low, middle] = &pem[..] else { panic!("{}", pem.len()) };
    let (root, other) = (root.root_pem(), ca("other").root_pem());
    let unneeded = "the chain has certificates that are not of its issuers: CN=\"other\"";
    let order = "the certificates are not in order, which TLS 1.2 requires and some clients insist on";
    let broken = "the chain is broken: CN=\"server\" is issued by CN=\"low\", but the next certificate is \
                  CN=\"middle\", and no other one is of CN=\"low\"";
    let missing =
        "the chain does not lead to a CA of DIR/ca.pem: CN=\"low\", which issued CN=\"server\", is not in it";
    let cases: [Case; 6] = [
        (&[leaf, low, middle], &[], "root"),
        (&[leaf, low, middle, &root], &[], "to which"),
        (&[leaf, middle, low], &[("warning chain_order", order)], "root"),
        (&[leaf, low, middle, &other], &[("warning chain_order", unneeded)], "root"),
        (&[leaf], &[("error own_chain", missing)], "low"),
        (&[leaf, middle], &[("error chain_order", broken), ("error own_chain", missing)], "low"),
    ];
    for (chain, expected, needed) in cases {
        let chain: String = chain.iter().map(|pem| pem.as_str()).collect();
        let server = Server::of_pem(&chain, &own.key_pem());
        let ca_file = server.write("ca.pem", &root);
        let (code, lines) = server.check(&[&CHECK[..], &["--ca-file", &ca_file]].concat());
        let labels: Vec<_> = expected.iter().map(|(label, _)| (*label).to_owned()).collect();
        assert_eq!((code, findings(&lines)), (Some(i32::from(!expected.is_empty())), labels));
        for (label, problem) in expected {
            let line = only(&lines, label.split_once(' ').unwrap().1);
            assert!(line["detail"].as_str().unwrap().starts_with(&format!("{problem}; ")), "{line}");
        }
        // Without the CA file, only its name can be said.
        let (_, lines) = server.check(&CHECK);
        assert!(detail(&lines, "own_chain").contains(needed), "{lines:?}");
        assert!(!findings(&lines).iter().any(|label| label.ends_with("own_chain")), "{lines:?}");
    }
}

/// A CA of rcgen, which may have several certificates for one key.
fn rcgen_ca(name: &str, days: [i64; 2]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    let now = time::OffsetDateTime::now_utc();
    [params.not_before, params.not_after] = days.map(|days| now + time::Duration::days(days));
    params
}

/// A renewal for the same key, and a certificate by another root.
#[test]
fn an_intermediate_may_have_several_certificates() {
    let [root_key, other_key, low_key, key] = [(); 4].map(|()| KeyPair::generate().unwrap());
    let (root, other) = (rcgen_ca("root", [-9, 99]), rcgen_ca("other", [-9, 99]));
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let other_pem = other.self_signed(&other_key).unwrap().pem();
    let (root, other) = (Issuer::new(root, root_key), Issuer::new(other, other_key));
    let low = |days, by| rcgen_ca("low", days).signed_by(&low_key, by).unwrap().pem();
    let (old, new, crossed) = (low([-9, -1], &root), low([-9, 99], &root), low([-9, 99], &other));
    let mut params = CertificateParams::new([HOST.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let of_days = rcgen_ca("", [-9, 60]);
    (params.not_before, params.not_after) = (of_days.not_before, of_days.not_after);
    let leaf =
        params.signed_by(&key, &Issuer::from_params(&rcgen_ca("low", [0, 9]), &low_key)).unwrap().pem();
    let with_root = "the browsers must have the CA CN=\"root\", to which the chain leads";
    let cases: [(&[&String], &str); 4] = [
        (&[&leaf, &old, &new, &root_pem], with_root),
        (&[&leaf, &new, &old, &root_pem], with_root),
        (&[&leaf, &new, &crossed], "the browsers must have the CA CN=\"root\", which issued CN=\"low\""),
        (&[&leaf, &crossed, &new], "the browsers must have the CA CN=\"other\", which issued CN=\"low\""),
    ];
    for (chain, needed) in cases {
        let chain: String = chain.iter().map(|pem| pem.as_str()).collect();
        let server = Server::of_pem(&chain, &key.serialize_pem());
        let (code, lines) = server.check(&CHECK);
        assert_eq!((code, findings(&lines)), (Some(0), vec![]), "{lines:?}");
        assert!(detail(&lines, "own_chain").starts_with(needed), "{lines:?}");
        let ca_file = server.write("ca.pem", &(root_pem.clone() + &other_pem));
        let (code, lines) = server.check(&[&CHECK[..], &["--ca-file", &ca_file]].concat());
        assert_eq!((code, findings(&lines)), (Some(0), vec![]), "{lines:?}");
    }
}

/// The first certificate of the issuer's name is of another key.
#[test]
fn of_several_certificates_of_its_name_the_issuer_is_the_one_with_its_key() {
    let root = ca("root");
    let low = root.intermediate(CertificateSpec::ca("low")).unwrap();
    let own = low.issue(leaf(HOST)).unwrap();
    let pem: Vec<_> = own.chain().iter().map(certificate_pem).collect();
    let [leaf, low] = &pem[..] else { panic!("{}", pem.len()) };
    let of_other_key =
        root.intermediate(CertificateSpec::ca("low")).unwrap().issue(spec("x", Purpose::ServerAuth));
    let of_other_key = certificate_pem(&of_other_key.unwrap().chain()[1]);
    let unneeded = "the chain has certificates that are not of its issuers: CN=\"low\"";
    let check = |chain: String| {
        let server = Server::of_pem(&chain, &own.key_pem());
        let (code, lines) = server.check(&CHECK);
        let ca_file = server.write("ca.pem", &root.root_pem());
        let (_, of_ca_file) = server.check(&[&CHECK[..], &["--ca-file", &ca_file]].concat());
        assert_eq!(findings(&lines), findings(&of_ca_file));
        (code, lines)
    };
    for chain in [[leaf, &of_other_key, low, &root.root_pem()], [leaf, low, &of_other_key, &root.root_pem()]]
    {
        let (code, lines) = check(chain.map(String::as_str).concat());
        assert_eq!((code, findings(&lines)), (Some(1), vec!["warning chain_order".to_owned()]));
        assert!(detail(&lines, "chain_order").starts_with(unneeded), "{lines:?}");
    }
}

/// Each certificate names the next one, but was not signed by it.
#[test]
fn an_intermediate_of_the_same_name_and_another_key_is_found_without_a_ca_file() {
    let own = ca("site").issue(leaf(HOST)).unwrap();
    let server = Server::of_pem(&(own.chain_pem() + &ca("site").root_pem()), &own.key_pem());
    let (code, lines) = server.check(&CHECK);
    let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "error").collect();
    assert_eq!((code, errors.len()), (Some(1), 1));
    let detail = errors[0]["detail"].as_str().unwrap();
    let problem = "browsers will refuse the chain (ca_key_mismatch): the certificate of CN=\"server\" names the \
                   trusted CA CN=\"site\" as its issuer, but that CA's key did not sign it";
    assert!(detail.starts_with(problem), "{detail}");
}

#[test]
fn a_self_signed_certificate_has_to_be_imported() {
    let own = TestLeaf::self_signed(leaf(HOST)).unwrap();
    let server = Server::new(&own);
    let fix = "issue a certificate by a CA that the browsers have, or import this one into every browser";
    let problem = "the certificate CN=\"server\" is self-signed: every browser must trust it itself";
    let (_, lines) = server.check(&CHECK);
    assert_eq!(detail(&lines, "self_signed"), format!("{problem}; {fix}"));
    let other = server.write("other.pem", &ca("site").root_pem());
    let (code, lines) = server.check(&[&CHECK[..], &["--ca-file", &other]].concat());
    let problem =
        "the certificate CN=\"server\" is self-signed, and not in DIR/other.pem: browsers refuse it";
    assert_eq!((code, findings(&lines)), (Some(1), vec!["error self_signed".to_owned()]));
    assert_eq!(detail(&lines, "self_signed"), format!("{problem}; {fix}"));
    let (_, lines) = server.check(&[&CHECK[..], &["--ca-file", &server.path("chain.pem")]].concat());
    assert_eq!(detail(&lines, "own_chain"), "the chain leads to a CA of DIR/chain.pem");
}

#[test]
fn what_can_not_be_read_is_a_finding() {
    let own = ca("site").issue(leaf(HOST)).unwrap();
    let server = Server::new(&own);
    let (code, lines) = server.check(&[&CHECK[..], &["--ca-file", &server.path("none.pem")]].concat());
    assert_eq!((code, findings(&lines)), (Some(1), vec!["error ca_file".to_owned()]));
    server.write("chain.pem", "");
    let (code, lines) = server.check(&CHECK);
    assert_eq!((code, findings(&lines)), (Some(1), vec!["error cert_file_and_key_file".to_owned()]));
}

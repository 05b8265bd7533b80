//! CA bundles and our own chain, good and damaged.

use super::*;

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use typha_tls::testing::handshake;
use typha_tls::{FelixConnector, TyphaAcceptor};

#[test]
fn pem_in_all_its_dresses() {
    let (first, second) = (ca("first").root_pem(), ca("second").root_pem());
    let unix = format!("{first}{second}").replace('\r', "");
    for text in [
        unix.clone(),
        unix.replace('\n', "\r\n"),
        unix.trim_end().to_owned(),
        format!("\n\n{unix}\n\n"),
        format!("# first\nsubject=CN = first\n\n{first}\n# second\n{second}trailing text"),
        unix.replace("-----\n", "-----  \n"),
        format!("{unix}{first}"), // the same once more
    ] {
        let bundle = TrustBundle::from_pem(text.as_bytes()).unwrap();
        assert_eq!(bundle.subjects().collect::<Vec<_>>(), [r#"CN="first""#, r#"CN="second""#], "{text}");
    }
}

#[test]
fn cas_of_one_subject_have_names_of_their_own() {
    let bundle = TrustBundle::from_pem((ca("ca").root_pem() + &ca("ca").root_pem()).as_bytes()).unwrap();
    let names: Vec<_> = bundle.names().collect();
    let keys: Vec<_> = names.iter().map(|name| name.strip_prefix(r#"CN="ca" (key "#).unwrap()).collect();
    assert_eq!(keys.iter().map(|key| key.len()).collect::<Vec<_>>(), ["1f0c88a2)".len(); 2]);
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn a_bundle_from_a_file_and_from_der() {
    let (dir, first, second) = (Dir::new(), ca("first"), ca("second"));
    let file = dir.write("ca.pem", first.root_pem() + &second.root_pem());
    assert_eq!(TrustBundle::from_file(file).unwrap().subjects().len(), 2);
    assert_eq!(
        TrustBundle::from_der([first.root().clone(), second.root().clone()]).unwrap().subjects().len(),
        2
    );
    let error = TrustBundle::from_der([]).unwrap_err();
    assert!(matches!(&error, MaterialError::NoCertificate { origin, .. } if origin == "the given bytes"));
    assert_eq!(
        error.to_string(),
        "the given bytes: there is no certificate (a PEM block CERTIFICATE) in it: it is empty"
    );
}

#[test]
fn a_chain_is_sent_as_it_stands() {
    let dir = Dir::new();
    let intermediate = ca("root")
        .intermediate(CertificateSpec::ca("upper"))
        .unwrap()
        .intermediate(CertificateSpec::ca("lower"));
    let leaf = intermediate.unwrap().issue(CertificateSpec::leaf("typha-server")).unwrap();
    let credentials = load_key(&dir, &leaf.chain_pem(), &leaf.key_pem()).unwrap();
    assert_eq!(credentials.chain(), leaf.chain());
    assert_eq!(credentials.chain().len(), 3);
    assert_eq!(credentials.identity().common_name(), Some("typha-server"));
}

/// What a CA file that is refused says, after its name.
fn bundle_error(dir: &Dir, text: &[u8]) -> (MaterialError, String) {
    let file = dir.write("ca.pem", text);
    let error = TrustBundle::from_file(&file).unwrap_err();
    let text = error.to_string();
    let problem = text.strip_prefix(&format!("{}: ", file.display()));
    let problem = problem.unwrap_or_else(|| panic!("{text} does not begin with the file")).to_owned();
    (error, problem)
}

#[test]
fn a_file_without_a_certificate() {
    let dir = Dir::new();
    for (text, found) in [
        (&b""[..], "it is empty"),
        (b"\n", "it is empty"),
        (b"no PEM at all", "it has no PEM block"),
        (b"\0\xff\xfe", "it has no PEM block"),
    ] {
        let (error, problem) = bundle_error(&dir, text);
        assert!(matches!(error, MaterialError::NoCertificate { origin, .. } if origin == dir.text("ca.pem")));
        let expected = "there is no certificate (a PEM block CERTIFICATE) in it";
        let remedy = "put the certificates of the CAs here, in PEM";
        assert_eq!(problem, format!("{expected}: {found}; {remedy}"));
    }
}

#[test]
fn a_damaged_block_among_good_ones() {
    let dir = Dir::new();
    let good = ca("good").root_pem().replace('\r', "");
    let lines: Vec<_> = good.lines().collect();
    let body = lines[1..lines.len() - 1].join("\n");
    let begin = "-----BEGIN CERTIFICATE-----";
    let end = "-----END CERTIFICATE-----";
    let count = lines.len();
    for (bad, expected) in [
        (
            format!("{begin}\n{body}\n"),
            format!("the block CERTIFICATE that begins in line {} has no END line", count + 1),
        ),
        (format!("{begin}\n{body}\n-----END CERT-----\n"), "END line without its BEGIN line".to_owned()),
        (format!("{body}\n{end}\n"), "END line without its BEGIN line".to_owned()),
        (
            format!("-----BEGIN CERTIFICATE\n{body}\n{end}\n"),
            format!("line {} is a damaged BEGIN line", count + 1),
        ),
        (
            format!("  {begin}\n{body}\n{end}\n"),
            format!(
                "the BEGIN or END in line {} is not at the start of its line; remove the white space",
                count + 1
            ),
        ),
        (format!("{begin}\n{body}{end}\n"), "is damaged or not at the start of its line".to_owned()),
        (
            format!("{begin}\n{body}\n{end} {begin}\n{body}\n{end}\n"),
            format!("line {} has the END of a block and the BEGIN of the next one", 2 * count),
        ),
        (format!("{begin}\n!{body}\n{end}\n"), "base64".to_owned()),
        (format!("{begin}\nComment: x\n\n{body}\n{end}\n"), "base64".to_owned()),
    ] {
        for text in [format!("{good}{bad}"), format!("{good}{bad}{good}")] {
            let (error, problem) = bundle_error(&dir, text.as_bytes());
            assert!(matches!(error, MaterialError::BadPem { .. }), "{bad}: {error:?}");
            let problem = problem.to_lowercase();
            // Behind the missing END there may be the next BEGIN, which is as good a place to say so.
            assert!(problem.contains(&expected.to_lowercase()), "{bad}: {problem}");
        }
    }
    let (error, problem) = bundle_error(&dir, format!("\u{feff}{good}").as_bytes());
    assert!(matches!(error, MaterialError::BadPem { .. }));
    assert_eq!(
        problem,
        "line 1 begins with a byte order mark (BOM); remove it: sed 's/^\\xEF\\xBB\\xBF//' FILE > NEW"
    );
}

#[test]
fn a_block_that_is_no_certificate() {
    let dir = Dir::new();
    let good = ca("good");
    let der = good.root();
    let with_more = [der, &[0][..]].concat();
    for bad in [&b""[..], b"\x30\x00", &der[..der.len() - 1], &der[1..], &with_more] {
        let (error, problem) = bundle_error(&dir, (good.root_pem() + &pem("CERTIFICATE", bad)).as_bytes());
        assert!(matches!(error, MaterialError::Certificate { position: 2, .. }), "{error:?}");
        assert_eq!(problem, "certificate 2 is unusable");
        assert!(error.source().unwrap().to_string().starts_with("malformed certificate: "), "{error:?}");
    }
}

/// Their contents may matter here, so they are not skipped.
#[test]
fn blocks_that_do_not_belong_into_a_certificate_file() {
    let dir = Dir::new();
    let pki = TestPki::new().unwrap();
    for (label, remedy) in [
        (
            "X509 CRL",
            "revocation lists are files of their own: move each X509 CRL block, with its BEGIN and END lines, into one",
        ),
        (
            "TRUSTED CERTIFICATE",
            "make a plain certificate of each such block, one by one: openssl x509 -in BLOCK -out NEW",
        ),
        (
            "X509 CERTIFICATE",
            "make a plain certificate of each such block, one by one: openssl x509 -in BLOCK -out NEW",
        ),
        ("PKCS7", "make certificates of it: openssl pkcs7 -print_certs -in FILE -out NEW"),
        (
            "CMS",
            "make certificates of it: sed 's/ CMS-----/ PKCS7-----/' FILE | openssl pkcs7 -print_certs -out NEW",
        ),
        ("ATTRIBUTE CERTIFICATE", "remove it"),
        ("", "remove it"),
    ] {
        for text in
            [pki.ca.root_pem() + &pem(label, b"\x30\x00"), pem(label, b"\x30\x00") + &pki.ca.root_pem()]
        {
            let (error, problem) = bundle_error(&dir, text.as_bytes());
            assert!(matches!(error, MaterialError::UnexpectedBlock { label: found, .. } if found == label));
            assert_eq!(
                problem,
                format!(
                    "found a PEM block {label:?}, but only CERTIFICATE blocks (the trusted CAs) are read here; \
                     {remedy}"
                )
            );
        }
    }
}

#[test]
fn no_truncation_makes_a_smaller_bundle() {
    let (first, second) = (ca("first").root_pem(), ca("second").root_pem());
    let text = format!("{first}{second}");
    let whole = text.trim_end().len();
    let mut outcomes = [0; 3];
    for length in 0..=text.len() {
        match TrustBundle::from_pem(&text.as_bytes()[..length]) {
            Ok(bundle) => {
                outcomes[bundle.subjects().len()] += 1;
                let second_begins = text[first.len().min(length)..length].starts_with("-----BEGIN");
                assert_eq!(bundle.subjects().len(), if length >= whole { 2 } else { 1 }, "{length}");
                assert!(
                    bundle.subjects().len() == 2 || (length >= first.trim_end().len() && !second_begins),
                    "{length}"
                );
            }
            Err(MaterialError::NoCertificate { .. } | MaterialError::BadPem { .. }) => outcomes[0] += 1,
            Err(other) => panic!("{length}: {other:?}"),
        }
    }
    assert!(outcomes.iter().all(|&count| count > 0), "{outcomes:?}");
}

#[test]
fn no_damaged_character_makes_a_smaller_bundle() {
    let text = (ca("first").root_pem() + &ca("second").root_pem()).into_bytes();
    for position in 0..text.len() {
        let (before, after) = (&text[..position], &text[position + 1..]);
        for replacement in [&b""[..], b" ", b"-", b"\n", b"\r", b"!", b"\0", b"\xff"] {
            let damaged = [before, replacement, after].concat();
            if let Ok(bundle) = TrustBundle::from_pem(&damaged) {
                assert_eq!(bundle.subjects().len(), 2, "{position} {replacement:?}");
            }
        }
    }
}

#[test]
fn no_truncation_of_a_chain_or_a_key_is_taken() {
    let ca = ca("root").intermediate(CertificateSpec::ca("lower")).unwrap();
    let leaf = ca.issue(CertificateSpec::leaf("felix")).unwrap();
    let (chain, key) = (leaf.chain_pem(), leaf.key_pem());
    let one = chain.find("-----END").unwrap() + "-----END CERTIFICATE-----".len();
    for length in 0..chain.trim_end().len() {
        if let Ok(credentials) =
            Credentials::from_pem(&chain.as_bytes()[..length], key.as_bytes(), &provider())
        {
            assert_eq!(credentials.chain(), &leaf.chain()[..1], "{length}");
            assert!((one..one + "\r\n-----BEGIN".len()).contains(&length), "{length}");
        }
    }
    for length in 0..key.trim_end().len() {
        let error =
            Credentials::from_pem(chain.as_bytes(), &key.as_bytes()[..length], &provider()).unwrap_err();
        assert!(
            matches!(error, MaterialError::NoPrivateKey { .. } | MaterialError::BadPem { .. }),
            "{length}: {error:?}"
        );
    }
}

/// The largest one reaches the peer, in each version and from each end, beside the names of many CAs.
#[tokio::test]
async fn a_chain_must_fit_into_a_handshake() {
    let (dir, ca) = (Dir::new(), TestCa::new(CertificateSpec::ca("ca").key_type(KeyType::Ed25519)).unwrap());
    // The serial number and the signature have always the same length.
    let with = |octets: usize| {
        let spec = CertificateSpec::leaf("typha").serial_number(&[1]);
        ca.issue(spec.extension(&[1, 3, 6, 1, 4, 1, 1], false, &vec![4; octets])).unwrap()
    };
    let message = |leaf: &TestLeaf| 4 + 5 + leaf.chain()[0].len();
    let base = message(&with(60_000)) - 60_000;
    let too_large = with(61_441 - base);
    assert_eq!(
        load_key(&dir, &too_large.chain_pem(), &too_large.key_pem()).unwrap_err().to_string(),
        format!(
            "{}: the chain takes 61441 bytes in a TLS handshake, and at most 61440 are sure to reach a peer; leave \
             only the leaf and the intermediate CAs that issued it",
            dir.text("cert.pem")
        )
    );
    let largest = with(61_440 - base);
    // So many that their names are sent, and so many that they are not, for which there is a warning.
    let others: Vec<_> = (0..380).map(|n| self::ca(&format!("{n:060}")).root().clone()).collect();
    for (version, others) in [(&TLS12, &others[..25]), (&TLS13, &others[..25]), (&TLS13, &others[..])] {
        let mut provider = provider();
        provider.cipher_suites.retain(|suite| suite.version() == version);
        let policy = TlsPolicy::builder().provider(Arc::new(provider)).build().unwrap();
        let config = || {
            let bundle =
                TrustBundle::from_der(std::iter::once(ca.root().clone()).chain(others.to_vec())).unwrap();
            let credentials = load_key(&dir, &largest.chain_pem(), &largest.key_pem()).unwrap();
            let required = RequiredIdentity::common_name("typha").unwrap();
            TlsConfig::new(Material::new(bundle, credentials), required, policy.clone())
        };
        let (acceptor, connector) = (TyphaAcceptor::new(config()), FelixConnector::new(config()));
        let (typha, felix) = handshake(&acceptor, &connector).await;
        assert_eq!(felix.unwrap().peer().identity().common_name(), Some("typha"));
        assert_eq!(typha.unwrap().peer().identity().common_name(), Some("typha"));
    }
}

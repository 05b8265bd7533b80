//! Private keys in all forms, and which leaf they belong to.

use super::*;

#[test]
fn keys_of_every_type_as_pkcs8() {
    let (dir, ca) = (Dir::new(), ca("ca"));
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
        let leaf = ca.issue(CertificateSpec::leaf("typha-server").key_type(key_type)).unwrap();
        let key = leaf.key_pem();
        for key in [
            key.clone(),
            key.replace('\r', "").replace('\n', "\r\n"),
            format!("Bag Attributes\n    friendlyName: typha\n# the key\n{key}# the end\n"),
            key.trim_end().to_owned(),
        ] {
            let credentials = load_key(&dir, &leaf.chain_pem(), &key).unwrap();
            assert_eq!(credentials.chain(), leaf.chain(), "{key_type:?}");
        }
        assert!(Credentials::from_der(leaf.chain().to_vec(), leaf.key(), &provider()).is_ok());
    }
}

#[test]
fn keys_in_the_traditional_forms() {
    let (dir, ca) = (Dir::new(), ca("ca"));
    for (key_type, label) in [
        (KeyType::P256, "EC PRIVATE KEY"),
        (KeyType::P384, "EC PRIVATE KEY"),
        (KeyType::Rsa2048, "RSA PRIVATE KEY"),
    ] {
        let leaf = ca.issue(CertificateSpec::leaf("typha-server").key_type(key_type)).unwrap();
        let key = traditional(label, &leaf.key());
        assert!(load_key(&dir, &leaf.chain_pem(), &key).is_ok(), "{key_type:?}");
        assert!(load_key(&dir, &leaf.chain_pem(), &key.replace('\r', "").replace('\n', "\r\n")).is_ok());
    }
    let chain =
        certificate_of(&KeyPair::from_pem(&SEC1[SEC1.find("-----BEGIN EC PRIV").unwrap()..]).unwrap());
    for key in [SEC1.to_owned(), SEC1.replace('\n', "\r\n"), format!("# key\n{SEC1}")] {
        assert!(load_key(&dir, &chain, &key).is_ok());
    }
}

#[test]
fn an_encrypted_key() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    for key in [
        ENCRYPTED_PKCS8.to_owned(),
        ENCRYPTED_SEC1.to_owned(),
        ENCRYPTED_SEC1.replace('\n', "\r\n"),
        ENCRYPTED_SEC1.replace("EC PRIVATE", "RSA PRIVATE"),
        format!("# comment\n{ENCRYPTED_PKCS8}"),
    ] {
        let error = load_key(&dir, &pki.typha.chain_pem(), &key).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}: the private key is encrypted; store it decrypted: openssl pkey -in KEY -out NEW",
                dir.text("key.pem")
            )
        );
        assert!(matches!(error, MaterialError::EncryptedKey(origin) if origin == dir.text("key.pem")));
    }
}

#[test]
fn a_key_file_without_exactly_one_usable_key() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    let (chain, key) = (pki.typha.chain_pem(), pki.typha.key_pem());
    let file = dir.text("key.pem");
    let load = |key: &str| load_key(&dir, &chain, key).unwrap_err();

    let parameters = &SEC1[..SEC1.find("-----BEGIN EC PRIV").unwrap()];
    for (text, found) in [
        ("", "it is empty"),
        ("no key\n", "it has no PEM block"),
        (parameters, "it has the parameters of a key"),
        (&chain, "it has a certificate, so the two files may be swapped"),
        (&pem("PUBLIC KEY", b"\x30\x00"), "it has a public key"),
        (&pem("CERTIFICATE REQUEST", b"\x30\x00"), "it has a certificate request (CSR)"),
    ] {
        let error = load(text);
        assert!(matches!(error, MaterialError::NoPrivateKey { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "{file}: there is no private key (a PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY) in it: \
                 {found}; put the private key here, in PEM"
            )
        );
    }
    for (text, count) in [(key.repeat(2), 2), (format!("{key}{}{SEC1}", pki.felix.key_pem()), 3)] {
        let error = load(&text);
        assert_eq!(
            error.to_string(),
            format!("{file}: there are {count} private keys in it; leave only the leaf's")
        );
        assert!(matches!(error, MaterialError::SeveralPrivateKeys { count: found, .. } if found == count));
    }
    for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        for der in [&b""[..], b"\x30\x00", &pki.typha.key().secret_der()[1..]] {
            let error = load(&pem(label, der));
            let problem = "it is damaged: it is not valid DER; copy it again";
            assert_eq!(error.to_string(), format!("{file}: the private key can not be used: {problem}"));
            assert!(matches!(error, MaterialError::UnusableKey { .. }), "{error:?}");
        }
    }
}

#[test]
fn a_key_that_is_not_the_leaf_s() {
    let (dir, ca) = (Dir::new(), ca("ca"));
    let key_types = [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048];
    let leaf = |key_type| ca.issue(CertificateSpec::leaf("felix").key_type(key_type)).unwrap();
    let others = key_types.map(leaf);
    for leaf in key_types.map(leaf) {
        for other in &others {
            let error = load_key(&dir, &leaf.chain_pem(), &other.key_pem()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "{}: the private key does not belong to the certificate in {}",
                    dir.text("key.pem"),
                    dir.text("cert.pem")
                )
            );
            assert!(matches!(error, MaterialError::KeyMismatch { .. }), "{error:?}");
        }
    }
}

/// webpki, which compares key and certificate, refuses such a leaf before it does so.
#[test]
fn a_key_that_is_not_that_of_an_unusual_leaf() {
    let ca = ca("ca");
    let unusual = CertificateSpec::leaf("felix").extension(&[1, 2, 3, 4], true, &[5, 0]);
    let (leaf, other) = (ca.issue(unusual).unwrap(), ca.issue(CertificateSpec::leaf("felix")).unwrap());
    let outcome = Credentials::from_der(leaf.chain().to_vec(), other.key(), &provider());
    assert!(matches!(outcome, Err(MaterialError::KeyMismatch { .. })), "{outcome:?}");
}

#[test]
fn a_leaf_that_is_not_first() {
    let dir = Dir::new();
    let ca = ca("root").intermediate(CertificateSpec::ca("lower")).unwrap();
    let leaf = ca.issue(CertificateSpec::leaf("felix")).unwrap();
    let [own, issuer] = [0, 1].map(|index: usize| pem("CERTIFICATE", &leaf.chain()[index]));
    for (chain, position) in [(format!("{issuer}{own}"), 2), (format!("{issuer}{issuer}{own}"), 3)] {
        let error = load_key(&dir, &chain, &leaf.key_pem()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}: the private key in {} belongs to certificate {position}; the leaf must come first, then its \
                 issuer, and so on",
                dir.text("cert.pem"),
                dir.text("key.pem")
            )
        );
        assert!(matches!(error, MaterialError::LeafNotFirst { position: found, .. } if found == position));
    }
}

#[test]
fn a_chain_with_a_malformed_certificate() {
    let dir = Dir::new();
    let ca = ca("root").intermediate(CertificateSpec::ca("lower")).unwrap();
    let leaf = ca.issue(CertificateSpec::leaf("felix")).unwrap();
    let bad_leaf = ca.issue(CertificateSpec::leaf("felix").extension(&[2, 5, 29, 17], false, &[0])).unwrap();
    for (chain, key, bad) in [
        (bad_leaf.chain_pem(), bad_leaf.key_pem(), 1),
        (leaf.chain_pem() + &pem("CERTIFICATE", b"\x30\x00"), leaf.key_pem(), 3),
    ] {
        let error = load_key(&dir, &chain, &key).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: certificate {bad} is unusable", dir.text("cert.pem")));
        assert!(matches!(error, MaterialError::Certificate { position, .. } if position == bad), "{error:?}");
    }
}

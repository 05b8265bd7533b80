//! Private keys of kinds that can not be used: the error says which, and what to do.

use super::*;

use typha_tls::error::WithCauses;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/keys/", $name, ".pem"))
    };
}

const NEW_KEY: &str = "make another key, and have a certificate issued for it: openssl genpkey -algorithm EC -pkeyopt \
                       ec_paramgen_curve:P-256 -out NEW (P-384, Ed25519 and RSA of 2048 to 4096 bits work, too)";

/// The text of the error, after the file.
fn problem(chain: &str, key: &str) -> String {
    let dir = Dir::new();
    let error = load_key(&dir, chain, key).unwrap_err();
    assert!(matches!(error, MaterialError::UnusableKey { .. }), "{error:?}");
    let text = error.to_string();
    let text = text.strip_prefix(&format!("{}: the private key can not be used: ", dir.text("key.pem")));
    text.unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn the_kind_of_key_is_named() {
    let chain = TestPki::new().unwrap().typha.chain_pem();
    for (key, kind) in [
        (fixture!("rsa1024"), "an RSA key of 1024 bits"),
        (fixture!("rsa1024-pkcs1"), "an RSA key of 1024 bits"),
        (fixture!("rsassa-pss"), "an RSASSA-PSS key of 1024 bits"),
        (fixture!("secp256k1"), "an EC key on the curve secp256k1"),
        (fixture!("secp256k1-sec1"), "an EC key on the curve secp256k1"),
        (fixture!("p224"), "an EC key on the curve P-224"),
        (fixture!("brainpool-p256r1"), "an EC key on the curve brainpoolP256r1"),
        (fixture!("ed448"), "an Ed448 key"),
        (fixture!("x25519"), "an X25519 key"),
        (fixture!("dsa"), "a DSA key"),
    ] {
        assert_eq!(problem(&chain, key), format!("it is {kind}, which is not supported; {NEW_KEY}"));
    }
}

#[test]
fn keys_in_the_formats_of_other_programs() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    for (key, label, remedy) in [
        (
            fixture!("dsa-openssl").to_owned(),
            "DSA PRIVATE KEY",
            "this kind of key is not supported: make another key, and have a certificate issued for it: openssl \
             genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW",
        ),
        (
            pki.typha.key_pem().replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"),
            "OPENSSH PRIVATE KEY",
            "convert a copy of an RSA or ECDSA key: ssh-keygen -p -N '' -m PKCS8 -f COPY; for an Ed25519 key, make \
             another key, and have a certificate issued for it: openssl genpkey -algorithm EC -pkeyopt \
             ec_paramgen_curve:P-256 -out NEW",
        ),
        (
            pem("TSS2 PRIVATE KEY", b"\x30\x00"),
            "TSS2 PRIVATE KEY",
            "this kind of key is not supported: make another key, and have a certificate issued for it: openssl \
             genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW",
        ),
    ] {
        let error = load_key(&dir, &pki.typha.chain_pem(), &key).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}: found a PEM block \"{label}\", but only a block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY \
                 is read here; {remedy}",
                dir.text("key.pem")
            )
        );
    }
}

/// The key belongs to the certificate, so nothing else is said.
#[test]
fn a_curve_with_explicit_parameters() {
    const IN_KEY: &str = "the curve is written as explicit parameters; write its name: openssl ec -in KEY -param_enc \
                          named_curve -out NEW";
    let certificate = fixture!("explicit-curve-certificate");
    for key in [fixture!("explicit-curve"), fixture!("explicit-curve-sec1")] {
        let dir = Dir::new();
        match load_key(&dir, certificate, key).unwrap_err() {
            // This provider does not read such a key.
            MaterialError::UnusableKey { problem, .. } => assert_eq!(problem, IN_KEY),
            error @ MaterialError::Certificate { position: 1, .. } => assert_eq!(
                WithCauses(&error).to_string(),
                format!(
                    "{}: certificate 1 is unusable: malformed certificate: it writes the curve of its key as explicit \
                     parameters, which is not supported; have it issued again for the same key, with a new request: \
                     openssl req -new -key KEY -out CSR",
                    dir.text("cert.pem")
                )
            ),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_damaged_key() {
    let pki = TestPki::new().unwrap();
    let chain = pki.typha.chain_pem();
    let key = pki.typha.key();
    let der = key.secret_der();
    // The public key inside of it is another one.
    let mut other = der.to_vec();
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(
        problem(&chain, &pem("PRIVATE KEY", &other)),
        "it is an EC key on the curve P-256, but damaged: its parts do not fit together; copy it again"
    );
    for cut in [&der[..der.len() - 1], &der[1..], b"", b"\x30\x00"] {
        assert_eq!(
            problem(&chain, &pem("PRIVATE KEY", cut)),
            "it does not have the form that its BEGIN line names, so it is damaged, or that line is wrong; copy it \
             again, or write it anew: openssl pkey -in KEY -out NEW"
        );
    }
}

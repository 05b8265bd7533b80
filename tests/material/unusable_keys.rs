//! Private keys of kinds that can not be used: the error says which, and what to do.

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/keys/", $name, ".pem"))
    };
}

const NEW_KEY: &str = "make another key, and have a certificate issued for it: openssl genpkey -algorithm EC -pkeyopt \
                       ec_paramgen_curve:P-256 -out NEW (P-384, Ed25519 and RSA of 2048 to 8192 bits work, too)";

const EXPLICIT: &str = "the curve is written as explicit parameters; write its name: openssl ec -in KEY -param_enc \
                        named_curve -out NEW; if the certificate has explicit parameters, too, have it issued anew for \
                        that key";

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
            "TLS does not use DSA keys; make another key, and have a certificate issued for it: openssl genpkey \
             -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW",
        ),
        (
            pki.typha.key_pem().replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"),
            "OPENSSH PRIVATE KEY",
            "convert a copy of the key: ssh-keygen -p -N '' -m PKCS8 -f COPY",
        ),
    ] {
        let error = load_key(&dir, &pki.typha.chain_pem(), &key).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}: found a PEM block \"{label}\", but only one private key is allowed here; {remedy}",
                dir.text("key.pem")
            )
        );
    }
}

/// The key belongs to the certificate, so nothing else is said.
#[test]
fn a_curve_with_explicit_parameters() {
    let chain = fixture!("explicit-curve-certificate");
    for key in [fixture!("explicit-curve"), fixture!("explicit-curve-sec1")] {
        let text = problem(chain, key);
        assert!(
            [
                format!("it is an EC key, but {EXPLICIT}"),
                format!("it is the key of the certificate, but there {EXPLICIT}")
            ]
            .contains(&text),
            "{text}"
        );
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
            "it is damaged: it is not valid DER; copy it again"
        );
    }
}

//! Says why a private key can not be used, by its algorithm, its size or its curve. It never shows the key.

use std::ops::RangeInclusive;

use rustls_pki_types::PrivateKeyDer;

use crate::certificate::algorithm_text;
use crate::der::{DerError, DerReader, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};

/// RSA key sizes, in bits, that rustls can use.
const RSA_KEY_BITS: RangeInclusive<usize> = 2048..=8192;

const NEW_KEY: &str = "make another key, and have a certificate issued for it: openssl genpkey -algorithm EC -pkeyopt \
                       ec_paramgen_curve:P-256 -out NEW (P-384, Ed25519 and RSA of 2048 to 8192 bits work, too)";

const NAME_THE_CURVE: &str = "its curve is written as explicit parameters; write the name of the curve: openssl ec -in KEY -param_enc \
     named_curve -out NEW; if the certificate has explicit parameters, too, have it issued anew for that key";

// Contents of object identifiers.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// Algorithms whose keys TLS certificates do not use, or rustls does not support.
const OTHERS: [(&[u8], &str); 6] = [
    (&[0x2b, 0x65, 0x6e], "an X25519 key, which can not sign"),
    (&[0x2b, 0x65, 0x6f], "an X448 key, which can not sign"),
    (&[0x2b, 0x65, 0x71], "an Ed448 key, which is not supported"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1], "a DSA key, which TLS does not use"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 3, 1], "a Diffie-Hellman key, which can not sign"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3e, 2, 1], "an X9.42 Diffie-Hellman key, which can not sign"),
];
/// Curves, and whether the providers of this crate support them.
const CURVES: [(&[u8], &str, bool); 9] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], "P-256", true),
    (&[0x2b, 0x81, 4, 0, 0x22], "P-384", true),
    (&[0x2b, 0x81, 4, 0, 0x23], "P-521", false), // on aws-lc only
    (&[0x2b, 0x81, 4, 0, 0x21], "P-224", false),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1], "P-192", false),
    (&[0x2b, 0x81, 4, 0, 0x0a], "secp256k1", false),
    (&[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7], "brainpoolP256r1", false),
    (&[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 11], "brainpoolP384r1", false),
    (&[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 13], "brainpoolP512r1", false),
];

/// The problem of a key that the provider refuses, and the remedy.
pub(super) fn problem(key: &PrivateKeyDer<'_>) -> String {
    let problem = match key {
        PrivateKeyDer::Pkcs1(key) => rsa("RSA", key.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(key) => pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Sec1(key) => sec1(key.secret_sec1_der()),
        _ => Err(DerError::Tag),
    };
    problem.unwrap_or_else(|_| "it is damaged: it is not valid DER; copy it again".to_owned())
}

/// PrivateKeyInfo or OneAsymmetricKey (RFC 5958 section 2).
fn pkcs8(der: &[u8]) -> Result<String, DerError> {
    let mut fields = DerReader::new(DerReader::single(der, SEQUENCE)?);
    fields.expect(INTEGER)?;
    let algorithm = fields.expect(SEQUENCE)?;
    let key = fields.expect(OCTET_STRING)?;
    let mut identifier = DerReader::new(algorithm);
    match identifier.expect(OBJECT_IDENTIFIER)? {
        RSA => rsa("RSA", key),
        RSASSA_PSS => rsa("RSASSA-PSS", key),
        EC => ec(identifier.next_element()?),
        ED25519 => Ok(damaged("an Ed25519 key")),
        oid => Ok(match OTHERS.iter().find(|(known, _)| *known == oid) {
            Some((_, description)) => format!("it is {description}; {NEW_KEY}"),
            None => format!("its algorithm {} is not supported; {NEW_KEY}", algorithm_text(algorithm)),
        }),
    }
}

/// RSAPrivateKey (RFC 8017 appendix A.1.2).
fn rsa(algorithm: &str, der: &[u8]) -> Result<String, DerError> {
    let mut fields = DerReader::new(DerReader::single(der, SEQUENCE)?);
    fields.expect(INTEGER)?;
    let modulus = fields.expect(INTEGER)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let unused = modulus.first().map_or(0, |octet| octet.leading_zeros() as usize);
    let bits = modulus.len() * 8 - unused;
    let key = format!("an {algorithm} key of {bits} bits");
    Ok(if algorithm != "RSA" {
        format!("it is {key}, a kind that is not supported; {NEW_KEY}")
    } else if RSA_KEY_BITS.contains(&bits) {
        damaged(&key)
    } else {
        format!("it is {key}, and 2048 to 8192 are supported; {NEW_KEY}")
    })
}

/// ECPrivateKey (RFC 5915 section 3).
fn sec1(der: &[u8]) -> Result<String, DerError> {
    const PARAMETERS: u8 = 0xa0;
    let mut fields = DerReader::new(DerReader::single(der, SEQUENCE)?);
    fields.expect(INTEGER)?;
    fields.expect(OCTET_STRING)?;
    match fields.next_element()? {
        Some((PARAMETERS, parameters)) => ec(DerReader::new(parameters).next_element()?),
        _ => ec(None),
    }
}

/// By the parameters of the curve, with their tag (RFC 5480 section 2.1.1).
fn ec(parameters: Option<(u8, &[u8])>) -> Result<String, DerError> {
    match parameters {
        Some((OBJECT_IDENTIFIER, oid)) => match CURVES.iter().find(|(known, ..)| *known == oid) {
            Some((_, curve, true)) => Ok(damaged(&format!("an EC key on the curve {curve}"))),
            Some((_, curve, false)) => {
                Ok(format!("it is an EC key on the curve {curve}, which is not supported; {NEW_KEY}"))
            }
            None => {
                let whole = [&[OBJECT_IDENTIFIER, u8::try_from(oid.len()).unwrap_or_default()], oid].concat();
                let curve = algorithm_text(&whole);
                Ok(format!("it is an EC key on the curve {curve}, which is not supported; {NEW_KEY}"))
            }
        },
        Some((SEQUENCE, _)) => Ok(format!("it is an EC key, but {NAME_THE_CURVE}")),
        Some(_) => Err(DerError::Tag),
        None => {
            Ok("it is an EC key that does not name its curve; export it again: openssl pkey -in KEY -out NEW"
                .to_owned())
        }
    }
}

fn damaged(key: &str) -> String {
    format!("it is {key}, but damaged: its parts do not fit together; copy it again")
}

/// The problem of a key whose certificate has the same key, but writes its curve as explicit parameters. Both are given
/// as SubjectPublicKeyInfo.
pub(super) fn explicit_curve(certified: &[u8], key: &[u8]) -> Option<String> {
    let split = |info| -> Result<_, DerError> {
        let mut fields = DerReader::new(DerReader::single(info, SEQUENCE)?);
        Ok((fields.expect(SEQUENCE)?, fields.octets_of_bit_string()?))
    };
    let ((algorithm, point), (_, own_point)) = (split(certified).ok()?, split(key).ok()?);
    let mut identifier = DerReader::new(algorithm);
    let is_explicit = identifier.expect(OBJECT_IDENTIFIER) == Ok(EC) && identifier.expect(SEQUENCE).is_ok();
    (is_explicit && point == own_point).then(|| format!("in its certificate, {NAME_THE_CURVE}"))
}

//! Says why a private key can not be used, by its algorithm, its size or its curve. It never shows the key.

use rustls_pki_types::PrivateKeyDer;

use crate::certificate::{RSA_KEY_BITS, key_text};
use crate::der::{DerError, DerReader, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};

const NEW_KEY: &str = "make another key, and have a certificate issued for it: openssl genpkey -algorithm EC -pkeyopt \
                       ec_paramgen_curve:P-256 -out NEW (P-384, Ed25519 and RSA of 2048 to 8192 bits work, too)";

const EXPLICIT_CURVE: &str = "the curve is written as explicit parameters; write its name: openssl ec -in KEY \
                              -param_enc named_curve -out NEW; if the certificate has explicit parameters, too, have \
                              it issued anew for that key";

// Object identifiers with their headers.
const RSA: &[u8] = &[OBJECT_IDENTIFIER, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSASSA_PSS: &[u8] = &[OBJECT_IDENTIFIER, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const EC: &[u8] = &[OBJECT_IDENTIFIER, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

/// The problem of a key that the provider refuses, and the remedy.
pub(super) fn problem(key: &PrivateKeyDer<'_>) -> String {
    let problem = match key {
        PrivateKeyDer::Pkcs1(key) => of_algorithm(RSA, key.secret_pkcs1_der()),
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
    of_algorithm(algorithm, fields.expect(OCTET_STRING)?)
}

/// ECPrivateKey (RFC 5915 section 3).
fn sec1(der: &[u8]) -> Result<String, DerError> {
    const PARAMETERS: u8 = 0xa0;
    let mut fields = DerReader::new(DerReader::single(der, SEQUENCE)?);
    fields.expect(INTEGER)?;
    let key = fields.expect(OCTET_STRING)?;
    match fields.next_element()? {
        Some((PARAMETERS, parameters)) => of_algorithm(&[EC, parameters].concat(), key),
        _ => {
            Ok("it is an EC key without the name of its curve; make another one with openssl genpkey"
                .to_owned())
        }
    }
}

/// The problem of a key, given the contents of its AlgorithmIdentifier.
fn of_algorithm(algorithm: &[u8], key: &[u8]) -> Result<String, DerError> {
    let kind = key_text(algorithm);
    let article = if kind.starts_with("DSA") || kind.starts_with("key") { "a" } else { "an" };
    let damaged = |kind: &str| {
        format!("it is {article} {kind}, but damaged: its parts do not fit together; copy it again")
    };
    let unsupported = |kind: &str| format!("it is {article} {kind}, which is not supported; {NEW_KEY}");
    if algorithm.starts_with(RSA) || algorithm.starts_with(RSASSA_PSS) {
        let bits = modulus_bits(key)?;
        let kind = format!("{kind} of {bits} bits");
        let is_usable = algorithm.starts_with(RSA) && RSA_KEY_BITS.contains(&bits);
        return Ok(if is_usable { damaged(&kind) } else { unsupported(&kind) });
    }
    if has_explicit_curve(algorithm) {
        return Ok(format!("it is an EC key, but {EXPLICIT_CURVE}"));
    }
    Ok(match &*kind {
        "EC key on the curve P-256" | "EC key on the curve P-384" | "Ed25519 key" => damaged(&kind),
        _ => unsupported(&kind),
    })
}

/// Of an RSAPrivateKey (RFC 8017 appendix A.1.2).
fn modulus_bits(der: &[u8]) -> Result<usize, DerError> {
    let mut fields = DerReader::new(DerReader::single(der, SEQUENCE)?);
    fields.expect(INTEGER)?;
    let modulus = fields.expect(INTEGER)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let unused = modulus.first().map_or(0, |octet| octet.leading_zeros() as usize);
    Ok(modulus.len() * 8 - unused)
}

fn has_explicit_curve(algorithm: &[u8]) -> bool {
    algorithm.strip_prefix(EC).is_some_and(|parameters| parameters.first() == Some(&SEQUENCE))
}

/// The problem of a key whose certificate has the same key, but writes its curve as explicit parameters. Both are given
/// as SubjectPublicKeyInfo.
pub(super) fn explicit_curve(certified: &[u8], key: &[u8]) -> Option<String> {
    let split = |info| -> Result<_, DerError> {
        let mut fields = DerReader::new(DerReader::single(info, SEQUENCE)?);
        Ok((fields.expect(SEQUENCE)?, fields.octets_of_bit_string()?))
    };
    let ((algorithm, point), (_, own_point)) = (split(certified).ok()?, split(key).ok()?);
    (has_explicit_curve(algorithm) && point == own_point)
        .then(|| format!("it is the key of the certificate, but there {EXPLICIT_CURVE}"))
}

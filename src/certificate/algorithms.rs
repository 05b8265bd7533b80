//! The names of algorithms and keys, for people.

use std::ops::RangeInclusive;

use x509_parser::asn1_rs::Oid;

use super::names::oid_text;
use crate::der::{DerReader, OBJECT_IDENTIFIER};

/// RSA key sizes, in bits, that rustls's providers accept.
pub(crate) const RSA_KEY_BITS: RangeInclusive<usize> = 2048..=8192;

/// A signature algorithm, such as `SHA-1 with RSA`, by the contents of its AlgorithmIdentifier.
pub(crate) fn signature_text(algorithm: &[u8]) -> String {
    let Some((oid, _)) = identifier(algorithm) else { return UNREADABLE.to_owned() };
    let name = match &*oid {
        "1.2.840.113549.1.1.2" => "MD2 with RSA",
        "1.2.840.113549.1.1.4" => "MD5 with RSA",
        "1.2.840.113549.1.1.5" => "SHA-1 with RSA",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.113549.1.1.11" => "SHA-256 with RSA",
        "1.2.840.113549.1.1.12" => "SHA-384 with RSA",
        "1.2.840.113549.1.1.13" => "SHA-512 with RSA",
        "1.2.840.113549.1.1.14" => "SHA-224 with RSA",
        "1.2.840.10040.4.3" => "SHA-1 with DSA",
        "2.16.840.1.101.3.4.3.1" => "SHA-224 with DSA",
        "2.16.840.1.101.3.4.3.2" => "SHA-256 with DSA",
        "1.2.840.10045.4.1" => "SHA-1 with ECDSA",
        "1.2.840.10045.4.3.1" => "SHA-224 with ECDSA",
        "1.2.840.10045.4.3.2" => "SHA-256 with ECDSA",
        "1.2.840.10045.4.3.3" => "SHA-384 with ECDSA",
        "1.2.840.10045.4.3.4" => "SHA-512 with ECDSA",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        _ => return format!("the algorithm {oid}"),
    };
    name.to_owned()
}

/// A kind of key, such as `EC key on the curve secp256k1`, by the contents of its AlgorithmIdentifier.
pub(crate) fn key_text(algorithm: &[u8]) -> String {
    let Some((oid, parameters)) = identifier(algorithm) else { return UNREADABLE.to_owned() };
    let name = match &*oid {
        "1.2.840.113549.1.1.1" => "RSA key",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS key",
        "1.2.840.10040.4.1" => "DSA key",
        "1.2.840.10045.2.1" => {
            return match identifier(parameters) {
                Some((curve, _)) => format!("EC key on the curve {}", curve_name(&curve)),
                None => "EC key with explicit curve parameters".to_owned(),
            };
        }
        "1.3.101.110" => "X25519 key",
        "1.3.101.111" => "X448 key",
        "1.3.101.112" => "Ed25519 key",
        "1.3.101.113" => "Ed448 key",
        _ => return format!("key of the algorithm {oid}"),
    };
    name.to_owned()
}

const UNREADABLE: &str = "an unreadable algorithm";

/// The object identifier at the beginning as text, and what follows it.
fn identifier(algorithm: &[u8]) -> Option<(String, &[u8])> {
    let mut fields = DerReader::new(algorithm);
    let oid = fields.expect(OBJECT_IDENTIFIER).ok()?;
    Some((oid_text(&Oid::new(oid.into())), fields.rest()))
}

fn curve_name(oid: &str) -> &str {
    match oid {
        "1.2.840.10045.3.1.1" => "P-192",
        "1.2.840.10045.3.1.7" => "P-256",
        "1.3.132.0.10" => "secp256k1",
        "1.3.132.0.33" => "P-224",
        "1.3.132.0.34" => "P-384",
        "1.3.132.0.35" => "P-521",
        "1.3.36.3.3.2.8.1.1.7" => "brainpoolP256r1",
        "1.3.36.3.3.2.8.1.1.11" => "brainpoolP384r1",
        "1.3.36.3.3.2.8.1.1.13" => "brainpoolP512r1",
        other => other,
    }
}

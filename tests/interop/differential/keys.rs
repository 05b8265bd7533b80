//! Keys that never change, and signatures that need no random number, so that all certificates are the same in each
//! run. They can sign what a library refuses to sign: with SHA-1, and with RSA keys of 1024 bits.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use aws_lc_rs::signature::Ed25519KeyPair;
use x509_parser::num_bigint::BigUint;
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

use super::der::{INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, element};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum KeyType {
    Ed25519,
    P224,
    P256,
    P384,
    P521,
    Rsa1024,
    Rsa2048,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

pub(super) struct Key {
    pub(super) key_type: KeyType,
    private: Vec<u8>,
    /// DER.
    pub(super) public_key_info: Vec<u8>,
}

/// Made with OpenSSL. They guard nothing.
static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let key = |line: &str| {
        let [key_type, private, public] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let key_type = match key_type {
            "ed25519" => KeyType::Ed25519,
            "p224" => KeyType::P224,
            "p256" => KeyType::P256,
            "p384" => KeyType::P384,
            "p521" => KeyType::P521,
            "rsa1024" => KeyType::Rsa1024,
            "rsa2048" => KeyType::Rsa2048,
            other => panic!("unknown type of key: {other}"),
        };
        Key { key_type, private: from_hex(private), public_key_info: from_hex(public) }
    };
    include_str!("keys.txt").lines().map(key).collect()
});

/// The key with this number among those of its type.
pub(super) fn key(key_type: KeyType, number: usize) -> &'static Key {
    KEYS.iter().filter(|key| key.key_type == key_type).nth(number).unwrap()
}

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect()
}

impl Key {
    /// The hash that CAs use with such a key.
    pub(super) fn usual_hash(&self) -> Hash {
        match self.key_type {
            KeyType::P384 => Hash::Sha384,
            KeyType::P521 => Hash::Sha512,
            _ => Hash::Sha256,
        }
    }

    /// The DER algorithm identifier of [`sign`](Self::sign).
    pub(super) fn signature_algorithm(&self, hash: Hash) -> Vec<u8> {
        let identifier = match (self.key_type, hash) {
            (KeyType::Ed25519, _) => element(OBJECT_IDENTIFIER, &[0x2b, 0x65, 0x70]),
            (KeyType::Rsa1024 | KeyType::Rsa2048, hash) => {
                let last = match hash {
                    Hash::Sha1 => 5,
                    Hash::Sha256 => 11,
                    Hash::Sha384 => 12,
                    Hash::Sha512 => 13,
                };
                let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last];
                [element(OBJECT_IDENTIFIER, &oid), element(NULL, &[])].concat()
            }
            (_, hash) => {
                let end: &[u8] = match hash {
                    Hash::Sha1 => &[1],
                    Hash::Sha256 => &[3, 2],
                    Hash::Sha384 => &[3, 3],
                    Hash::Sha512 => &[3, 4],
                };
                element(OBJECT_IDENTIFIER, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4], end].concat())
            }
        };
        element(SEQUENCE, &identifier)
    }

    pub(super) fn sign(&self, hash: Hash, message: &[u8]) -> Vec<u8> {
        match self.key_type {
            KeyType::Ed25519 => {
                let key = Ed25519KeyPair::from_seed_unchecked(&self.private).unwrap();
                key.sign(message).as_ref().to_vec()
            }
            KeyType::P224 => panic!("this key signs nothing"),
            KeyType::P256 => self.sign_with_ecdsa(P256, &digest(hash, message)),
            KeyType::P384 => self.sign_with_ecdsa(P384, &digest(hash, message)),
            KeyType::P521 => self.sign_with_ecdsa(P521, &digest(hash, message)),
            KeyType::Rsa1024 | KeyType::Rsa2048 => self.sign_with_rsa(hash, &digest(hash, message)),
        }
    }

    /// ECDSA (FIPS 186-5 section 6.4.1) with the nonce 1. The point of the nonce is then the generator, so that there
    /// is nothing to compute on the curve. It also reveals the key.
    fn sign_with_ecdsa(&self, (order, generator): (&str, &str), digest: &[u8]) -> Vec<u8> {
        let number = |hex: &str| BigUint::from_bytes_be(&from_hex(hex));
        let (order, generator) = (number(order), number(generator));
        let digest = &digest[..digest.len().min(order.to_bytes_be().len())];
        let r = generator % &order;
        let s = (BigUint::from_bytes_be(digest) + &r * BigUint::from_bytes_be(&self.private)) % &order;
        let integer = |number: &BigUint| {
            let mut octets = number.to_bytes_be();
            if octets[0] & 0x80 != 0 {
                octets.insert(0, 0);
            }
            element(INTEGER, &octets)
        };
        element(SEQUENCE, &[integer(&r), integer(&s)].concat())
    }

    /// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2.1).
    fn sign_with_rsa(&self, hash: Hash, digest: &[u8]) -> Vec<u8> {
        let (_, info) = SubjectPublicKeyInfo::from_der(&self.public_key_info).unwrap();
        let Ok(PublicKey::RSA(public)) = info.parsed() else { panic!("not an RSA key") };
        let modulus = BigUint::from_bytes_be(public.modulus);
        let octets = modulus.to_bytes_be().len();
        let oid: &[u8] = match hash {
            Hash::Sha1 => &[0x2b, 0x0e, 3, 2, 0x1a],
            Hash::Sha256 => &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1],
            Hash::Sha384 => &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2],
            Hash::Sha512 => &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3],
        };
        let algorithm = element(SEQUENCE, &[element(OBJECT_IDENTIFIER, oid), element(NULL, &[])].concat());
        let info = element(SEQUENCE, &[algorithm, element(OCTET_STRING, digest)].concat());
        let padding = vec![0xff; octets - info.len() - 3];
        let encoded = [&[0, 1][..], &padding, &[0], &info].concat();
        let private = BigUint::from_bytes_be(&self.private);
        let signature = BigUint::from_bytes_be(&encoded).modpow(&private, &modulus).to_bytes_be();
        [vec![0; octets - signature.len()], signature].concat()
    }
}

/// The order of a curve's generator, and the generator's first coordinate (SP 800-186 section 3.2.1).
type Curve = (&'static str, &'static str);

const P256: Curve = (
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
);
const P384: Curve = (
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
);
const P521: Curve = (
    "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa\
     51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
    "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dba\
     a14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
);

fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        Hash::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => &SHA256,
        Hash::Sha384 => &SHA384,
        Hash::Sha512 => &SHA512,
    };
    aws_lc_rs::digest::digest(algorithm, message).as_ref().to_vec()
}

//! Keys that never change, and signatures that need no random number, so that all certificates are the same in each
//! run. They can sign what a library refuses to sign: with SHA-1, and with RSA keys of 1024 bits.

use std::sync::LazyLock;

use rustls::crypto::aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::{SignatureScheme, SupportedCipherSuite};
use rustls_pki_types::PrivatePkcs8KeyDer;
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
            KeyType::Ed25519 => self.sign_with_ed25519(message),
            KeyType::P224 => panic!("this key signs nothing"),
            KeyType::P256 => self.sign_with_ecdsa(P256, &digest(hash, message)),
            KeyType::P384 => self.sign_with_ecdsa(P384, &digest(hash, message)),
            KeyType::P521 => self.sign_with_ecdsa(P521, &digest(hash, message)),
            KeyType::Rsa1024 | KeyType::Rsa2048 => self.sign_with_rsa(hash, &digest(hash, message)),
        }
    }

    fn sign_with_ed25519(&self, message: &[u8]) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &element(OBJECT_IDENTIFIER, &[0x2b, 0x65, 0x70]));
        let private = element(OCTET_STRING, &element(OCTET_STRING, &self.private));
        let pkcs8 = element(SEQUENCE, &[element(INTEGER, &[0]), algorithm, private].concat());
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).unwrap();
        key.choose_scheme(&[SignatureScheme::ED25519]).unwrap().sign(message).unwrap()
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
    let of_suite = |suite| {
        let SupportedCipherSuite::Tls13(suite) = suite else { panic!("it is of TLS 1.3") };
        suite.common.hash_provider.hash(message).as_ref().to_vec()
    };
    match hash {
        Hash::Sha1 => sha1(message),
        Hash::Sha256 => of_suite(TLS13_AES_128_GCM_SHA256),
        Hash::Sha384 => of_suite(TLS13_AES_256_GCM_SHA384),
        Hash::Sha512 => sha512(message),
    }
}

/// The message with the padding of FIPS 180-4 section 5.1.
fn padded(message: &[u8], block: usize) -> Vec<u8> {
    let length_octets = block / 8;
    let mut padded = [message, &[0x80]].concat();
    while padded.len() % block != block - length_octets {
        padded.push(0);
    }
    let bits = message.len() as u64 * 8;
    padded.extend(vec![0; length_octets - 8]);
    padded.extend(bits.to_be_bytes());
    padded
}

/// FIPS 180-4 section 6.1.
fn sha1(message: &[u8]) -> Vec<u8> {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded(message, 64).chunks(64) {
        let mut words: Vec<u32> =
            block.chunks(4).map(|octets| u32::from_be_bytes(octets.try_into().unwrap())).collect();
        for t in 16..80 {
            words.push((words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16]).rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (t, word) in words.iter().enumerate() {
            let (mixed, constant) = match t / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(mixed)
                .wrapping_add(e)
                .wrapping_add(constant)
                .wrapping_add(*word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (sum, word) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(word);
        }
    }
    state.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The first 64 bits of the fractional parts of the square roots and the cube roots of the first 80 primes, which are
/// the constants of SHA-512 (FIPS 180-4 sections 4.2.3 and 5.3.5).
static ROOTS: LazyLock<Vec<(u64, u64)>> = LazyLock::new(|| {
    let is_prime = |n: &u32| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0);
    let fraction = |root: BigUint| root.iter_u64_digits().next().unwrap();
    let shifted = |prime: u32, bits: u32| BigUint::from(prime) << bits;
    let roots = |prime| (fraction(shifted(prime, 128).sqrt()), fraction(shifted(prime, 192).cbrt()));
    (2_u32..).filter(is_prime).take(80).map(roots).collect()
});

/// FIPS 180-4 section 6.4.
fn sha512(message: &[u8]) -> Vec<u8> {
    let mut state: Vec<u64> = ROOTS.iter().take(8).map(|&(square_root, _)| square_root).collect();
    for block in padded(message, 128).chunks(128) {
        let mut w: Vec<u64> =
            block.chunks(8).map(|octets| u64::from_be_bytes(octets.try_into().unwrap())).collect();
        for t in 16..80 {
            let s0 = w[t - 15].rotate_right(1) ^ w[t - 15].rotate_right(8) ^ (w[t - 15] >> 7);
            let s1 = w[t - 2].rotate_right(19) ^ w[t - 2].rotate_right(61) ^ (w[t - 2] >> 6);
            w.push(w[t - 16].wrapping_add(s0).wrapping_add(w[t - 7]).wrapping_add(s1));
        }
        let mut v = state.clone();
        for (word, &(_, cube_root)) in w.iter().zip(ROOTS.iter()) {
            let s1 = v[4].rotate_right(14) ^ v[4].rotate_right(18) ^ v[4].rotate_right(41);
            let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
            let first = [s1, choice, cube_root, *word].iter().fold(v[7], |sum, term| sum.wrapping_add(*term));
            let s0 = v[0].rotate_right(28) ^ v[0].rotate_right(34) ^ v[0].rotate_right(39);
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            v.rotate_right(1);
            v[4] = v[4].wrapping_add(first);
            v[0] = first.wrapping_add(s0).wrapping_add(majority);
        }
        for (sum, word) in state.iter_mut().zip(v) {
            *sum = sum.wrapping_add(word);
        }
    }
    state.iter().flat_map(|word| word.to_be_bytes()).collect()
}

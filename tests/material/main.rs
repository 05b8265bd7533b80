//! What the files hold: bundles, chains, keys and revocation lists, good and damaged; warnings about our own; and that
//! the private key appears in no output.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics fails, as it should; clippy knows only functions marked as tests"
)]

mod bundles_and_chains;
#[path = "../common/lists.rs"]
mod common_lists;
#[path = "../common/material.rs"]
mod common_material;
mod crafted_lists;
mod forms;
mod given_contents;
mod keys;
mod leaf_identity;
mod replaced_lists;
mod revocation_lists;
mod secrecy;
#[allow(unreachable_pub, reason = "other test files use it, too")]
#[path = "../common/subscribers.rs"]
mod subscribers;
mod unreadable;
mod unusable_keys;
mod warnings;

use std::error::Error as _;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common_material::Dir;
use common_material::secret::{Log, Secret};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{PrivateKeyDer, UnixTime};
use typha_tls::material::{
    Credentials, Material, MaterialError, MaterialWarning, RevocationLists, RevocationPolicy, TlsFiles,
    TrustBundle,
};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, KeyType, Purpose, TestCa, TestLeaf, TestPki};
use typha_tls::{RequiredIdentity, Role, TlsConfig};

/// `openssl ecparam -name prime256v1 -genkey`
const SEC1: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIJHNKSMLCfBdL0l1HZNrKkTiJw91YM9tiFUwot11Q5h+oAoGCCqGSM49
AwEHoUQDQgAE5XI/ZxecQrARqrbi8v4yP5dsKF1NjimoSGGVShxpkK3vO466jqLT
QhWmM6nQxWXdKM3Umnik2NM8+93lF6V/ng==
-----END EC PRIVATE KEY-----
";

/// The same key: `openssl pkcs8 -topk8 -passout pass:x`
const ENCRYPTED_PKCS8: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAirF6lcV/jI6wICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEENXtN45cUT5YcQVpzjgxOcEgZCJ
WLgpyVvQOUNFEeEAd0FoSjUmdMetE9yT2TvUlv6KreHReooTB/FVykziqxI9S67i
WklITlXN7B1+o41sz6RgEUJFDNBJOpAOh7klOSITPQK8w8oBYTQ/jE/bVhPVS3S6
NNnvdLa8T5786H6vT1bquBR9yL2qwt8OcB7df9Ps8uLmSGv1q2rFmXXntWGKStU=
-----END ENCRYPTED PRIVATE KEY-----
";

/// The same key: `openssl ec -aes128 -passout pass:x`
const ENCRYPTED_SEC1: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,42DF6F11E23D67C68C5ED06DF0D82BE0

wkrZRMhuQibiqhACKDkcHKOQ31EbIOpgv9osYUk1yzIS7DFLB4XMSw65YXtzjtap
CHU0xJvuQsRUbfD8sukPGk2JdIR72cuB5D45vSVkwQzF8WMlmVmMthOoHohp4Ztw
2/xYOkOTCnI+Q1xYH2uqUqRubOhddqjPUMjlq5c8Q/Q=
-----END EC PRIVATE KEY-----
";

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn pem(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

fn ca(name: &str) -> TestCa {
    TestCa::new(CertificateSpec::ca(name)).unwrap()
}

/// A self-signed certificate of a given key.
fn certificate_of(key: &KeyPair) -> String {
    CertificateParams::new(vec!["typha".to_owned()]).unwrap().self_signed(key).unwrap().pem()
}

/// The traditional form of a key that is inside of PKCS#8: `version, algorithm, OCTET STRING`.
fn traditional(label: &str, key: &PrivateKeyDer<'_>) -> String {
    let element = |bytes: &[u8]| {
        let length_octets = match bytes[1] {
            0x82 => 2,
            0x81 => 1,
            _ => 0,
        };
        let length = match length_octets {
            0 => usize::from(bytes[1]),
            _ => bytes[2..2 + length_octets].iter().fold(0, |length, &b| length << 8 | usize::from(b)),
        };
        (2 + length_octets, length)
    };
    let der = key.secret_der();
    let mut rest = &der[element(der).0..];
    for _ in 0..2 {
        let (header, length) = element(rest);
        rest = &rest[header + length..];
    }
    assert_eq!(rest[0], 0x04);
    let (header, length) = element(rest);
    pem(label, &rest[header..header + length])
}

fn load_key(dir: &Dir, chain: &str, key: &str) -> Result<Credentials, MaterialError> {
    let (chain, key) = (dir.write("cert.pem", chain), dir.write("key.pem", key));
    Credentials::from_files(chain, key, &provider())
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

/// 2025-01-01T00:00:00Z and a year later.
fn year() -> (SystemTime, SystemTime) {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_735_689_600);
    (begin, begin + days(365))
}

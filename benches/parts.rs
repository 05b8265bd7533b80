//! What the parts of a handshake cost, one by one, and a whole one.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up must stop"
)]
#![allow(missing_docs, reason = "of what criterion's macros make")]

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rustls_pki_types::UnixTime;
use typha_tls::identity::{PeerIdentity, RequiredIdentity};
use typha_tls::material::RevocationLists;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, FELIX_SPIFFE_ID, KeyType, Purpose, TYPHA_COMMON_NAME, TestCa,
    TestLeaf, TestPki, handshake, material,
};
use typha_tls::verifier::PeerVerifier;
use typha_tls::{FelixConnector, Role, TlsConfig, TyphaAcceptor};

const KEY_TYPES: [(&str, KeyType); 4] = [
    ("p256", KeyType::P256),
    ("p384", KeyType::P384),
    ("rsa2048", KeyType::Rsa2048),
    ("ed25519", KeyType::Ed25519),
];

/// Within the validity of what [`valid`] returns, whenever the benchmark runs.
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

fn valid(spec: CertificateSpec) -> CertificateSpec {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.as_secs());
    let year = Duration::from_secs(365 * 24 * 3600);
    spec.valid(now - year, now + year)
}

/// A CA, and a Felix below as many intermediate CAs; all keys are of one type.
fn pki(key_type: KeyType, intermediates: usize) -> (TestCa, TestLeaf) {
    let ca = |name: &str| valid(CertificateSpec::ca(name)).key_type(key_type);
    let root = TestCa::new(ca("root")).unwrap();
    let felix = valid(CertificateSpec::leaf(FELIX_COMMON_NAME))
        .key_type(key_type)
        .uri_san(FELIX_SPIFFE_ID)
        .purpose(Purpose::ClientAuth);
    let mut issuer: Option<TestCa> = None;
    for number in 0..intermediates {
        let above = issuer.as_ref().unwrap_or(&root);
        issuer = Some(above.intermediate(ca(&format!("intermediate {number}"))).unwrap());
    }
    let felix = issuer.as_ref().unwrap_or(&root).issue(felix).unwrap();
    (root, felix)
}

fn required_felix() -> RequiredIdentity {
    RequiredIdentity::either(FELIX_COMMON_NAME, FELIX_SPIFFE_ID).unwrap()
}

fn identity(c: &mut Criterion) {
    let (_, felix) = pki(KeyType::P256, 0);
    let leaf = &felix.chain()[0];
    c.bench_function("leaf/parse", |b| b.iter(|| PeerIdentity::from_certificate(black_box(leaf))));

    let presented = PeerIdentity::from_certificate(leaf).unwrap();
    let required = required_felix();
    c.bench_function("identity/match", |b| b.iter(|| black_box(&required).check(black_box(&presented))));
    let other = RequiredIdentity::either("other", "spiffe://cluster.local/other").unwrap();
    c.bench_function("identity/mismatch", |b| b.iter(|| black_box(&other).check(black_box(&presented))));
}

/// A chain that the verifier does not know, and one that it does.
fn verify(c: &mut Criterion) {
    let policy = TlsPolicy::builder().build().unwrap();
    for (kind, capacity) in [("cold", 0), ("cached", 16_384)] {
        let mut group = c.benchmark_group(format!("verify/{kind}"));
        for (name, key_type) in KEY_TYPES {
            for intermediates in 0..=2 {
                let (root, felix) = pki(key_type, intermediates);
                let bundle = root.trust_bundle().unwrap();
                let verifier = PeerVerifier::new(bundle, RevocationLists::none(), required_felix(), &policy)
                    .with_chain_cache_capacity(capacity);
                let chain = felix.chain();
                verifier.verify(chain, Role::Felix, NOW).unwrap();
                group.bench_function(BenchmarkId::new(name, intermediates), |b| {
                    b.iter(|| verifier.verify(black_box(chain), Role::Felix, NOW));
                });
            }
        }
    }
}

fn acceptor(c: &mut Criterion) {
    let policy = TlsPolicy::builder().build().unwrap();
    let mut group = c.benchmark_group("acceptor");
    for (name, key_type) in KEY_TYPES {
        let (root, leaf) = pki(key_type, 0);
        group.bench_function(name, |b| {
            b.iter(|| {
                // As on a reload: the key is parsed, too.
                let material = material(&root, &leaf, policy.provider()).unwrap();
                TyphaAcceptor::new(TlsConfig::new(material, required_felix(), policy.clone()))
            });
        });
    }
}

/// Both ends, over a pipe in memory.
fn whole_handshake(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let pki = TestPki::new().unwrap();
    let mut group = c.benchmark_group("handshake");
    for (name, key_exchange, is_cached) in [
        ("X25519MLKEM768/cached", "X25519MLKEM768,x25519", true),
        ("x25519/cached", "x25519", true),
        ("x25519/cold", "x25519", false),
    ] {
        let capacity = if is_cached { 16 } else { 0 };
        let policy = TlsPolicy::builder().key_exchange_groups(key_exchange).chain_cache_capacity(capacity);
        let policy = policy.build().unwrap();
        let material = |leaf| material(&pki.ca, leaf, policy.provider()).unwrap();
        let typha = TlsConfig::new(material(&pki.typha), required_felix(), policy.clone());
        let required = RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap();
        let felix = TlsConfig::new(material(&pki.felix), required, policy.clone());
        let (acceptor, connector) = (TyphaAcceptor::new(typha), FelixConnector::new(felix));
        group.bench_function(name, |b| {
            b.iter(|| {
                let (typha, felix) = runtime.block_on(handshake(&acceptor, &connector));
                (typha.unwrap(), felix.unwrap())
            });
        });
    }
}

criterion_group!(benches, identity, verify, acceptor, whole_handshake);
criterion_main!(benches);

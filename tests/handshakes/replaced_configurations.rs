//! A configuration that is replaced while connections come and go: each is judged by one, as a whole, and knows which.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpStream;
use tokio::time::timeout;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{self, CertificateSpec, TYPHA_COMMON_NAME, TestCa, TestLeaf, TestPki, handshake};
use typha_tls::{FelixConnector, HandshakeError, RequiredIdentity, TlsConfig, TyphaAcceptor, TyphaListener};

/// Two Felixes of one CA, and the configurations that let in the one or the other.
struct Two {
    pki: TestPki,
    felixes: [FelixConnector; 2],
}

const NAMES: [&str; 2] = ["first", "second"];

impl Two {
    fn new() -> Self {
        let pki = TestPki::new().unwrap();
        let felixes = NAMES.map(|name| felix(&pki, &pki.ca.issue(CertificateSpec::leaf(name)).unwrap()));
        Self { pki, felixes }
    }

    fn letting_in(&self, name: &str) -> TlsConfig {
        config(&self.pki.ca, &self.pki.typha, name)
    }
}

fn felix(pki: &TestPki, leaf: &TestLeaf) -> FelixConnector {
    testing::connector(&pki.ca, leaf, RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap()).unwrap()
}

fn config(felix_ca: &TestCa, typha: &TestLeaf, name: &str) -> TlsConfig {
    let policy = TlsPolicy::builder().build().unwrap();
    let material = testing::material(felix_ca, typha, policy.provider()).unwrap();
    TlsConfig::new(material, RequiredIdentity::common_name(name).unwrap(), policy)
}

/// The generation by which a Felix is let in, or the alert by which it is not.
async fn outcome(acceptor: &TyphaAcceptor, felix: &FelixConnector) -> Result<u64, AlertDescription> {
    match handshake(acceptor, felix).await {
        (Ok(typha), Ok(_)) => Ok(typha.generation()),
        (Err(_), Err(HandshakeError::RefusedByPeer { alert })) => Err(alert),
        ends => panic!("{ends:?}"),
    }
}

const DENIED: Result<u64, AlertDescription> = Err(AlertDescription::AccessDenied);

#[tokio::test]
async fn new_connections_are_judged_by_the_new_configuration() {
    let two = Two::new();
    let acceptor = TyphaAcceptor::new(two.letting_in(NAMES[0]));
    assert_eq!(*acceptor.generations().borrow(), 1);
    let (clone, [first, second]) = (acceptor.clone(), &two.felixes);
    assert_eq!((outcome(&acceptor, first).await, outcome(&acceptor, second).await), (Ok(1), DENIED));
    let (mut typha, mut felix) = match handshake(&acceptor, first).await {
        (Ok(typha), Ok(felix)) => (typha, felix),
        ends => panic!("{ends:?}"),
    };

    assert_eq!(acceptor.replace(two.letting_in(NAMES[1])), 2);
    assert_eq!(*clone.generations().borrow(), 2, "clones share what is in force");
    // The first one's chain was verified before; that does not help it.
    assert_eq!((outcome(&clone, first).await, outcome(&clone, second).await), (DENIED, Ok(2)));

    // The connection from before stays.
    felix.write_all(b"x").await.unwrap();
    let mut byte = [0];
    typha.read_exact(&mut byte).await.unwrap();
    assert_eq!((byte, typha.generation()), (*b"x", 1));

    // The same configuration again is another generation.
    assert_eq!(acceptor.replace(acceptor.config()), 3);
    assert_eq!(outcome(&acceptor, second).await, Ok(3));
}

#[tokio::test]
async fn a_handshake_ends_with_the_configuration_that_it_began_with() {
    let two = Two::new();
    let acceptor = TyphaAcceptor::new(two.letting_in(NAMES[0]));
    let clone = acceptor.clone();
    let (typha, felix) = duplex(64 * 1024);
    let accept = acceptor.accept(typha);
    clone.replace(two.letting_in(NAMES[1]));
    let (typha, felix) = tokio::join!(accept, two.felixes[0].connect(felix));
    assert_eq!(typha.unwrap().generation(), 1);
    felix.unwrap();
    assert_eq!(outcome(&acceptor, &two.felixes[0]).await, DENIED);
}

#[tokio::test]
async fn a_ca_that_is_removed_is_trusted_no_more() {
    let pki = TestPki::new().unwrap();
    let other = TestCa::new(CertificateSpec::ca("calico-typha-ca")).unwrap();
    let name = testing::FELIX_COMMON_NAME;
    let acceptor = TyphaAcceptor::new(config(&pki.ca, &pki.typha, name));
    let felix = felix(&pki, &pki.felix);
    assert_eq!(outcome(&acceptor, &felix).await, Ok(1));
    // Of the same name, with another key.
    acceptor.replace(config(&other, &pki.typha, name));
    assert_eq!(outcome(&acceptor, &felix).await, Err(AlertDescription::UnknownCA));
    acceptor.replace(config(&pki.ca, &pki.typha, name));
    assert_eq!(outcome(&acceptor, &felix).await, Ok(3));
}

/// Providers that offer the same suites and groups may differ in whose signatures they believe.
#[tokio::test]
async fn a_signature_algorithm_that_is_taken_away_is_believed_no_more() {
    let pki = TestPki::new().unwrap();
    let acceptor = pki.acceptor().unwrap();
    let felix = felix(&pki, &pki.felix);
    assert_eq!(outcome(&acceptor, &felix).await, Ok(1));

    let mut provider = rustls::crypto::CryptoProvider::clone(acceptor.config().policy.provider());
    let none_for_p256: Vec<_> = provider
        .signature_verification_algorithms
        .all
        .iter()
        .filter(|algorithm| algorithm.public_key_alg_id() != rustls_pki_types::alg_id::ECDSA_P256)
        .copied()
        .collect();
    provider.signature_verification_algorithms.all = none_for_p256.leak();
    let mut config = acceptor.config();
    config.policy = TlsPolicy::builder().provider(provider.into()).build().unwrap();
    acceptor.replace(config);
    assert_eq!(outcome(&acceptor, &felix).await, Err(AlertDescription::UnsupportedCertificate));
}

#[tokio::test]
async fn felix_judges_typha_by_its_configuration_in_force() {
    let pki = TestPki::new().unwrap();
    let acceptor = pki.acceptor().unwrap();
    let connector = pki.connector().unwrap();
    let nobody = RequiredIdentity::common_name("nobody").unwrap();
    let nobody = testing::connector(&pki.ca, &pki.felix, nobody).unwrap();
    let (good, bad) = (connector.config(), nobody.config());
    assert_eq!(connector.replace(bad), 2);
    let (_, felix) = handshake(&acceptor, &connector).await;
    assert_eq!(felix.unwrap_err().label(), "identity_mismatch");
    connector.replace(good);
    let (typha, felix) = handshake(&acceptor, &connector).await;
    assert_eq!((typha.unwrap().generation(), felix.unwrap().generation()), (1, 3));
}

#[tokio::test]
async fn a_listener_takes_the_configuration_in_force() {
    let two = Two::new();
    let acceptor = TyphaAcceptor::new(two.letting_in(NAMES[0]));
    let mut listener = TyphaListener::builder(acceptor.clone()).bind("127.0.0.1:0").await.unwrap();
    let connect = async |felix: &FelixConnector| {
        let tcp = TcpStream::connect(listener.local_addr()).await.unwrap();
        timeout(Duration::from_secs(30), felix.connect_tcp(tcp)).await.unwrap()
    };
    acceptor.replace(two.letting_in(NAMES[1]));
    assert_eq!(connect(&two.felixes[0]).await.unwrap_err().alert(), Some(AlertDescription::AccessDenied));
    connect(&two.felixes[1]).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().generation(), 2);
}

/// Replaced all the time, every other generation lets in the one, and every other the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verdict_is_that_of_its_generation() {
    let two = Two::new();
    let configs = NAMES.map(|name| two.letting_in(name));
    let acceptor = TyphaAcceptor::new(configs[0].clone());
    let done = AtomicBool::new(false);
    let connecting = async |number: usize| {
        let (mut accepted, mut refused) = (0, 0);
        while !done.load(Ordering::Relaxed) || accepted == 0 || refused == 0 {
            match outcome(&acceptor, &two.felixes[number]).await {
                Ok(generation) => {
                    assert_eq!((generation + 1) % 2, number as u64);
                    accepted += 1;
                }
                refusal => {
                    assert_eq!(refusal, DENIED);
                    refused += 1;
                }
            }
        }
    };
    let replacing = async {
        for round in 1..=300 {
            assert_eq!(acceptor.replace(configs[round % 2].clone()), round as u64 + 1);
            tokio::task::yield_now().await;
        }
        done.store(true, Ordering::Relaxed);
    };
    // Whoever has not had both by then gets the rest of it.
    let alternating = async {
        replacing.await;
        loop {
            for config in configs.iter().rev() {
                acceptor.replace(config.clone());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let connected = async { tokio::join!(connecting(0), connecting(1)) };
    tokio::select! {
        connected = timeout(Duration::from_secs(60), connected) => drop(connected.unwrap()),
        () = alternating => {}
    }
}

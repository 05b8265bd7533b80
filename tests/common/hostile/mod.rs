//! Peers that do not behave, and what is needed to watch how the two ends take it.

#![allow(dead_code, unused_imports, reason = "each test crate uses a part of it")]

mod client;
mod outcome;
mod raw;
mod wire;

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{NamedGroup, SupportedProtocolVersion};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, KeyType, Purpose, TYPHA_COMMON_NAME, TestCa, TestLeaf, TestPki,
    material,
};
use typha_tls::{FelixConnector, RequiredIdentity, Role, TlsConfig, TyphaAcceptor};

pub(crate) use client::{CLIENTS, Client, SERVER_NAME};
pub(crate) use outcome::Outcome;
pub(crate) use raw::{RawPeer, client_config, no_name, server_config};
pub(crate) use wire::{Counted, Ending, Script, Scripted, Slow};

/// Both versions, as a table.
pub(crate) static VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// The roles of the ends that can be attacked: the server, and the client of either rule.
pub(crate) const ROLES: [Role; 3] = [Role::Typha, Role::Felix, Role::Client];

/// Far beyond what any test here takes: beyond it, something hangs.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Runs a test on a thread of its own, with tokio's clock paused. No timeout interrupts a handshake that spins inside
/// one poll; this fails the test even then.
pub(crate) fn bounded<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    watch(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap().block_on(test());
    });
}

/// As [`bounded`], with real time: for real sockets.
pub(crate) fn bounded_in_real_time<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    watch(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    });
}

fn watch(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _done = done;
        test();
    });
    if ended.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("the test hangs or spins");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The cryptography of one version, with one small key-exchange group so that every offset of a flight can be tried.
pub(crate) fn provider(version: &SupportedProtocolVersion) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.version().version == version.version);
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    Arc::new(provider)
}

/// A PKI whose leaves have Ed25519 keys: their signatures all have one length, and so have the flights.
pub(crate) fn pki() -> TestPki {
    let ca = TestCa::new(CertificateSpec::ca("calico-typha-ca")).unwrap();
    TestPki {
        felix: ca.issue(felix_spec()).unwrap(),
        typha: ca
            .issue(
                CertificateSpec::leaf(TYPHA_COMMON_NAME)
                    .dns_san(SERVER_NAME)
                    .purpose(Purpose::ServerAuth)
                    .key_type(KeyType::Ed25519),
            )
            .unwrap(),
        ca,
    }
}

pub(crate) fn felix_spec() -> CertificateSpec {
    CertificateSpec::leaf(FELIX_COMMON_NAME).purpose(Purpose::ClientAuth).key_type(KeyType::Ed25519)
}

/// Typha, speaking one version.
pub(crate) fn acceptor(pki: &TestPki, version: &SupportedProtocolVersion) -> TyphaAcceptor {
    acceptor_requiring(pki, FELIX_COMMON_NAME, version)
}

pub(crate) fn acceptor_requiring(
    pki: &TestPki,
    common_name: &str,
    version: &SupportedProtocolVersion,
) -> TyphaAcceptor {
    let policy = TlsPolicy::builder().provider(provider(version)).build().unwrap();
    let material = material(&pki.ca, &pki.typha, policy.provider()).unwrap();
    let required = RequiredIdentity::common_name(common_name).unwrap();
    TyphaAcceptor::new(TlsConfig::new(material, required, policy))
}

/// Felix, speaking one version.
pub(crate) fn connector(pki: &TestPki, version: &SupportedProtocolVersion) -> FelixConnector {
    connector_with(pki, &pki.felix, version)
}

pub(crate) fn connector_with(
    pki: &TestPki,
    felix: &TestLeaf,
    version: &SupportedProtocolVersion,
) -> FelixConnector {
    let policy = TlsPolicy::builder().provider(provider(version)).build().unwrap();
    let material = material(&pki.ca, felix, policy.provider()).unwrap();
    let required = RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap();
    FelixConnector::new(TlsConfig::new(material, required, policy))
}

/// Small, seeded, and the same everywhere.
pub(crate) struct Xorshift(u64);

impl Xorshift {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

//! Without sockets: handshakes of both ends in one thread, and the floor.

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SignatureVerificationAlgorithm};
use rustls::sign::Signer;
use tokio::io::duplex;
use typha_tls::policy::TlsPolicy;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ends::{Failure, FelixEnd, TyphaEnd, bounded, nanos};
use crate::protocol::{Files, Floor, InMemory};

/// More than either end sends in a handshake.
const PIPE_LENGTH: usize = 64 * 1024;

pub(super) struct Pair<T, F> {
    typha: Arc<T>,
    felix: Arc<F>,
}

impl<T: TyphaEnd, F: FelixEnd> Pair<T, F> {
    pub(super) fn new(typha: T, felix: F) -> Self {
        Self { typha: Arc::new(typha), felix: Arc::new(felix) }
    }

    pub(super) async fn handshakes(&self, millis: u64) -> Result<InMemory, Failure> {
        let until = Instant::now() + Duration::from_millis(millis);
        let mut sum = InMemory { completed: 0, typha_nanos: 0, felix_nanos: 0 };
        while Instant::now() < until {
            let (typha_nanos, felix_nanos) = bounded(self.handshake()).await?;
            sum.completed += 1;
            sum.typha_nanos += typha_nanos;
            sum.felix_nanos += felix_nanos;
        }
        Ok(sum)
    }

    /// A task for each end: each is polled only when there is something for it, as over sockets.
    async fn handshake(&self) -> Result<(u64, u64), Failure> {
        let (typha_pipe, felix_pipe) = duplex(PIPE_LENGTH);
        let (typha, felix) = (self.typha.clone(), self.felix.clone());
        let typha = tokio::spawn(timed(async move { typha.accept(typha_pipe).await }));
        let felix = tokio::spawn(timed(async move { felix.connect(felix_pipe).await }));
        let ((typha, typha_nanos), (felix, felix_nanos)) = tokio::try_join!(typha, felix)?;
        typha?;
        felix?;
        Ok((typha_nanos, felix_nanos))
    }
}

/// Returns how many nanoseconds were spent inside the polls of the future, too.
async fn timed<T>(future: impl Future<Output = T>) -> (T, u64) {
    let mut future = pin!(future);
    let mut spent = Duration::ZERO;
    std::future::poll_fn(move |cx| {
        let begun = Instant::now();
        let polled = future.as_mut().poll(cx);
        spent += begun.elapsed();
        polled.map(|output| (output, nanos(spent)))
    })
    .await
}

/// As long as what a TLS 1.3 signature covers, with SHA-256: 64 spaces, 33 letters, a zero, the hash.
const SIGNED: [u8; 130] = [b' '; 130];

/// Measures the operations that Typha cannot do without in a full handshake: its part of the key exchange, its
/// signature, the check of Felix's. They take turns, so that a noisy moment affects all of them.
pub(super) fn floor(files: &Files, group: &str, millis: u64) -> Result<Floor, Failure> {
    let policy = TlsPolicy::builder().key_exchange_groups(group).build()?;
    let provider = policy.provider();
    let group = provider.kx_groups.first().ok_or("no key-exchange group is named")?;
    let felix = group.start()?;

    let signer = signer(files, provider)?;
    let signature = signer.sign(&SIGNED)?;
    let public_key = public_key(files)?;
    let algorithm = algorithm(provider, signer.scheme(), &public_key, &signature)?;

    let [mut key_exchange, mut sign, mut verify] = [Duration::ZERO; 3];
    let (begun, mut times) = (Instant::now(), 0);
    while times == 0 || begun.elapsed() < Duration::from_millis(millis) {
        key_exchange += time(|| group.start_and_complete(felix.pub_key()))?;
        sign += time(|| signer.sign(&SIGNED))?;
        verify += time(|| {
            algorithm
                .verify_signature(&public_key, &SIGNED, &signature)
                .map_err(|_| "a good signature was refused")
        })?;
        times += 1;
    }
    let [key_exchange_nanos, sign_nanos, verify_nanos] =
        [key_exchange, sign, verify].map(|sum| sum.as_nanos() as f64 / f64::from(times));
    Ok(Floor { key_exchange_nanos, sign_nanos, verify_nanos })
}

fn time<T, E: Into<Failure>>(operation: impl FnOnce() -> Result<T, E>) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let outcome = black_box(operation());
    let spent = begun.elapsed();
    outcome.map(|_| spent).map_err(Into::into)
}

/// Signs as a handshake would in which everything is offered.
fn signer(files: &Files, provider: &CryptoProvider) -> Result<Box<dyn Signer>, Failure> {
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| format!("{}: {error}", files.key))?;
    let key = provider.key_provider.load_private_key(key)?;
    let offered = provider.signature_verification_algorithms.supported_schemes();
    let signer = key.choose_scheme(&offered);
    Ok(signer.ok_or_else(|| format!("{}: no signature scheme for this key", files.key))?)
}

fn public_key(files: &Files) -> Result<Vec<u8>, Failure> {
    let path = &files.chain;
    let leaf = CertificateDer::from_pem_file(path).map_err(|error| format!("{path}: {error}"))?;
    let (_, leaf) = X509Certificate::from_der(&leaf).map_err(|error| format!("{path}: {error}"))?;
    Ok(leaf.public_key().subject_public_key.data.to_vec())
}

/// A scheme of TLS 1.2 leaves the curve open: of its algorithms, the one that this key and signature are for.
fn algorithm(
    provider: &CryptoProvider,
    scheme: SignatureScheme,
    public_key: &[u8],
    signature: &[u8],
) -> Result<&'static dyn SignatureVerificationAlgorithm, Failure> {
    let known = provider.signature_verification_algorithms.mapping.iter();
    let mut algorithms = known.filter(|(known, _)| *known == scheme).flat_map(|(_, algorithms)| *algorithms);
    let fitting =
        algorithms.find(|algorithm| algorithm.verify_signature(public_key, &SIGNED, signature).is_ok());
    Ok(*fitting.ok_or_else(|| format!("nothing verifies what the key signs with {scheme:?}"))?)
}

//! Cryptography that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use typha_tls::policy::TlsPolicy;

/// Checks signatures as another does, and counts them.
#[derive(Debug)]
struct Counting {
    inner: &'static dyn SignatureVerificationAlgorithm,
    checks: Arc<AtomicUsize>,
}

impl SignatureVerificationAlgorithm for Counting {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        self.checks.fetch_add(1, Relaxed);
        self.inner.verify_signature(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }
}

/// The number of signatures checked since the last call.
pub(crate) struct Checks(Arc<AtomicUsize>);

impl Checks {
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Relaxed)
    }
}

/// A policy whose provider counts the signatures that it checks. Only P-256 with SHA-256, so that nothing is tried
/// twice.
pub(crate) fn counting_policy() -> (TlsPolicy, Checks) {
    let checks = Arc::new(AtomicUsize::new(0));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let counting = |inner: &'static dyn SignatureVerificationAlgorithm| {
        let counting = Counting { inner, checks: checks.clone() };
        &*Box::leak(Box::new(counting)) as &'static dyn SignatureVerificationAlgorithm
    };
    let mut mapping = provider.signature_verification_algorithms.mapping.iter();
    let &(scheme, algorithms) =
        mapping.find(|(scheme, _)| *scheme == rustls::SignatureScheme::ECDSA_NISTP256_SHA256).unwrap();
    let algorithms = &*Box::leak(Box::new([counting(algorithms[0])]));
    let provider = CryptoProvider {
        signature_verification_algorithms: WebPkiSupportedAlgorithms {
            all: algorithms,
            mapping: Box::leak(Box::new([(scheme, &algorithms[..])])),
        },
        ..provider
    };
    (TlsPolicy::builder().provider(Arc::new(provider)).build().unwrap(), Checks(checks))
}

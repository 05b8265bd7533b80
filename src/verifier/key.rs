//! The check of the leaf's key: whether a handshake can verify a signature by it.

use std::ops::RangeInclusive;

use rustls_pki_types::SignatureVerificationAlgorithm;

use super::rejection::{ChainPosition, Rejection};
use crate::certificate::{Certificate, key_text};

/// RSA key sizes, in bits, that the signature algorithms of rustls accept.
pub(super) const RSA_KEY_BITS: RangeInclusive<usize> = 2048..=8192;

/// Checks the key after the chain. Without it, an unsupported key would cause an unclear handshake failure.
pub(super) fn check(
    leaf: &Certificate<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), Rejection> {
    check_rsa_size(leaf)?;
    let algorithm = leaf.public_key_algorithm();
    if algorithms.iter().any(|known| Some(known.public_key_alg_id().as_ref()) == algorithm) {
        return Ok(());
    }
    Err(Rejection::UnsupportedAlgorithm {
        position: ChainPosition::Leaf,
        subject: leaf.subject_text(),
        algorithm: format!("its {}", key_text(algorithm.unwrap_or_default())),
    })
}

pub(super) fn check_rsa_size(certificate: &Certificate<'_>) -> Result<(), Rejection> {
    match certificate.rsa_key_bits() {
        Some(bits) if !RSA_KEY_BITS.contains(&bits) => {
            Err(Rejection::UnsupportedKeySize { subject: certificate.subject_text(), bits })
        }
        _ => Ok(()),
    }
}

//! The check of the leaf's key: whether a handshake can verify a signature by it.

use rustls_pki_types::SignatureVerificationAlgorithm;

use super::rejection::{ChainPosition, Rejection};
use crate::certificate::{Certificate, RSA_KEY_BITS, key_text};

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

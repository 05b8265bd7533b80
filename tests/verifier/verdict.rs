//! One verdict, however it is come by.

use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::Role;
use typha_tls::verifier::{PeerVerifier, Rejection, VerifiedChain};

/// Judges a chain without a cache, with one that does not know it and with one that may; all must say the same.
pub(crate) fn verdict(
    verifier: &PeerVerifier,
    chain: &[CertificateDer<'_>],
    role: Role,
    now: UnixTime,
) -> Result<VerifiedChain, Rejection> {
    let uncached = verifier.clone().with_chain_cache_capacity(0);
    let verdict = uncached.verify(chain, role, now);
    let first = verifier.verify(chain, role, now);
    let again = verifier.verify(chain, role, now);
    assert_eq!(said(&verdict), said(&first), "unknown chain");
    assert_eq!(said(&verdict), said(&again), "known chain");
    verdict
}

/// All but until when the path holds: of several paths, another one may be known than the first that is found.
fn said(verdict: &Result<VerifiedChain, Rejection>) -> String {
    let peer =
        verdict.as_ref().map(|peer| (peer.identity(), peer.matched_by(), peer.role(), peer.not_after()));
    format!("{peer:?}")
}

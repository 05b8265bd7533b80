//! Whether peers can accept our own chain.

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls_pki_types::UnixTime;

use super::PeerVerifier;
use super::rejection::{ChainPosition, Rejection};
use crate::certificate::{Certificate, MalformedCertificate, signature_text};
use crate::identity::RequiredIdentity;
use crate::material::{Credentials, MaterialError, RevocationLists, RevocationPolicy, TrustBundle};
use crate::policy::{TlsPolicy, default_provider};
use crate::role::Role;

/// Verifies our own chain as a peer with our CAs would that requires the identity of our leaf.
///
/// # Errors
///
/// - [`Rejection::UnknownCa`] and [`Rejection::CaKeyMismatch`]: the chain leads to none of our CAs. It need not, as
///   the other end may have others. As far as that can be known without its CA, it is good.
/// - Any other [`Rejection`]: no peer accepts it at this time.
pub(crate) fn own_chain(
    credentials: &Credentials,
    trust_bundle: &TrustBundle,
    lists: &RevocationLists,
    policy: &TlsPolicy,
    local: Role,
    now: UnixTime,
) -> Result<(), Rejection> {
    let by_algorithms_of = |provider: &CryptoProvider| {
        let algorithms = provider.signature_verification_algorithms;
        own_chain_by(algorithms, credentials, trust_bundle, lists, policy, local, now)
    };
    match (by_algorithms_of(policy.provider()), default_provider()) {
        // A peer need not have our provider, which may be one with fewer algorithms.
        (Err(Rejection::UnsupportedAlgorithm { .. }), Some(default)) => by_algorithms_of(&default),
        (verdict, _) => verdict,
    }
}

fn own_chain_by(
    algorithms: WebPkiSupportedAlgorithms,
    credentials: &Credentials,
    trust_bundle: &TrustBundle,
    lists: &RevocationLists,
    policy: &TlsPolicy,
    local: Role,
    now: UnixTime,
) -> Result<(), Rejection> {
    let (chain, identity) = (credentials.chain(), credentials.identity());
    let uri_san = identity.uri_sans().find(|uri| RequiredIdentity::uri_san(uri).is_ok());
    let required = RequiredIdentity::new(identity.common_name(), uri_san)
        .map_err(|_| MalformedCertificate::new(format!("{NO_IDENTITY}: it has {identity}")))?;
    // The lists are for the other end's certificates. If they have ours, they prove its revocation; an unknown status
    // is for the other end to judge.
    let lists = lists.clone().with_policy(RevocationPolicy::default());
    let judge = |bundle: TrustBundle, chain| {
        let verifier = PeerVerifier::new(bundle, lists.clone(), required.clone(), policy);
        PeerVerifier { algorithms, ..verifier }.verify(chain, local, now).map(drop)
    };
    let elsewhere = match judge(trust_bundle.clone(), chain) {
        Err(elsewhere @ (Rejection::UnknownCa { .. } | Rejection::CaKeyMismatch { .. })) => elsewhere,
        verdict => return verdict,
    };
    // Without the CA, the rest of the chain is judged: as if its last certificate were the CA, or the leaf were in the
    // bundle.
    let (top, below) = chain.split_last().ok_or(Rejection::NoCertificate)?;
    let below = if below.is_empty() { chain } else { below };
    let as_ca = TrustBundle::from_der([top.clone()]).map_err(|error| match error {
        MaterialError::Certificate { source, .. } => source.in_chain(chain.len()),
        other => MalformedCertificate::new(other.to_string()).in_chain(chain.len()),
    })?;
    match judge(as_ca, below) {
        Err(Rejection::UnknownCa { .. } | Rejection::CaKeyMismatch { .. }) | Ok(()) => {}
        refused => return refused,
    }
    let top = Certificate::parse(top).map_err(|malformed| malformed.in_chain(chain.len()))?;
    let algorithm = top.signature_algorithm().unwrap_or_default();
    let is_supported = algorithms.all.iter().any(|known| known.signature_alg_id().as_ref() == algorithm);
    // Nobody verifies the signature of a certificate that has signed itself: peers have it in their bundle.
    if is_supported || top.subject_der() == top.issuer_der() {
        return Err(elsewhere);
    }
    Err(Rejection::UnsupportedAlgorithm {
        position: if chain.len() == 1 { ChainPosition::Leaf } else { ChainPosition::Intermediate },
        subject: top.subject_text(),
        algorithm: format!("its signature by {}", signature_text(algorithm)),
    })
}

const NO_IDENTITY: &str =
    "it has neither a Common Name nor a URI SAN that a peer could require; issue one that has";
